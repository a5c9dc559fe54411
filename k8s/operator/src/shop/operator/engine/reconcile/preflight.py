"""The objects that a Shop needs and its user provides, checked before anything is changed: a typo is harmless."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from shop.operator.kube.client import Kube, Request
from shop.operator.kube.kinds import CLAIM, CONFIG_MAP, RENDERED, SECRET, Kind
from shop.operator.kube.objects import Object
from shop.operator.resource.spec import ShopSpec
from shop.operator.services import WITH_DATABASE

CATALOG_KEY = "catalog.json"
URL_KEY = "url"
DIRECT = "-direct"
"""Ends the key of a URL that leads to the server itself, where the one without it leads to a pooler."""
ADMIN_KEYS = ("username", "password")
STORE_KEYS = ("password", URL_KEY)
S3_KEYS = ("endpoint", "accessKey", "secretKey")


_NAMING_FIELDS = (
    *((SECRET, f"{part}.secretName") for part in ("database", "messaging", "cache", "backup", "restoreFrom")),
    (SECRET, "exposure.tlsSecretName"),
    (SECRET, "database.ca.secretName"),
    (CONFIG_MAP, "database.ca.configMap"),
    (CONFIG_MAP, "store.catalog.configMap"),
    (CLAIM, "backup.destination"),
    (CLAIM, "restoreFrom.source"),
)
"""Fields of a spec that name an object; those of a claim are URLs, such as pvc://NAME/FOLDER."""


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """One object that must exist in the Shop's namespace, with `keys` in its data; the spec names it in `field`."""

    field: str
    kind: Kind
    name: str
    keys: tuple[str, ...] = ()


def prerequisites(spec: ShopSpec, *, restored: bool = False) -> list[Prerequisite]:
    """Everything that `spec` names, without the backup where the Shop is `restored` already.

    A TLS Secret is not included: its certificate may be issued later.
    """
    found = []
    if spec.store.catalog and spec.store.catalog.config_map:
        found.append(Prerequisite("store.catalog.configMap", CONFIG_MAP, spec.store.catalog.config_map, (CATALOG_KEY,)))
    if spec.database.secret_name:
        keys: tuple[str, ...] = ADMIN_KEYS
        if spec.database.mode == "External":
            nouns = [noun for noun in spec.nouns if noun in WITH_DATABASE]
            pooler = spec.database.pooler == "Transaction"
            keys = (*nouns, *(f"{noun}{DIRECT}" for noun in nouns if pooler))
        found.append(Prerequisite("database.secretName", SECRET, spec.database.secret_name, keys))
    if ca := spec.database.ca:
        kind, field = (SECRET, "secretName") if ca.secret_name else (CONFIG_MAP, "configMap")
        found.append(Prerequisite(f"database.ca.{field}", kind, ca.secret_name or ca.config_map or "", (ca.key,)))
    for field, backend in (("messaging", spec.messaging), ("cache", spec.cache)):
        if backend.secret_name:
            own = (URL_KEY,) if backend.mode == "External" else STORE_KEYS
            found.append(Prerequisite(f"{field}.secretName", SECRET, backend.secret_name, own))
    if spec.backup:
        found += _backup_location("backup", "destination", spec.backup.destination, spec.backup.secret_name)
    if spec.restore_from and not restored:
        found += _backup_location("restoreFrom", "source", spec.restore_from.source, spec.restore_from.secret_name)
    return found


def _backup_location(part: str, field: str, url: str, secret_name: str | None) -> list[Prerequisite]:
    scheme, _, rest = url.partition("://")
    if scheme == "pvc":
        return [Prerequisite(f"{part}.{field}", CLAIM, rest.partition("/")[0])]
    return [Prerequisite(f"{part}.secretName", SECRET, secret_name, S3_KEYS)] if secret_name else []


def named_by(spec: Object) -> frozenset[tuple[str, str]]:
    """Kind and name of everything that a raw spec names, also an invalid one."""
    found = set()
    for kind, path in _NAMING_FIELDS:
        value: Any = spec
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if kind is CLAIM and isinstance(value, str):
            scheme, _, rest = value.partition("://")
            value = rest.partition("/")[0] if scheme == "pvc" else ""
        if value and isinstance(value, str):
            found.add((kind.kind, value))
    return frozenset(found)


async def missing(kube: Kube, namespace: str, spec: ShopSpec, *, restored: bool = False) -> tuple[str, str] | None:
    """Reason and sentence for the first object that does not exist; None when all do."""
    for one in prerequisites(spec, restored=restored):
        live = await kube.get(one.kind, namespace, one.name)
        if live is None:
            sentence = f'{one.field}: there is no {one.kind.kind} "{one.name}" in namespace {namespace}'
            return f"{one.kind.kind}Missing", sentence
        if absent := [key for key in one.keys if key not in live.get("data", {})]:
            return f"{one.kind.kind}Incomplete", f'{one.field}: {one.kind.kind} "{one.name}" has no key {absent[0]}'
    return None


async def optional_kinds(kube: Kube) -> frozenset[str]:
    """The optional kinds that this cluster serves."""
    wanted = [kind for kind in RENDERED if kind.optional]
    versions = sorted({kind.api_version for kind in wanted})
    served = dict(zip(versions, await asyncio.gather(*map(kube.served, versions)), strict=True))
    return frozenset(kind.kind for kind in wanted if kind.kind in served[kind.api_version])


async def cluster_version(kube: Kube) -> str:
    """Of the API server, such as v1.34.1."""
    found: str = orjson.loads(await kube.send(Request("GET", "/version", resource="discovery")))["gitVersion"]
    return found
