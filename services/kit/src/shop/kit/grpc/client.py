"""Calls to another service's gRPC server: a deadline on each, balancing, retries only for what is declared safe."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from prometheus_client import Counter, Gauge, Histogram

from shop.kit import spans, telemetry
from shop.kit.balancing.balancer import Balancer
from shop.kit.balancing.breaker import MEASURED, State
from shop.kit.balancing.budget import RetryBudget
from shop.kit.balancing.instance import About, Instance
from shop.kit.balancing.rules import Rules
from shop.kit.discovery.interface import Discovery
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable
from shop.kit.exposition import LATENCY_BUCKETS_S, exemplar
from shop.kit.grpc import deadline, problems
from shop.kit.grpc.channels import BalancedChannel, Connection, Method, addresses_of, servers_of, urls_of
from shop.kit.grpc.interceptor import (
    AUTHORIZATION,
    EXPECTED_CODES,
    REQUEST_ID,
    STATUS_ATTRIBUTE,
    TRACEPARENT,
    UNMATCHED,
    span_attributes,
)
from shop.kit.http.faults import INJECTED, Fault
from shop.kit.http.pool import EJECTIONS, REPEATED, REPEATS
from shop.kit.ids import new_id
from shop.kit.spans import Kind

CALLS = Counter("shop_grpc_client_requests_total", "gRPC calls to other services", ["upstream", "method", "code"])
BREAKER = Gauge(
    "shop_grpc_client_breaker_state",
    "The worst of the upstream's instances: 0 closed, 1 half open, 2 open",
    ["upstream"],
)
DURATION = Histogram(
    "shop_grpc_client_request_duration_seconds",
    "Time to the end of the answer",
    ["upstream", "method"],
    buckets=LATENCY_BUCKETS_S,
)
BREAKER_OPEN = "BREAKER_OPEN"
TIMEOUT_S = 3.0
MAX_TRIES = 3
"""Of a method that is declared idempotent, while a server is away or stops."""
FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 0.5
MIN_JITTER = 0.5
"""Of a pause."""
CONNECT_WINDOW_S = 1.0
CONNECT_POLL_S = 0.01
MAX_LOOKS = 8
"""Instances looked at for one that is connected."""
CLOSE_GRACE_S = 10.0
"""For the calls under way at an instance that is gone."""
TRIED_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""A server that stops cancels the calls that reach it meanwhile."""


