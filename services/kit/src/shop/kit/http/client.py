"""Calls from one service to another: a deadline on each, a breaker per instance, retries only for what is safe.

Written against httpx's interface with aiohttp underneath, which carries several times the requests per second.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import aiohttp
import httpx
import orjson
import stamina
from httpx_aiohttp import AiohttpTransport
from prometheus_client import Counter

from shop.kit import telemetry
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable
from shop.kit.http.breaker import Breaker, State
from shop.kit.http.reconnect import Reconnect

CALLS = Counter("shop_client_requests_total", "Requests to other services", ["upstream", "outcome"])

TIMEOUT_S = 3.0
CONNECT_WINDOW_S = 1.0
"""How long a connection that cannot be made is tried again: a service that starts anew, or a new pod that not every
node knows yet, takes connections within a second or so."""
CONNECT_SHARE = 0.5
"""Of a call's own limit that this may take at most, so that the last try has time for an answer."""
GET_ATTEMPTS = 2
GET_RETRY_WAIT_S = 0.05
MAX_CONNECTIONS = 64
READY_PATH = "/health/ready"
PROBE_TIMEOUT_S = 0.3
MAX_DETAIL_CHARACTERS = 500
UNCOMPRESSED = {"accept-encoding": "identity"}
"""Between services compression costs more time than it saves."""
STANDARD_MEMBERS = frozenset({"type", "title", "status", "detail", "code", "errors", "trace_id"})


@cache
def _tls() -> ssl.SSLContext:
    """One for the process: reading the certificates takes 25 ms of CPU, for each client if it were not kept."""
    return httpx.create_ssl_context(trust_env=False)


