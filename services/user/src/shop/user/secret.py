"""Keys and tokens derived from the installation's secret.

Each purpose has its own key (HKDF), which reveals nothing about other keys or the secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shop.user.settings import Settings

KEY_BYTES = 32
MIN_SECRET_LENGTH = 8


class Secrets:
    def __init__(self, secret: str) -> None:
        if len(secret) < MIN_SECRET_LENGTH:
            raise ValueError(
                "SHOP_KEY_ENCRYPTION_KEY or SHOP_INTERNAL_TOKEN must be set, with at least "
                f"{MIN_SECRET_LENGTH} characters: it encrypts the keys that sign access tokens."
            )
        self._chain_key = _derive(secret, b"shop.user refresh token chain")
        self.fernet = Fernet(base64.urlsafe_b64encode(_derive(secret, b"shop.user signing keys")))

    @classmethod
    def build(cls, settings: Settings) -> Secrets:
        return cls(settings.key_encryption_key or settings.internal_token)

    def successor(self, refresh_token: str) -> str:
        """The refresh token that follows ``refresh_token``.

        Derived rather than random, so that two concurrent requests with one token get the same successor although
        only hashes are stored.
        """
        return _text(hmac.digest(self._chain_key, refresh_token.encode(), "sha256"))


def new_refresh_token() -> str:
    """256 random bits as 43 characters."""
    return _text(os.urandom(KEY_BYTES))


def token_hash(refresh_token: str) -> bytes:
    """The stored form of a token; a plain hash is enough for 256 random bits."""
    return hashlib.sha256(refresh_token.encode()).digest()


def _derive(secret: str, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(secret.encode())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