def methods_of(files: Sequence[FileDescriptor]) -> dict[str, MethodDescriptor]:
    """The methods by their paths."""
    found = [method for file in files for one in file.services_by_name.values() for method in one.methods]
    return {f"/{one.containing_service.full_name}/{one.name}": one for one in found}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How one try ended: with a response, or an error to raise."""

    code: grpc.StatusCode
    response: Any = None
    error: Problem | OutcomeUnknown | None = None

    @property
    def answered(self) -> bool:
        """A problem is an answer as well."""
        return not isinstance(self.error, OutcomeUnknown)


class GrpcClient:
    """One service at several addresses, separated by commas, or at one name that gRPC resolves.

    `shop.kit.balancing` chooses the instance of each call among those that are connected. A name is one instance to it,
    behind which gRPC takes turns; `replace` puts what discovery has found in its place. Make the client on the running
    loop, to which its connections belong. It connects at once, so that calls find a connection. Stubs are made with
    ``channel``. A call with several parts (a stream) is made with the stub itself, with ``metadata()`` and a timeout.
    """

    def __init__(
        self,
        name: str,
        addresses: str,
        files: Sequence[FileDescriptor],
        internal_token: str = "",
        rules: Rules | None = None,
    ) -> None:
        self.name = name
        self.balancer = Balancer(addresses_of(addresses), rules, opened=EJECTIONS.labels(name).inc)
        # For type checkers: of grpc's class it has what stubs use.
        self.channel = cast("grpc.aio.Channel", BalancedChannel(lambda: self._connections[self._any().base_url]))
        self.fault: Fault | None = None
        """What an administrator adds to the calls."""
        self._addresses = addresses
        self._internal_token = internal_token
        self._budget = RetryBudget(self.balancer.now())
        self._methods = methods_of(files)
        self._connections = {one.base_url: Connection(one.base_url) for one in self.balancer.instances}
        self._closing: set[asyncio.Task[None]] = set()
        self._expect()

    def _expect(self) -> None:
        """Make the time series that alerts look for."""
        BREAKER.labels(self.name).set_function(self._worst)
        CALLS.labels(self.name, UNMATCHED, BREAKER_OPEN)
        for result in REPEATED:
            REPEATS.labels(self.name, result)
        for method in self._methods:
            for code in EXPECTED_CODES:
                CALLS.labels(self.name, method, code.name)
            DURATION.labels(self.name, method)

    def _worst(self) -> int:
        return max(MEASURED[one.breaker.state] for one in self.balancer.instances)

    @property
    def state(self) -> State:
        """Open while the breakers of all instances are, closed while one is."""
        return min((one.breaker.state for one in self.balancer.instances), key=MEASURED.__getitem__)

    def follow(self, discovery: Discovery) -> None:
        """Take the instances from ``discovery``, and the addresses of the settings until it has found some."""
        discovery.follow(self.name, urls_of(self._addresses), self.replace)

    def replace(self, found: Mapping[str, About]) -> None:
        """Send further calls to the gRPC servers of the instances that discovery has found.

        Those that stay keep their connection and what is known of them; calls under way elsewhere are finished.
        """
        servers = servers_of(found)
        if not servers:
            return
        added, gone = self.balancer.update(servers)
        self._connections |= {one.base_url: Connection(one.base_url) for one in added}
        for one in gone:
            closing = asyncio.create_task(self._connections.pop(one.base_url).channel.close(CLOSE_GRACE_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def call[Q, R](self, method: Callable[..., Awaitable[R]], request: Q, *, timeout_s: float = TIMEOUT_S) -> R:
        """The answer to ``request``, with the caller's trace and within its deadline.

        A method that is declared idempotent is tried again while its server is away or stops, at another instance if
        there is one, within the service's budget. A problem of the service (4xx) is raised as the Problem that it is.
        An open breaker is raised as Unavailable; every other failure as OutcomeUnknown, because the call may have been
        carried out.
        """
        called = cast("Method", method)
        ends_at = self.balancer.now() + deadline.within(timeout_s)
        instance = await self._first(ends_at)
        self._budget.requested()
        known = called.path if called.path in self._methods else UNMATCHED
        started = time.perf_counter()
        with spans.span(called.path[1:], span_attributes(called.path), Kind.CLIENT) as recorded:
            try:
                outcome = await self._send(instance, called, request, ends_at)
            except asyncio.CancelledError:
                CALLS.labels(self.name, known, grpc.StatusCode.CANCELLED.name).inc()
                raise
            if recorded is not None:
                recorded.attributes[STATUS_ATTRIBUTE] = outcome.code.value[0]
                if outcome.code is not grpc.StatusCode.OK:
                    recorded.fail(outcome.code.name)
        CALLS.labels(self.name, known, outcome.code.name).inc()
        DURATION.labels(self.name, known).observe(time.perf_counter() - started, exemplar())
        if outcome.error is not None:
            raise outcome.error
        return cast("R", outcome.response)

    async def _first(self, ends_at: float) -> Instance:
        """The instance for a new call; Unavailable when every breaker is open.

        While none of several is connected but one may be in a moment, that is awaited.
        """
        until = min(ends_at, self.balancer.now() + CONNECT_WINDOW_S)
        while (found := self._connected()) is None and self._connecting() and self.balancer.now() < until:  # noqa: ASYNC110
            await asyncio.sleep(CONNECT_POLL_S)
        return found or self._any()

    def _connecting(self) -> bool:
        several = len(self._connections) > 1
        return several and any(not one.ready and not one.failed for one in self._connections.values())

    def _any(self) -> Instance:
        """An instance, connected or not; Unavailable when every breaker is open."""
        instance = self._connected() or self.balancer.pick()
        if instance is None:
            CALLS.labels(self.name, UNMATCHED, BREAKER_OPEN).inc()
            raise Unavailable(self.name, f"{self.name}: breaker open")
        return instance

    def _connected(self, tried: Collection[Instance] = ()) -> Instance | None:
        """The balancer's choice among the instances that are connected: what one gets that is not cannot be sent."""
        passed = list(tried)
        for _ in range(MAX_LOOKS):
            one = self.balancer.pick(passed)
            if one is None or self._connections[one.base_url].ready:
                return one
            passed.append(one)
        return None

    async def _send(self, instance: Instance, method: Method, request: Any, ends_at: float) -> _Outcome:
        """One try after the other. What one instance could not do counts against it when another gets the call, or
        nobody does: not each time."""
        tried: list[Instance] = []
        while True:
            outcome = await self._try(instance, method, request, ends_at)
            if outcome.code not in TRIED_AGAIN or outcome.answered:
                return outcome
            tried.append(instance)
            another = await self._another(tried, ends_at) if self._may_repeat(method, len(tried)) else None
            if another is not instance:
                self.balancer.failed(instance, 0.0)
            if another is None:
                return outcome
            instance = another

    def _may_repeat(self, method: Method, tries: int) -> bool:
        known = self._methods.get(method.path)
        if known is None or known.GetOptions().idempotency_level == MethodOptions.IDEMPOTENCY_UNKNOWN:
            return False
        if tries >= MAX_TRIES:
            return False
        allowed = self._budget.take(self.balancer.now())
        REPEATS.labels(self.name, "sent" if allowed else "over_budget").inc()
        return allowed

    async def _another(self, tried: Sequence[Instance], ends_at: float) -> Instance | None:
        """Another instance at once, or after a pause any; None when there is none, or no time for the pause."""
        if found := self._connected(tried):
            return found
        pause_s = min(FIRST_PAUSE_S * 2.0 ** (len(tried) - 1), MAX_PAUSE_S) * random.uniform(MIN_JITTER, 1.0)
        if self.balancer.now() + pause_s >= ends_at:
            return None
        await asyncio.sleep(pause_s)
        return self._connected() or self.balancer.pick()

    async def _try(self, instance: Instance, method: Method, request: Any, ends_at: float) -> _Outcome:
        began = self.balancer.now()
        number = instance.began(began)
        try:
            outcome = await self._injected(ends_at) or await self._outcome(instance, method, request, ends_at)
        finally:
            instance.ended(number)
        taken_s = self.balancer.now() - began
        if outcome.answered:
            self.balancer.succeeded(instance, taken_s)
        elif outcome.code not in TRIED_AGAIN:
            self.balancer.failed(instance, taken_s)
        return outcome

    async def _injected(self, ends_at: float) -> _Outcome | None:
        """How a call ends that is not sent, because of a fault that was injected."""
        if self.fault is None:
            return None
        now = self.balancer.now()
        try:
            async with asyncio.timeout(ends_at - now):
                fails = await self.fault.fails(now)
        except TimeoutError:
            return _Outcome(grpc.StatusCode.DEADLINE_EXCEEDED, error=self._unknown(INJECTED))
        return _Outcome(grpc.StatusCode.UNAVAILABLE, error=self._unknown(INJECTED)) if fails else None

    async def _outcome(self, instance: Instance, method: Method, request: Any, ends_at: float) -> _Outcome:
        connection, left_s = self._connections[instance.base_url], ends_at - self.balancer.now()
        try:
            response = await connection.callable_of(method)(request, timeout=left_s, metadata=self.metadata())
        except grpc.aio.AioRpcError as error:
            failed = problems.problem_of(error) or self._unknown(f"{error.code().name}: {error.details()}")
            failed.__cause__ = error
            return _Outcome(error.code(), error=failed)
        except asyncio.CancelledError:
            # Also what grpc raises when the server cancelled the call, for example at the end of its drain.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return _Outcome(grpc.StatusCode.CANCELLED, error=self._unknown("the server cancelled the call"))
        if response is None:
            # What grpc returns for bytes that are not the message.
            return _Outcome(grpc.StatusCode.OK, error=self._unknown("the answer is not of the method's type"))
        return _Outcome(grpc.StatusCode.OK, response)

    def _unknown(self, detail: str) -> OutcomeUnknown:
        return OutcomeUnknown(self.name, f"{self.name}: {detail}")

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries: trace context, request id, and the token that the services share."""
        return (
            (TRACEPARENT, telemetry.traceparent()),
            (REQUEST_ID, telemetry.request_id() or new_id().hex),
            (AUTHORIZATION, f"Bearer {self._internal_token}"),
        )

    async def close(self) -> None:
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*(one.channel.close() for one in self._connections.values()))
