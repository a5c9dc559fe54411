"""Game sessions: signed tokens, so that none needs a row before its round was played."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import orjson

from shop.kit.ids import new_id

SESSION_LIFETIME = timedelta(minutes=10)
KEY_LABEL = b"shop.player.session.v1"
MAX_TOKEN_CHARACTERS = 1_024
SEED_BITS = 32


@dataclass(frozen=True, slots=True)
class Session:
    """One round that a player may play; times are UTC."""

    id: UUID
    player_id: UUID
    game: str
    seed: int
    issued_at: datetime
    expires_at: datetime


def new_session(player_id: UUID, game: str, now: datetime) -> Session:
    return Session(new_id(), player_id, game, secrets.randbits(SEED_BITS), now, now + SESSION_LIFETIME)


class SessionTokens:
    """Writes and reads tokens with a key that follows from ``secret``, so that every replica has the same one.

    Without a secret the key is random: only this process can read what it wrote.
    """

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode() or secrets.token_bytes(32), KEY_LABEL, sha256)

    def write(self, session: Session) -> str:
        payload = orjson.dumps(
            [
                str(session.id),
                str(session.player_id),
                session.game,
                session.seed,
                _microseconds(session.issued_at),
                _microseconds(session.expires_at),
            ]
        )
        return f"{_encode(payload)}.{_encode(self._signature(payload))}"

    def read(self, token: str) -> Session:
        """The session of ``token``; ValueError when it was not written with this key."""
        payload, signature = (_decode(part) for part in _two(token))
        if not hmac.compare_digest(signature, self._signature(payload)):
            raise ValueError("not signed by this shop")
        session_id, player_id, game, seed, issued_at, expires_at = orjson.loads(payload)
        return Session(UUID(session_id), UUID(player_id), game, seed, _moment(issued_at), _moment(expires_at))

    def _signature(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, sha256)


def _two(token: str) -> tuple[str, str]:
    payload, dot, signature = token.partition(".")
    if not dot or len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
        raise ValueError("not a session's token")
    return payload, signature


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _microseconds(at: datetime) -> int:
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