def open_transport(limits: httpx.Limits) -> httpx.AsyncBaseTransport:
    """What carries the requests of one client."""
    return AiohttpTransport(verify=_tls(), limits=limits)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer below 400; ``content`` is the body as it came."""

    status: int
    content: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.content) if self.content else None


class _Instance:
    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None) -> None:
        self.url = url.rstrip("/")
        self.breaker = Breaker()
        self.inflight = 0
        self.refused = False
        """Whether the last request found nobody who took its connection."""
        self._transport = transport
        self._left: dict[asyncio.Task[None], httpx.AsyncClient] = {}
        self.client = self._connected()

    def _connected(self) -> httpx.AsyncClient:
        transport = self._transport or open_transport(httpx.Limits(max_connections=MAX_CONNECTIONS))
        return httpx.AsyncClient(base_url=self.url, headers=UNCOMPRESSED, transport=transport, trust_env=False)

    async def try_again_when_ready(self) -> None:
        """End the pause of a breaker that opened because connections were refused, once the service is ready again."""
        if not self.refused or self.breaker.state is not State.OPEN:
            return
        with contextlib.suppress(httpx.HTTPError, TimeoutError, OSError):
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                if (await self.client.get(READY_PATH)).status_code == 200:
                    self.breaker.try_again()

    def leave(self) -> None:
        """Make new connections from now on; what is under way on the old ones may end."""
        closing = asyncio.create_task(_close_later(self.client))
        self._left[closing] = self.client
        closing.add_done_callback(self._left.pop)
        self.client = self._connected()

    async def close(self) -> None:
        for closing, client in list(self._left.items()):
            closing.cancel()
            await client.aclose()
        await self.client.aclose()


async def _close_later(client: httpx.AsyncClient) -> None:
    await asyncio.sleep(TIMEOUT_S)
    await client.aclose()


@dataclass(frozen=True, slots=True)
class _Call:
    """One request and how long it may take in all."""

    method: str
    path: str
    content: bytes | None
    params: Mapping[str, Any] | None
    headers: dict[str, str]
    timeout_s: float


class _NotConnected(Unavailable):
    """No connection was made, so the instance has seen nothing of the request."""


class ServiceClient:
    """One upstream service at one or more base URLs; the less busy of two random instances gets the request.

    A 4xx answer is raised as the Problem that the upstream wrote. Refused connections, time-outs, 5xx answers, answers
    that no service writes and open breakers are raised as Unavailable, or OutcomeUnknown when the request may have been
    carried out.
    """

    def __init__(
        self, name: str, urls: str, internal_token: str = "", transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.name = name
        self._internal_token = internal_token
        self._instances = [_Instance(url, transport) for url in urls.split(",") if url.strip()]

    async def get(self, path: str, **options: Any) -> Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Response:
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> Response:
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Any) -> Response:
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Any) -> Response:
        return await self.request("DELETE", path, **options)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        internal: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> Response:
        """Send one request, with the caller's trace.

        As long as no connection can be made it is tried again, for up to CONNECT_WINDOW_S. What may have been sent is
        sent again only if it is a GET, once, to another instance if there is one.
        """
        sent = {"traceparent": telemetry.traceparent(), "x-request-id": telemetry.request_id(), **(headers or {})}
        if internal or token:
            sent["authorization"] = f"Bearer {self._internal_token if internal else token}"
        content = None if json is None else orjson.dumps(json, default=str)
        if content is not None:
            sent["content-type"] = "application/json"
        call = _Call(method, path, content, params, sent, timeout_s)
        if method != "GET":
            return await self._send(call)
        async for attempt in stamina.retry_context(
            on=OutcomeUnknown, attempts=GET_ATTEMPTS, timeout=timeout_s, wait_initial=GET_RETRY_WAIT_S
        ):
            with attempt:
                return await self._send(call)
        raise AssertionError

    async def _send(self, call: _Call) -> Response:
        """Send it to the first instance that can be connected to."""
        deadline = asyncio.get_running_loop().time() + call.timeout_s
        search: Reconnect[_Instance] | None = None
        instance = self._pick()
        if instance is None:
            await asyncio.gather(*(one.try_again_when_ready() for one in self._instances))
            instance = self._pick()
        if instance is None:
            CALLS.labels(self.name, "breaker_open").inc()
            raise Unavailable(self.name, f"{self.name}: breaker open")
        while True:
            try:
                return await self._once(instance, call, deadline)
            except _NotConnected as error:
                search = search or Reconnect(self._pick, min(CONNECT_WINDOW_S, CONNECT_SHARE * call.timeout_s))
                following = await search.after(instance)
                if following is None:
                    CALLS.labels(self.name, "refused").inc()
                    raise Unavailable(self.name, str(error)) from error
                instance = following

    async def _once(self, instance: _Instance, call: _Call, deadline: float) -> Response:
        instance.inflight += 1
        try:
            async with asyncio.timeout_at(deadline):
                answer = await instance.client.request(
                    call.method, call.path, content=call.content, params=call.params, headers=call.headers
                )
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise self._failed(instance, _not_answered(self.name, error)) from error
        finally:
            instance.inflight -= 1
        return self._read(instance, answer)

    def _pick(self, tried: Sequence[_Instance] = ()) -> _Instance | None:
        """The less busy of two random instances that is not among ``tried`` and whose breaker is not open."""
        candidates = random.sample(self._instances, k=min(2, len(self._instances)))
        candidates.sort(key=lambda instance: instance.inflight)
        others = [instance for instance in self._instances if instance not in candidates]
        for instance in [*candidates, *others]:
            if instance not in tried and instance.breaker.allows():
                return instance
        return None

    def _failed(self, instance: _Instance, error: Unavailable) -> Unavailable:
        """``error``, counted; a connection that was not made is counted once the search for another has ended."""
        instance.refused = isinstance(error, _NotConnected)
        if not isinstance(error, _NotConnected):
            instance.breaker.failed()
            CALLS.labels(self.name, "unknown").inc()
        return error

    def _read(self, instance: _Instance, answer: httpx.Response) -> Response:
        problem = _problem(answer) if answer.status_code >= 400 else None
        if answer.status_code >= 400 and problem is None:
            instance.leave()
            detail = f"somebody who is not {self.name} answered {answer.status_code}"
            raise self._failed(instance, OutcomeUnknown(self.name, detail))
        if answer.status_code >= 500:
            raise self._failed(instance, OutcomeUnknown(self.name, f"{self.name} answered {answer.status_code}"))
        instance.refused = False
        instance.breaker.succeeded()
        CALLS.labels(self.name, "refused_by_service" if problem else "ok").inc()
        if problem:
            raise problem
        return Response(answer.status_code, answer.content)

    async def close(self) -> None:
        for instance in self._instances:
            await instance.close()


def _not_answered(name: str, error: Exception) -> Unavailable:
    """Only a connection that was never made is known to have changed nothing.

    The transport calls several failures a connect time-out, a server that hung up in mid-request among them, so its
    cause is looked at.
    """
    detail = f"{name}: {type(error).__name__}: {error}"
    never_connected = isinstance(error.__cause__, aiohttp.ClientConnectorError)
    return _NotConnected(name, detail) if never_connected else OutcomeUnknown(name, detail)


def _problem(answer: httpx.Response) -> Problem | None:
    """What a service wrote; None when no service of the shop did.

    A connection can lead to somebody else: to a proxy, or out of a cluster in the moment in which a Service has no pod.
    """
    try:
        body = orjson.loads(answer.content)
        return Problem(
            answer.status_code,
            str(body["code"]),
            str(body["detail"])[:MAX_DETAIL_CHARACTERS],
            errors=body.get("errors"),
            headers={"Retry-After": answer.headers["retry-after"]} if "retry-after" in answer.headers else None,
            extra={name: value for name, value in body.items() if name not in STANDARD_MEMBERS},
        )
    except (ValueError, KeyError, TypeError):
        return None


class Clients:
    """The clients of one application, made once per upstream and closed with it."""

    def __init__(self, internal_token: str = "") -> None:
        self._internal_token = internal_token
        self._clients: dict[str, ServiceClient] = {}

    def get(self, name: str, urls: str) -> ServiceClient:
        if name not in self._clients:
            self._clients[name] = ServiceClient(name, urls, self._internal_token)
        return self._clients[name]

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
