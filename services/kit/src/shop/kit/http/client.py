"""Calls from one service to another: a deadline on each, a breaker per instance, retries only for what is safe."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
from prometheus_client import Counter, Gauge, Histogram
from yarl import URL

from shop.kit import telemetry
from shop.kit.balancing.instance import Instance
from shop.kit.balancing.rules import Rules
from shop.kit.discovery.interface import Discovery, Fixed
from shop.kit.errors import OutcomeUnknown, Problem
from shop.kit.exposition import LATENCY_BUCKETS_S, exemplar
from shop.kit.http.answer import Answer
from shop.kit.http.client_span import answered, client_span
from shop.kit.http.connection import FIRST_ERROR_STATUS
from shop.kit.http.connections import FAILED, FIRST_FAULT_STATUS, Connections
from shop.kit.http.pool import Exchange, NoInstance, NotConnected, Request, ServicePool
from shop.kit.methods import IDEMPOTENT, READS

CALLS = Counter("shop_client_requests_total", "Requests to other services", ["upstream", "outcome"])
DURATION = Histogram(
    "shop_client_request_duration_seconds",
    "Time of a request to another service, tries to connect included",
    ["upstream"],
    buckets=LATENCY_BUCKETS_S,
)
BREAKER = Gauge(
    "shop_client_breaker_state", "The worst of the upstream's instances: 0 closed, 1 half open, 2 open", ["upstream"]
)
OUTCOMES = ("ok", "refused_by_service", "refused", "breaker_open", "unknown")

TIMEOUT_S = 3.0
CONNECT_WINDOW_S = 1.0
"""How long a connection that cannot be made is tried again: a service that restarts, or a new pod that not every
node knows yet, takes connections within a second or so."""
CONNECT_SHARE = 0.5
"""Of a call's own limit that this may take at most, so that the last try has time for an answer."""
GET_RETRY_WAIT_S = 0.05
MAX_CONNECTIONS = 64
"""Per instance."""
PROBE_TIMEOUT_S = 0.3
CHECK_EVERY_S = 4.0
"""Of services with several instances; at most, with a random share of it."""
UNAVAILABLE_STATUS = 503


@dataclass(frozen=True, slots=True)
class Response:
    """An answer below 400; ``content`` is the body as it came, ``etag`` the version of what was read or written."""

    status: int
    content: bytes
    etag: str = ""

    @property
    def json(self) -> Any:
        return orjson.loads(self.content) if self.content else None


