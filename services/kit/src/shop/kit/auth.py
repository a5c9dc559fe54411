"""Authentication: access tokens, verified as RFC 8725 recommends, and the token shared by services.

One algorithm (EdDSA), one type (at+jwt), issuer and audience fixed, every claim required. The gateway verifies tokens
first; each service verifies them again, because being inside the network proves nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

import jwt
import orjson
from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError
from yarl import URL

from shop.kit import spans
from shop.kit.balancing.instance import About
from shop.kit.discovery.interface import Discovery, Fixed
from shop.kit.errors import Problem, Unavailable
from shop.kit.http.connections import FAILED, Connections

ALGORITHM = "EdDSA"
TOKEN_TYPE = "at+jwt"
ISSUER = "shopkeeper"
AUDIENCE = "shop"
LEEWAY_S = 5.0
MAX_TOKEN_LENGTH = 4_096
REQUIRED_CLAIMS = ("sub", "role", "email", "name", "iat", "exp", "jti")
KEYS_TTL_S = 300.0
KEYS_MIN_REFRESH_S = 2.0
KEYS_FIRST_REFRESH_S = 0.2
"""The same while no key is known: a service that starts together with the issuer gets them as soon as it answers."""
DELETED_USERS_TTL_S = 5.0
"""How long the access tokens of a deleted account may still be accepted, while the issuer can be reached."""
KEYS_TIMEOUT_S = 2.0
MAX_ISSUERS = 2
"""Instances that are asked for the keys, one after the other."""
ISSUING_SERVICE = "user"
HTTP, FILE = "http", "file://"
MAX_CACHED_TOKENS = 10_000


class Principal(BaseModel):
    """An authenticated user."""

    model_config = ConfigDict(frozen=True)

    user_id: UUID
    role: Literal["customer", "admin"]
    email: str
    name: str


NOT_KNOWN: tuple[float, None] = (0.0, None)


class KeySource(Protocol):
    async def get(self, key_id: str) -> jwt.PyJWK | None:
        """The public key with this id, None if the issuer does not have it."""

    def deleted_users(self) -> Collection[UUID]:
        """Users whose accounts were deleted although access tokens of theirs have not expired."""


class Keys:
    """The public keys of a JWKS document at an http(s) or file URL, fetched when a token names an unknown one.

    Of http URLs `discovery` finds the instances. The one that answered last is asked first.
    """

    def __init__(self, url: str, discovery: Discovery) -> None:
        self._url = url
        self._bases: deque[str] = deque()
        self._connections = Connections()
        self._target = URL(url).raw_path_qs
        if url.startswith(HTTP):
            base = str(URL(url).origin())
            self._moved({base: About()})
            discovery.follow(ISSUING_SERVICE, [base], self._moved)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._deleted_users: Collection[UUID] = ()
        self._refreshing: asyncio.Task[None] | None = None
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    def _moved(self, found: Mapping[str, About]) -> None:
        """Ask the instances at these base URLs from now on, those that are known already first."""
        self._bases = deque(sorted(set(found), key=lambda base: base not in self._bases))

    async def get(self, key_id: str) -> jwt.PyJWK | None:
        """The key, None if the issuer does not have it; Unavailable("user") when it cannot be reached."""
        if key_id not in self._keys or time.monotonic() - self._fetched_at > KEYS_TTL_S:
            await self._refresh()
        key = self._keys.get(key_id)
        if key is None and self._tried_at > self._fetched_at:
            raise Unavailable("user", "the token keys cannot be fetched")
        return key

    async def ensure_loaded(self) -> None:
        """Return once keys are known, however old; Unavailable("user") when none are known and none can be fetched."""
        if not self._keys:
            await self._refresh()
        if not self._keys:
            raise Unavailable("user", "the token keys cannot be fetched")

    def deleted_users(self) -> Collection[UUID]:
        """As of the last fetch. The next one is begun after DELETED_USERS_TTL_S, and no request waits for it."""
        if self._refreshing is None and time.monotonic() - self._tried_at > DELETED_USERS_TTL_S:
            self._refreshing = asyncio.create_task(self._refresh())
            self._refreshing.add_done_callback(self._refreshed)
        return self._deleted_users

    def _refreshed(self, _: asyncio.Task[None]) -> None:
        self._refreshing = None

    async def _refresh(self) -> None:
        """Fetch the keys unless that was just tried, successfully or not: otherwise every request would wait."""
        async with self._lock:
            pause_s = KEYS_MIN_REFRESH_S if self._keys else KEYS_FIRST_REFRESH_S
            if time.monotonic() - self._tried_at <= pause_s:
                return
            try:
                document = await self._load()
                keys = jwt.PyJWKSet.from_dict(document).keys
                deleted = frozenset(UUID(user_id) for user_id in document.get("deleted_users", ()))
            except (FAILED, ValueError, jwt.PyJWTError):
                self._tried_at = time.monotonic()
                return
            self._keys = {key.key_id: key for key in keys if key.key_id}
            self._deleted_users = deleted
            self._fetched_at = self._tried_at = time.monotonic()

    async def _load(self) -> dict[str, Any]:
        if self._url.startswith(FILE):
            content = await asyncio.to_thread(Path(self._url.removeprefix(FILE)).read_bytes)
        else:
            content = await self._fetch()
        document: dict[str, Any] = orjson.loads(content)
        return document

    async def _fetch(self) -> bytes:
        """From an instance, or when it does not answer from another."""
        for left in reversed(range(min(len(self._bases), MAX_ISSUERS))):
            base = self._bases[0]
            try:
                return await self._connections.fetch(base, self._target, KEYS_TIMEOUT_S)
            except FAILED:
                if self._bases[0] == base:
                    self._bases.rotate(-1)
                if not left:
                    raise
        raise OSError("no instance issues keys")


class Authenticator:
    """Turns access tokens into principals; a token that was good is remembered until it expires."""

    def __init__(self, jwks_url: str, discovery: Discovery | None = None) -> None:
        self._keys: KeySource = Keys(jwks_url, discovery or Fixed())
        self._known: dict[str, tuple[float, Principal]] = {}
        """The oldest first."""

    def use(self, keys: KeySource) -> None:
        """Take keys from ``keys`` instead of the JWKS: the issuer knows its own keys."""
        self._keys = keys

    async def ready(self) -> None:
        """Return when tokens can be verified; Unavailable("user") while no key is known."""
        if isinstance(self._keys, Keys):
            await self._keys.ensure_loaded()

    async def principal(self, token: str) -> Principal:
        """The user of ``token``; Problem 401 ``token_expired`` or ``invalid_token``."""
        expires_at, known = self._known.get(token, NOT_KNOWN)
        person = known if known is not None and expires_at > time.time() else await self._verified(token)
        if person.user_id in self._keys.deleted_users():
            raise _unauthorized("invalid_token", "The account of this access token was deleted.")
        if spans.active() is not None:
            spans.annotate(attributes={spans.USER_ID: str(person.user_id)})
        return person

    async def _verified(self, token: str) -> Principal:
        claims = await self._verify(token)
        try:
            person = Principal.model_validate({"user_id": claims["sub"], **claims})
        except ValidationError:
            raise _unauthorized("invalid_token", "The access token is not valid.") from None
        self._known[token] = (float(claims["exp"]), person)
        if len(self._known) > MAX_CACHED_TOKENS:
            del self._known[next(iter(self._known))]
        return person

    async def _verify(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_LENGTH:
            raise _unauthorized("invalid_token", "The access token is too long.")
        try:
            header = jwt.get_unverified_header(token)
            key = await self._keys.get(str(header.get("kid", "")))
            if key is None or header.get("alg") != ALGORITHM or header.get("typ") != TOKEN_TYPE:
                raise jwt.InvalidTokenError
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={"require": list(REQUIRED_CLAIMS)},
            )
        except jwt.ExpiredSignatureError:
            raise _unauthorized("token_expired", "The access token has expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise _unauthorized("invalid_token", "The access token is not valid.") from None
        return claims


def _unauthorized(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": f'Bearer error="{code}"'})


def bearer_token(request: Request) -> str:
    """The bearer token of the request; Problem 401 ``token_missing`` without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized("token_missing", "Sign in: this needs an access token.")
    return token.strip()


async def current_user(request: Request) -> Principal:
    authenticator: Authenticator = request.app.state.authenticator
    return await authenticator.principal(bearer_token(request))


async def maybe_user(request: Request) -> Principal | None:
    """The user, or None without a token; a token that is not good is refused."""
    return await current_user(request) if "authorization" in request.headers else None


async def current_admin(person: Annotated[Principal, Depends(current_user)]) -> Principal:
    if person.role != "admin":
        raise Problem(403, "admin_only", "Only an administrator may do this.")
    return person


async def internal_only(request: Request) -> None:
    """Refuse requests without the token that the shop's services share."""
    expected: str = request.app.state.internal_token
    given = bearer_token(request)
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        raise Problem(403, "internal_only", "Only the shop's own services may call this.")


CurrentUser = Annotated[Principal, Depends(current_user)]
MaybeUser = Annotated[Principal | None, Depends(maybe_user)]
CurrentAdmin = Annotated[Principal, Depends(current_admin)]
