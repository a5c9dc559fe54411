"""A proxy in front of the API server that makes things go wrong on demand.

An operator under test gets a kubeconfig that leads here. The proxy counts its writes and can kill it at any of them,
cuts or silences watches, answers in the server's stead, is slow, or is not there at all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from shop.devkit.testing import wait_until
from shop.operator.kube import login
from tests.operator.apiserver import QUIET, ApiServer

HOST = "127.0.0.1"
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_SEEN = 100_000
CLOSE_TIMEOUT_S = 30.0
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
NO_WRITES = QUIET | {"tokenreviews", "subjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"}
NOT_PASSED_ON = frozenset({"host", "connection", "transfer-encoding", "content-length", "keep-alive"})
REASONS = {
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
}


class When(StrEnum):
    """Of a kill: the server has not seen the write, or it has and the operator never receives the answer."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request."""

    method: str
    resource: str
    namespace: str
    name: str
    subresource: str
    watch: bool
    dry_run: bool

    @property
    def counted(self) -> bool:
        """Whether it is a write that matters to Shops."""
        return self.method in WRITES and self.resource not in NO_WRITES and not self.dry_run

    def __str__(self) -> str:
        return "/".join(part for part in (f"{self.method} {self.resource}", self.name, self.subresource) if part)


@dataclass(slots=True)
class _Answer:
    match: Callable[[Seen], bool]
    status: int
    times: int
    headers: Mapping[str, str]
    message: str