class ServiceClient:
    """One service at one or more base URLs, separated by commas.

    A 4xx answer is raised as the Problem that the service wrote. Refused connections and open breakers are raised as
    Unavailable; time-outs, 5xx answers and answers of misrouted connections as OutcomeUnknown, because the request may
    have been carried out.
    """

    def __init__(
        self, name: str, urls: str, connections: Connections, internal_token: str = "", rules: Rules | None = None
    ) -> None:
        self.name = name
        self.pool = ServicePool(
            name,
            [url for url in urls.split(",") if url.strip()],
            connections,
            rules=rules,
            probe_timeout_s=PROBE_TIMEOUT_S,
        )
        self._internal_token = internal_token
        self._calls = {outcome: CALLS.labels(name, outcome) for outcome in OUTCOMES}
        self._duration = DURATION.labels(name)
        BREAKER.labels(name).set_function(self.pool.breaker_value)

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
        refusals: Collection[str] = (),
        hedge_after_s: float | None = None,
    ) -> Response:
        """Send one request, with the caller's trace.

        As long as no connection can be made it is tried again, for up to CONNECT_WINDOW_S. A read whose outcome is
        unknown is sent a second time, if possible to another instance, and not to one that asked for a pause; what else
        may have been sent is sent again only if it is idempotent and its connection was closed before an answer. All of
        it is within the service's budget. A 503 with one of the problem codes ``refusals`` says that the request was
        not carried out, and is raised as that Problem. A GET that is not answered after ``hedge_after_s`` seconds is
        sent to another instance as well, and the first answer counts; None for never.
        """
        content = None if json is None else orjson.dumps(json, default=str)
        target = URL(path).raw_path_qs + (f"?{urlencode(params, doseq=True)}" if params else "")
        with client_span(method, self.name):
            sent = self._headers(headers or {}, self._internal_token if internal else token)
            if content is not None:
                sent["content-type"] = "application/json"
            request = Request(method, target, sent.items(), lambda: content, method in IDEMPOTENT)
            if hedge_after_s is not None and method == "GET":
                return await self._send_hedged(request, timeout_s, refusals, hedge_after_s)
            return await self._send_and_repeat(request, timeout_s, refusals)

    async def _send_and_repeat(self, request: Request, timeout_s: float, refusals: Collection[str]) -> Response:
        begun = asyncio.get_running_loop().time()
        exchange = self._exchange(request, timeout_s)
        try:
            return await self._send(exchange, timeout_s, refusals)
        except OutcomeUnknown:
            took_all = asyncio.get_running_loop().time() - begun >= timeout_s
            if request.method not in READS or took_all or exchange.waits() or not self.pool.may_repeat():
                raise
        await asyncio.sleep(GET_RETRY_WAIT_S * random.random())
        return await self._send(self._exchange(request, timeout_s, _used(exchange)), timeout_s, refusals)

    async def _send_hedged(
        self, request: Request, timeout_s: float, refusals: Collection[str], after_s: float
    ) -> Response:
        """The first good answer of up to two; the other request is cancelled."""
        exchange = self._exchange(request, timeout_s)
        sent = {asyncio.create_task(self._send(exchange, timeout_s, refusals))}
        try:
            done, _ = await asyncio.wait(sent, timeout=after_s)
            if not done and self.pool.may_repeat():
                another = self._exchange(request, timeout_s, _used(exchange))
                sent.add(asyncio.create_task(self._send(another, timeout_s, refusals)))
            while True:
                done, waiting = await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
                answered = [one for one in done if one.exception() is None]
                if answered or not waiting:
                    return (answered or list(done))[0].result()
                sent = waiting
        finally:
            for one in sent:
                one.cancel()

    def open_stream(self, path: str, *, token: str, headers: Mapping[str, str], connections: Connections) -> Exchange:
        """A GET whose answer is read piece by piece; its failures are the caller's.

        ``connections`` are for streams: those of other requests are fewer, and an answer's pieces come faster there.
        """
        request = Request(
            "GET", path, self._headers(headers, token).items(), lambda: None, repeatable=True, stream=True
        )
        return Exchange(self.pool, request, CONNECT_WINDOW_S, connections=connections)

    def _headers(self, headers: Mapping[str, str], token: str | None) -> dict[str, str]:
        """Without compression, which costs more time between services than it saves."""
        sent = {
            "accept-encoding": "identity",
            "traceparent": telemetry.traceparent(),
            "x-request-id": telemetry.request_id() or telemetry.new_request_id(),
            **headers,
        }
        if token:
            sent["authorization"] = f"Bearer {token}"
        return sent

    def _exchange(self, request: Request, timeout_s: float, avoid: Collection[Instance] = ()) -> Exchange:
        return Exchange(self.pool, request, min(CONNECT_WINDOW_S, CONNECT_SHARE * timeout_s), avoid)

    async def _send(self, exchange: Exchange, timeout_s: float, refusals: Collection[str]) -> Response:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_s), exchange as answer:
                content = await answer.read()
        except NotConnected as error:
            self._calls["breaker_open" if isinstance(error, NoInstance) else "refused"].inc()
            raise
        except FAILED as error:
            raise self._outcome_unknown(exchange, f": {type(error).__name__}: {error}") from error
        finally:
            self._duration.observe(time.perf_counter() - started, exemplar())
        return self._read(exchange, answer, content, refusals)

    def _read(self, exchange: Exchange, answer: Answer, content: bytes, refusals: Collection[str]) -> Response:
        status = answer.status
        answered(exchange, status)
        if answer.misrouted:
            raise self._outcome_unknown(exchange, f": a misrouted connection answered {status}")
        problem = _problem(answer, content) if status >= FIRST_ERROR_STATUS else None
        if problem and status >= FIRST_FAULT_STATUS and not (status == UNAVAILABLE_STATUS and problem.code in refusals):
            problem = None
        if status >= FIRST_ERROR_STATUS and problem is None:
            raise self._outcome_unknown(exchange, f" answered {status}")
        exchange.succeeded()
        self._calls["refused_by_service" if problem else "ok"].inc()
        if problem:
            raise problem
        return Response(status, content, answer.header(b"etag"))

    def _outcome_unknown(self, exchange: Exchange, detail: str) -> OutcomeUnknown:
        exchange.failed()
        self._calls["unknown"].inc()
        return OutcomeUnknown(self.name, self.name + detail)


def _used(exchange: Exchange) -> Collection[Instance]:
    return () if exchange.instance is None else (exchange.instance,)


def _problem(answer: Answer, content: bytes) -> Problem | None:
    """The problem document of an answer; None when it is none."""
    try:
        document = orjson.loads(content)
    except ValueError:
        return None
    wait = answer.header(b"retry-after")
    headers = {"Retry-After": wait} if wait else None
    return Problem.read(answer.status, document, headers=headers)


class Clients:
    """The clients of one application, made once per service and closed with it."""

    def __init__(self, internal_token: str = "", discovery: Discovery | None = None) -> None:
        self._internal_token = internal_token
        self._discovery = discovery or Fixed()
        self._connections: Connections | None = None
        self._clients: dict[str, ServiceClient] = {}

    def get(self, name: str, urls: str) -> ServiceClient:
        """The client of a service, on the running loop that its connections belong to."""
        if self._connections is None:
            self._connections = Connections(per_host=MAX_CONNECTIONS)
        if name not in self._clients:
            client = ServiceClient(name, urls, self._connections, self._internal_token)
            self._clients[name] = client
            self._discovery.follow(name, [one.base_url for one in client.pool.instances], client.pool.update)
        return self._clients[name]

    @property
    def pools(self) -> Mapping[str, ServicePool]:
        """By service."""
        return {name: client.pool for name, client in self._clients.items()}

    async def check(self) -> None:
        """Check the health of all instances, for as long as the application runs."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S * random.uniform(0.5, 1.0))
            pools = [client.pool for client in self._clients.values()]
            await asyncio.gather(*(pool.check(PROBE_TIMEOUT_S) for pool in pools))

    async def close(self) -> None:
        if self._connections is not None:
            await self._connections.close()
