"""Access tokens for tests: valid ones, and each kind of invalid one."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shop.kit.auth import ALGORITHM, AUDIENCE, ISSUER, TOKEN_TYPE, Principal
from shop.kit.ids import new_id

KEY_ID = "test-key"
LIFETIME_S = 900


class Tokens:
    """Signs with a key of its own; ``jwks_url`` is the file that services are pointed to."""

    def __init__(self, path: Path) -> None:
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        x = base64.urlsafe_b64encode(public).decode().rstrip("=")
        key = {"kty": "OKP", "crv": "Ed25519", "alg": ALGORITHM, "use": "sig", "kid": KEY_ID, "x": x}
        path.write_bytes(orjson.dumps({"keys": [key]}))
        self.jwks_url = f"file://{path}"

    def customer(self, user_id: UUID | None = None) -> tuple[Principal, str]:
        return self._issue("customer", user_id)

    def admin(self) -> tuple[Principal, str]:
        return self._issue("admin", None)

    def headers(self, role: Literal["customer", "admin"] = "customer", user_id: UUID | None = None) -> dict[str, str]:
        """The Authorization header of a new person, or of the one with ``user_id``."""
        return {"Authorization": f"Bearer {self._issue(role, user_id)[1]}"}

    def expired(self) -> str:
        return self.sign(self.claims(exp=int(time.time()) - 60))

    def forged(self) -> str:
        """A token of the right form, signed by a key that is not in the key set."""
        return self.sign(self.claims(), key=Ed25519PrivateKey.generate())

    def claims(self, person: Principal | None = None, **changed: Any) -> dict[str, Any]:
        """All claims of a good token, with some ``changed``."""
        someone = person or _person("customer", None)
        now = int(time.time())
        standard: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + LIFETIME_S}
        standard |= {"jti": str(new_id()), "sub": str(someone.user_id)}
        return standard | someone.model_dump(include={"role", "email", "name"}) | changed

    def sign(self, claims: dict[str, Any], *, key: Any = None, algorithm: str = ALGORITHM, **header: Any) -> str:
        """Any claims as a token, by default with the right key, algorithm and header."""
        headers = {"typ": TOKEN_TYPE, "kid": KEY_ID, **header}
        return jwt.encode(claims, self._key if key is None else key, algorithm=algorithm, headers=headers)

    def _issue(self, role: Literal["customer", "admin"], user_id: UUID | None) -> tuple[Principal, str]:
        person = _person(role, user_id)
        return person, self.sign(self.claims(person))


def _person(role: Literal["customer", "admin"], user_id: UUID | None) -> Principal:
    known = user_id or new_id()
    return Principal(user_id=known, role=role, email=f"{role}-{known.hex[-12:]}@example.com", name=f"Test {role}")