class Proxy:
    """`async with Proxy(apiserver, user="operator") as proxy:`; `proxy.kubeconfig` is for the operator.

    Requests without a token of their own reach the server as `user`.
    """

    def __init__(self, server: ApiServer, *, user: str, groups: Sequence[str] = ()) -> None:
        self._server, self._user, self._groups = server, user, groups
        self._answers: list[_Answer] = []
        self._kill: tuple[int, Callable[[Seen], When], Callable[[], object]] | None = None
        self._watches: set[asyncio.Transport] = set()
        self._runner = web.AppRunner(self._application(), access_log=None, handler_cancellation=True)
        self._sessions: list[aiohttp.ClientSession] = []
        self.seen: deque[Seen] = deque(maxlen=MAX_SEEN)
        self.writes = 0
        """Since the start, or since the last `reset` or `kill_at`."""
        self.killed = asyncio.Event()
        self.delay_s = 0.0
        """Before each request is passed on."""
        self.down = False
        """Every connection is closed without an answer."""
        self.silent = False
        """Watches stay open without events."""
        self.url = ""
        self.kubeconfig = Path()

    async def __aenter__(self) -> Self:
        certificate, key = self._server.authority.issue(self._user, self._groups)
        authority = self._server.authority.path.read_text()
        ours = login.tls_context(authority, certificate=certificate.read_text(), key=key.read_text())
        for tls in (ours, login.tls_context(authority)):
            connector = aiohttp.TCPConnector(limit=0, ssl=tls)
            self._sessions.append(aiohttp.ClientSession(connector=connector, auto_decompress=False))
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, 0)
        await site.start()
        self.url = f"http://{HOST}:{self._runner.addresses[0][1]}"
        self.kubeconfig = self._server.kubeconfig_for(self._user, groups=self._groups, server=self.url)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut_watches()
        await self._runner.cleanup()
        for session in self._sessions:
            await session.close()

    def reset(self) -> None:
        """Count from here; nothing goes wrong any more."""
        self.writes, self._kill = 0, None
        self.delay_s, self.down, self.silent = 0.0, False, False
        self._answers.clear()
        self.killed.clear()

    def kill_at(
        self, number: int, kill: Callable[[], object], when: When | Callable[[Seen], When] = When.BEFORE
    ) -> None:
        """Call `kill` at the write `number` from now (the first is 1); its connection is closed without an answer.

        `when` may depend on the write.
        """
        self.writes, self._kill = 0, (number, when if callable(when) else lambda _: when, kill)
        self.killed.clear()

    def answer(
        self,
        status: int,
        match: Callable[[Seen], bool] = lambda _: True,
        *,
        times: int = 1,
        retry_after_s: int | None = None,
        message: str = "made up by a test",
    ) -> None:
        """Answer the next `times` requests that match in the server's stead; a watch gets an ERROR event."""
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self._answers.append(_Answer(match, status, times, headers, message))

    async def no_clients(self) -> None:
        """Return when no connection is open: what a process sent before it was killed may be read after its death."""
        server = self._runner.server
        assert server is not None
        await wait_until(lambda: not server.connections, CLOSE_TIMEOUT_S, "the clients' connections to close")

    def cut_watches(self) -> int:
        """Break all open watches, as a network does; how many there were."""
        watches = [transport for transport in self._watches if not transport.is_closing()]
        for transport in watches:
            transport.abort()
        return len(watches)

    @property
    def watching(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = see(request.method, request.rel_url)
        self.seen.append(seen)
        body = await request.read()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.down or (number := self._count(seen)) is None:
            return _no_answer(request)
        if found := self._made_up(seen):
            return found
        if seen.watch:
            return await self._watch(request)
        if self._due(seen, number, When.BEFORE):
            return _no_answer(request)
        try:
            answer = await self._forward(request, body)
        except asyncio.CancelledError:  # The client closed its connection, so it never receives the answer.
            self._due(seen, number, When.AFTER)
            raise
        return _no_answer(request) if self._due(seen, number, When.AFTER) else answer

    def _count(self, seen: Seen) -> int | None:
        """The number of a write, 0 of everything else; None after the one that kills: the operator counts as dead."""
        if not seen.counted:
            return 0
        self.writes += 1
        return None if self._kill and self.writes > self._kill[0] else self.writes

    def _due(self, seen: Seen, number: int, when: When) -> bool:
        if not self._kill or number == 0 or number != self._kill[0] or self._kill[1](seen) is not when:
            return False
        self._kill[2]()
        self.killed.set()
        return True

    def _made_up(self, seen: Seen) -> web.Response | None:
        found = next((answer for answer in self._answers if answer.match(seen)), None)
        if found is None:
            return None
        found.times -= 1
        if found.times <= 0:
            self._answers.remove(found)
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": found.message,
            "reason": REASONS.get(found.status, ""),
            "code": found.status,
        }
        if seen.watch:
            event = orjson.dumps({"type": "ERROR", "object": status}) + b"\n"
            return web.Response(body=event, content_type="application/json")
        return web.Response(
            status=found.status, headers=found.headers, body=orjson.dumps(status), content_type="application/json"
        )

    async def _forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        try:
            async with self._ask(request, body) as answer:
                return web.Response(status=answer.status, headers=_passed_on(answer.headers), body=await answer.read())
        except (aiohttp.ClientError, OSError):
            return _no_answer(request)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        self._watches.add(transport)
        try:
            async with self._ask(request, b"") as answer:
                response = web.StreamResponse(status=answer.status, headers=_passed_on(answer.headers))
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    if self.silent:
                        await asyncio.Event().wait()  # until the client goes away
                    await response.write(chunk)
                return response
        except (aiohttp.ClientError, OSError):
            return _no_answer(request)
        finally:
            self._watches.discard(transport)

    def _ask(self, request: web.Request, body: bytes) -> aiohttp.client._RequestContextManager:
        session = self._sessions["Authorization" in request.headers]
        return session.request(
            request.method,
            URL(self._server.url + request.raw_path, encoded=True),
            data=body or None,
            headers=_passed_on(request.headers),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        )


def see(method: str, url: URL) -> Seen:
    """What a request is about, from its path."""
    parts = [part for part in url.path.split("/") if part]
    rest = parts[2:] if parts[:1] == ["api"] else parts[3:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = (*rest, "", "", "")[:3]
    watch = url.query.get("watch", "") in ("1", "true", "True")
    return Seen(method, resource, namespace, name, subresource, watch, url.query.get("dryRun") == "All")


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in NOT_PASSED_ON}


def _no_answer(request: web.Request) -> web.Response:
    """Close the connection; the response goes nowhere."""
    if request.transport:
        request.transport.close()
    return web.Response(status=502)
