"""The keys that sign access tokens: created at the first start, rotated, published as a JWKS.

Every replica reads the same rows. A key is published KEY_PUBLISH_LEAD_S before it signs tokens, and each replica
reads the keys every KEY_CHECK_S, so no token names a key that a verifier could not have fetched.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from cryptography.fernet import InvalidToken
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shop.kit.auth import ALGORITHM, AUDIENCE, ISSUER, TOKEN_TYPE
from shop.kit.clock import Clock
from shop.kit.db import Connection, Database
from shop.kit.errors import Unavailable
from shop.kit.ids import new_id
from shop.user import domain
from shop.user import session_repository as repository
from shop.user.domain import SigningKey, User
from shop.user.secret import Secrets

KEY_CHECK_S = 60.0

log = logging.getLogger(__name__)


class Keyring:
    """The signing keys as this replica knows them, and the access tokens made with them."""

    def __init__(self, database: Database, secrets: Secrets, clock: Clock, rotation: timedelta) -> None:
        self._database = database
        self._secrets = secrets
        self._clock = clock
        self._rotation = rotation
        self._published: list[SigningKey] = []
        self._private: dict[str, Ed25519PrivateKey] = {}

    async def refresh(self) -> None:
        """Create the key that is due, delete retired ones, and load the rest; one replica at a time.

        A key that cannot be decrypted (the secret was changed) stays published for the tokens that it signed, and a
        new one is created.
        """
        now = self._clock.now()
        async with self._database.transaction() as db:
            await repository.lock_keys(db)
            keys = await repository.signing_keys(db)
            retired = {key.kid for key in domain.retired_keys(keys, now)}
            if retired:
                await repository.delete_keys(db, sorted(retired))
            keys = [key for key in keys if key.kid not in retired]
            private = self._decrypt(keys)
            due = domain.next_activation([key for key in keys if key.kid in private], now, self._rotation)
            if due is not None:
                keys.append(await self._make(db, now, due))
                private |= self._decrypt(keys[-1:])
        self._private, self._published = private, keys

    async def _make(self, db: Connection, now: datetime, activates_at: datetime) -> SigningKey:
        private = Ed25519PrivateKey.generate()
        encrypted, public = self._secrets.fernet.encrypt(private.private_bytes_raw()), private.public_key()
        key = SigningKey(new_id().hex, encrypted, public.public_bytes_raw(), now, activates_at)
        await repository.insert_key(db, key)
        log.info("new signing key", extra={"event": "signing_key_added", "kid": key.kid, "activates_at": activates_at})
        return key

    def _decrypt(self, keys: Sequence[SigningKey]) -> dict[str, Ed25519PrivateKey]:
        """The private keys that the current secret decrypts, by id."""
        private: dict[str, Ed25519PrivateKey] = {}
        for key in keys:
            try:
                raw = self._secrets.fernet.decrypt(key.private_key)
            except InvalidToken:
                log.warning(
                    "a signing key was encrypted with another secret",
                    extra={"event": "signing_key_unreadable", "kid": key.kid},
                )
            else:
                private[key.kid] = Ed25519PrivateKey.from_private_bytes(raw)
        return private

    async def run(self) -> None:
        """Refresh the keys until cancelled; an unavailable database is tried again at the next interval."""
        while True:
            await asyncio.sleep(KEY_CHECK_S)
            try:
                await self.refresh()
            except Unavailable:
                log.warning(
                    "signing keys not refreshed: the database is unavailable",
                    extra={"event": "signing_keys_not_refreshed"},
                )

    async def get(self, key_id: str) -> jwt.PyJWK | None:
        """The public key that verifies tokens of this id (``shop.kit.auth.KeySource``)."""
        return next((jwt.PyJWK(_jwk(key)) for key in self._published if key.kid == key_id), None)

    def deleted_users(self) -> Collection[UUID]:
        """None: the endpoints of this service look the user up."""
        return ()

    def jwks(self) -> dict[str, Any]:
        """RFC 7517 key set, with the next key and with keys whose tokens may still be valid."""
        return {"keys": [_jwk(key) for key in domain.by_activation(self._published)]}

    def access_token(self, user: User, family_id: UUID) -> str:
        """A signed JWT (RFC 9068) that is valid for ACCESS_TOKEN_TTL_S seconds."""
        now = self._clock.now()
        key = domain.current_key([key for key in self._published if key.kid in self._private], now)
        if key is None:
            raise Unavailable("user", "there is no key to sign with")
        issued = int(now.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user.id),
            "role": user.role,
            "email": user.email,
            "name": user.name,
            "iat": issued,
            "exp": issued + domain.ACCESS_TOKEN_TTL_S,
            "jti": str(new_id()),
            "sid": str(family_id),
        }
        return jwt.encode(claims, self._private[key.kid], ALGORITHM, headers={"kid": key.kid, "typ": TOKEN_TYPE})


def _jwk(key: SigningKey) -> dict[str, str]:
    x = base64.urlsafe_b64encode(key.public_key).decode().rstrip("=")
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": ALGORITHM, "kid": key.kid, "x": x}
