"""The Secrets of a Shop, every value derived from one seed.

Helm's `lookup`, with which the chart finds its passwords again, is empty under `helm template`. So the operator
creates the Secrets that charts/shop/templates/secrets.yaml would create, with the same names and keys, and names them
in `global.secrets`. Derived values need no storage: a deleted Secret comes back as it was.
"""

from __future__ import annotations

import hmac
import string
from collections.abc import Mapping

from shop.operator.engine.render.values import Values
from shop.operator.kube.kinds import STORE_NOUNS
from shop.operator.kube.objects import KEEP, NamespacedName, Object, shop_secret
from shop.operator.services import WITH_DATABASE

PASSWORD_LENGTH = 32
ADMIN_EMAIL = "admin@shop.local"
_LETTERS = string.ascii_letters
_SIGNS = string.ascii_letters + string.digits
_OWN = {
    "internal": "shop-internal",
    "admin": "shop-admin",
    "keys": "shop-keys",
    "postgres": "postgres",
    "nats": "nats",
    "valkey": "valkey",
}
"""Name of each kind of Secret without the Shop's, as the chart's template `shop.secret` has it."""

POSTGRES_PORT = 5432


def password(seed: bytes, purpose: str) -> str:
    """Letters and digits, a letter first, the same for the same seed and purpose (about 187 bits).

    URLs and configurations take it as it is; a first digit could be read as a number.
    """
    drawn = int.from_bytes(hmac.digest(seed, purpose.encode(), "sha256"))
    drawn, first = divmod(drawn, len(_LETTERS))
    found = [_LETTERS[first]]
    for _ in range(PASSWORD_LENGTH - 1):
        drawn, sign = divmod(drawn, len(_SIGNS))
        found.append(_SIGNS[sign])
    return "".join(found)


def secrets(shop_name: str, namespace: str, values: Values, seed: bytes) -> list[Object]:
    """The Secrets that the Shop does not name itself, for the values of its chart. `namespace` is theirs."""
    given, mode, shop = values["global"]["secrets"], values["database"]["mode"], NamespacedName(namespace, shop_name)
    nats, valkey = password(seed, "nats/password"), password(seed, "valkey/password")
    made = {
        "internal": {"token": password(seed, "internal/token")},
        "admin": {"email": ADMIN_EMAIL, "password": password(seed, "admin/password")},
        "keys": {name: password(seed, f"keys/{name}") for name in ("keyEncryptionKey", "sessionSecret")},
        "nats": {"password": nats, "url": f"nats://shop:{nats}@{shop_name}-nats:4222"},
        "valkey": {"password": valkey, "url": f"redis://:{valkey}@{shop_name}-valkey:6379/0"},
    }
    if mode != "External":
        made["postgres"] = {"username": "postgres", "password": password(seed, "postgres/password")}
    found = [
        _secret(shop, kind if kind in STORE_NOUNS else "shop", _OWN[kind], data)
        for kind, data in made.items()
        if kind not in given
    ]
    # The shop's own database server, and how TLS is used with it.
    server, sslmode = ("postgres-rw", "require") if mode == "CloudNativePG" else ("postgres", "disable")
    for noun in WITH_DATABASE:
        if noun not in given.get("database", {}) and values["services"][noun].get("enabled", True):
            role, secret = f"shop_{noun}", password(seed, f"database-{noun}/password")
            address = f"{shop_name}-{server}:{POSTGRES_PORT}"
            url = f"postgresql://{role}:{secret}@{address}/{role}?sslmode={sslmode}"
            data = {"username": role, "password": secret, "url": url}
            found.append(_secret(shop, noun, f"database-{noun}", data))
    return found


def named(shop_name: str, values: Values) -> Values:
    """`values` with the names of all Secrets, so that the chart creates none itself."""
    given = values["global"]["secrets"]
    names = {kind: f"{shop_name}-{own}" for kind, own in _OWN.items()}
    databases = {noun: f"{shop_name}-database-{noun}" for noun in WITH_DATABASE}
    every = {**names, **given, "database": {**databases, **given.get("database", {})}}
    return {**values, "global": {**values["global"], "secrets": every}}


def _secret(shop: NamespacedName, noun: str, own_name: str, data: Mapping[str, str]) -> Object:
    """`own_name` is without the Shop's."""
    encoded = {field: text.encode() for field, text in data.items()}
    secret = shop_secret(shop, f"-{own_name}", encoded, {KEEP: "keep"}, noun)
    return {**secret, "type": "kubernetes.io/basic-auth"} if own_name == "postgres" else secret
