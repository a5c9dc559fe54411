"""The shop's public API as the simulated people use it: JSON, access tokens, bounded retries."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

MAX_TRIES = 6
MAX_PAUSE_S = 10.0
FIRST_PAUSE_S = 0.5
TIMEOUT_S = 30.0
MAX_CONNECTIONS = 512
MAX_EVENT_BYTES = 256 * 1024
RENEW_BEFORE_S = 60.0
AGAIN = frozenset({429, 502, 503, 504})
Body = dict[str, Any]


class RefusedError(Exception):
    """The shop's problem document, or what stands for it; status 0 when the shop did not answer."""

    def __init__(self, status: int, code: str, body: Body) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code, self.body = status, code, body


class ShopApi:
    """``url`` is the shop's, without a path."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._base = url.rstrip("/") + "/api/v1"

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        body: Body | None = None,
        key: str = "",
        tries: int = MAX_TRIES,
    ) -> Any:
        """The JSON answer, None when there is none; RefusedError.

        Overload and gateway errors are tried again, ``no_courier`` is not: that is an answer. A request with an effect
        needs an idempotency ``key``, or ``tries=1``.
        """
        headers = _headers(token, key)
        for attempt in range(1, tries + 1):
            try:
                return await self._once(method, path, headers, body)
            except RefusedError as refused:
                if attempt == tries or not _passes(refused):
                    raise
                await asyncio.sleep(_pause_s(refused, attempt))
        raise AssertionError("unreachable")

    async def _once(self, method: str, path: str, headers: dict[str, str], body: Body | None) -> Any:
        try:
            async with self._session.request(method, self._base + path, json=body, headers=headers) as response:
                answer = await response.json(content_type=None) if response.status != 204 else None
                if response.status < 400:
                    return answer
                problem = answer if isinstance(answer, dict) else {}
                problem.setdefault("retry_after", response.headers.get("Retry-After"))
                raise RefusedError(response.status, str(problem.get("code", response.reason)), problem)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise RefusedError(0, type(error).__name__, {}) from error

    async def events(self, path: str, token: str) -> AsyncIterator[str]:
        """The names of the server-sent events of one stream, until it ends; RefusedError."""
        headers = {**_headers(token, ""), "Accept": "text/event-stream"}
        unlimited = aiohttp.ClientTimeout(total=None, sock_read=60.0)
        try:
            async with self._session.get(self._base + path, headers=headers, timeout=unlimited) as response:
                if response.status != 200:
                    raise RefusedError(response.status, response.reason or "", {})
                async for line in response.content:
                    if line.startswith(b"event:"):
                        yield line[6:].strip().decode()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise RefusedError(0, type(error).__name__, {}) from error


def _headers(token: str, key: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return {**headers, "Idempotency-Key": key} if key else headers


def _passes(refused: RefusedError) -> bool:
    return (refused.status in AGAIN and refused.code != "no_courier") or refused.status == 0


def _pause_s(refused: RefusedError, attempt: int) -> float:
    asked = str(refused.body.get("retry_after") or "")
    return min(MAX_PAUSE_S, float(asked) if asked.isdigit() else FIRST_PAUSE_S * 2 ** (attempt - 1))


@contextlib.asynccontextmanager
async def shop_api(url: str) -> AsyncIterator[ShopApi]:
    connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=MAX_EVENT_BYTES) as session:
        yield ShopApi(session, url)


@dataclass
class Account:
    """A person with an account; signs in when a token is needed and again shortly before it expires."""

    api: ShopApi
    email: str
    password: str
    user_id: str = ""
    _token: str = field(default="", repr=False)
    _expires_at: float = 0.0

    async def sign_up(self, name: str) -> None:
        """Idempotent: an account of an earlier simulation is used again."""
        body = {"email": self.email, "password": self.password, "name": name}
        try:
            await self.api.call("POST", "/users", body=body)
        except RefusedError as refused:
            if refused.status != 409:
                raise
        self.user_id = str((await self.call("GET", "/users/me"))["id"])

    async def token(self) -> str:
        if time.monotonic() > self._expires_at - RENEW_BEFORE_S:
            answer = await self.api.call("POST", "/tokens", body={"email": self.email, "password": self.password})
            self._token, self._expires_at = answer["access_token"], time.monotonic() + float(answer["expires_in"])
        return self._token

    async def call(self, method: str, path: str, body: Body | None = None, *, key: str = "", tries: int = 0) -> Any:
        """As `ShopApi.call`; without a key a request with an effect is sent once."""
        tries = tries or (MAX_TRIES if key or method in ("GET", "PUT", "PATCH", "DELETE") else 1)
        return await self.api.call(method, path, token=await self.token(), body=body, key=key, tries=tries)


def password_of(admin_password: str, email: str) -> str:
    """The same in every simulation of this shop, and known only to who knows the administrator's password."""
    return hmac.new(admin_password.encode(), email.encode(), hashlib.sha256).hexdigest()
