"""The instances of one service: which one gets a request, and how a request finds one that can be connected to."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from prometheus_client import Counter, Gauge

from shop.kit.balancing.balancer import Balancer
from shop.kit.balancing.breaker import MEASURED, State
from shop.kit.balancing.budget import RetryBudget
from shop.kit.balancing.instance import About, Instance
from shop.kit.balancing.rules import Rules
from shop.kit.errors import Unavailable
from shop.kit.http.answer import Answer
from shop.kit.http.connection import Body
from shop.kit.http.connections import CLOSED, FAILED, NOT_CONNECTED, Connections
from shop.kit.http.faults import INJECTED, Fault
from shop.kit.http.reconnect import Reconnect

EJECTIONS = Counter("shop_upstream_ejections_total", "Instances that were sent no more requests", ["upstream"])
REPEATS = Counter(
    "shop_upstream_repeats_total", "Requests to be sent a second time, by what the budget said", ["upstream", "result"]
)
REPEATED = ("sent", "over_budget")
INSTANCES = Gauge("shop_upstream_instances", "Instances that are known, and that take requests", ["upstream", "state"])

READY_PATH = "/health/ready"
CHECKS_TO_ACT = 2
"""Active health checks that fail one after the other before an instance is passed over."""
RETRY_AFTER_STATUS = 503


class NotConnected(Unavailable):
    """No connection was made, so no instance has seen anything of the request."""


class NoInstance(NotConnected):
    """Every instance's breaker is open, or all are busy: no connection was tried."""


@dataclass(frozen=True, slots=True)
class Request:
    """``target`` is the encoded path and query, ``headers`` have names in lower case, ``body()`` is called once per
    try.

    ``repeatable``: sending it twice does no more than sending it once. ``safe``: also after it was answered, because it
    changes nothing or its service keeps the first answer. ``stream``: it is for an event stream.
    """

    method: str
    target: str
    headers: Collection[tuple[str, str]]
    body: Callable[[], Body]
    repeatable: bool
    safe: bool = False
    stream: bool = False


class ServicePool:
    """One service. `shop.kit.balancing` chooses between its instances; ``budget`` is for requests sent again.

    Where nothing else probes instances that refused connections, ``probe_timeout_s`` makes a request do it that finds
    every breaker open. ``replaced(added, gone)`` is called when discovery has changed the instances.
    """

    def __init__(
        self,
        service: str,
        urls: Sequence[str],
        connections: Connections,
        *,
        rules: Rules | None = None,
        probe_timeout_s: float | None = None,
        replaced: Callable[[Collection[Instance], Collection[Instance]], None] | None = None,
    ) -> None:
        self.service = service
        self.connections = connections
        self.balancer = Balancer(urls, rules, opened=EJECTIONS.labels(service).inc)
        self.budget = RetryBudget(self.balancer.now())
        self.fault: Fault | None = None
        """What an administrator adds to the requests."""
        self._probe_timeout_s = probe_timeout_s
        self._replaced = replaced
        for result in REPEATED:
            REPEATS.labels(service, result)
        INSTANCES.labels(service, "known").set_function(lambda: len(self.instances))
        INSTANCES.labels(service, "usable").set_function(lambda: self.balancer.usable)

    @property
    def instances(self) -> list[Instance]:
        return self.balancer.instances

    def update(self, found: Mapping[str, About]) -> None:
        """Replace the instances by those at the base URLs ``found``; those that stay keep what is known of them."""
        added, gone = self.balancer.update(found)
        if self._replaced is not None:
            self._replaced(added, gone)

    def pick(self, tried: Container[Instance] = (), *, stream: bool = False) -> Instance | None:
        """As `Balancer.pick`."""
        return self.balancer.pick(tried, stream=stream)

    async def first(self, avoid: Collection[Instance] = (), *, stream: bool = False) -> Instance:
        """The instance for a new request, if possible none of ``avoid``; NoInstance when none takes requests."""
        instance = self.pick(avoid, stream=stream) or self.pick(stream=stream)
        if instance is None and self._probe_timeout_s is not None:
            await self.probe_refused(self._probe_timeout_s)
            instance = self.pick(stream=stream)
        if instance is None:
            raise NoInstance(self.service, f"{self.service}: breaker open")
        return instance

    async def probe_refused(self, timeout_s: float) -> None:
        """End the pause of instances whose breaker opened because they refused connections, and that are ready again.

        One that answers too late is not probed: that it is ready says nothing about how long requests take.
        """
        refused = [one for one in self.instances if one.refused and one.breaker.state is State.OPEN]
        await asyncio.gather(*(self._probe(instance, timeout_s) for instance in refused))

    async def _probe(self, instance: Instance, timeout_s: float) -> None:
        if await self._is_ready(instance, timeout_s):
            instance.breaker.try_again()

    async def check(self, timeout_s: float) -> None:
        """Ask each of several instances whether it is ready. A single one gets the requests in any case."""
        if len(self.instances) > 1:
            await asyncio.gather(*(self._check(instance, timeout_s) for instance in self.instances))

    async def _check(self, instance: Instance, timeout_s: float) -> None:
        ready = await self._is_ready(instance, timeout_s)
        self.balancer.checked(instance, ready=ready, failures_to_act=CHECKS_TO_ACT)

    async def _is_ready(self, instance: Instance, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self.connections.send(instance.base_url, "GET", READY_PATH, new=True)
                with contextlib.closing(answer):
                    return answer.status == 200
        except FAILED:
            return False

    def may_repeat(self) -> bool:
        """Whether the budget has something left for sending a request again; if so, it is spent."""
        allowed = self.budget.take(self.balancer.now())
        REPEATS.labels(self.service, "sent" if allowed else "over_budget").inc()
        return allowed

    def breaker_value(self) -> int:
        """The worst state of all instances, as metrics say it."""
        return max((MEASURED[instance.breaker.state] for instance in self.instances), default=0)

    def retry_after_s(self) -> int:
        """Whole seconds, at least 1, until some instance may take a request again."""
        waits = [instance.breaker.retry_after_s for instance in self.instances if instance.breaker.state is State.OPEN]
        return max(1, math.ceil(min(waits, default=1.0)))


class Exchange:
    """One request and its answer: ``async with`` sends it and gives the answer's head; the end closes the answer.

    As long as no connection can be made, other instances are tried, for up to ``window_s`` seconds: then NotConnected.
    Any other of FAILED means that the request may have been carried out. Refused connections count as failures
    of the instance; what else does is the caller's decision. ``avoid``: instances that get it only if no other can.
    ``connections`` are used instead of the pool's.
    """

    def __init__(
        self,
        pool: ServicePool,
        request: Request,
        window_s: float,
        avoid: Collection[Instance] = (),
        connections: Connections | None = None,
    ) -> None:
        self._pool = pool
        self._connections = connections or pool.connections
        self._request = request
        self._window_s = window_s
        self._avoid = avoid
        self._answer: Answer | None = None
        self.instance: Instance | None = None
        """The one that has the request, or had it last."""
        self.reconnects = 0
        """Further tries of a request that could not be sent."""
        self.repeated = False
        """Whether it was sent again, because its connection was closed or another instance answered 503."""
        self._is_stream = False
        self._number = 0
        self._sent_at = 0.0
        self._taken_s: float | None = None

    def succeeded(self) -> None:
        """Close the instance's breaker."""
        if self.instance is not None:
            self._pool.balancer.succeeded(self.instance, self._seconds())

    def faulted(self) -> None:
        """Count a 5xx that may be another service's fault: against the instance only if others do better."""
        if self.instance is not None:
            self._pool.balancer.faulted(self.instance, self._seconds(), self._retry_after_s())

    def failed(self) -> None:
        """Count a failure of the instance."""
        if self.instance is not None:
            self._pool.balancer.failed(self.instance, self._seconds())
            if wait_s := self._retry_after_s():
                self._pool.balancer.pause(self.instance, wait_s)

    def elsewhere(self) -> Exchange | None:
        """The request once more, at another instance, after a 503 of this one; None where that may not or cannot be.

        Not when every other instance does badly or has asked for a pause, and only within the service's budget.
        """
        if self._answer is None or self._answer.status != RETRY_AFTER_STATUS or self.instance is None:
            return None
        if self.repeated or not self._request.safe or not self._pool.balancer.has_other(self.instance):
            return None
        if not self._pool.may_repeat():
            return None
        again = Exchange(self._pool, self._request, self._window_s, (self.instance,), self._connections)
        again.repeated = True
        return again

    def waits(self) -> bool:
        """Whether the instance asked for a pause and there is no other to ask."""
        if self.instance is None or not self._retry_after_s():
            return False
        return not self._pool.balancer.has_other(self.instance)

    def _seconds(self) -> float:
        """From sending the request to the head of its answer, or until now."""
        return self._pool.balancer.now() - self._sent_at if self._taken_s is None else self._taken_s

    def _retry_after_s(self) -> float:
        """What an instance that is overloaded asks for; dates are not used between services."""
        if self._answer is None or self._answer.status != RETRY_AFTER_STATUS:
            return 0.0
        asked = self._answer.header(b"retry-after")
        return float(asked) if asked.isascii() and asked.isdigit() else 0.0

    def becomes_stream(self) -> None:
        """Count the answer, whose head says that it is an event stream, among the instance's streams from now on."""
        if self.instance is not None and not self._is_stream:
            self._is_stream = True
            self.instance.ended(self._number)
            self.instance.streams += 1

    async def __aenter__(self) -> Answer:
        instance = await self._pool.first(self._avoid, stream=self._request.stream)
        if not self.repeated:
            self._pool.budget.requested()
        search: Reconnect[Instance] | None = None
        while True:
            self.instance = instance
            self._sent_at = self._pool.balancer.now()
            self._number = instance.began(self._sent_at)
            try:
                if self._pool.fault is not None and await self._pool.fault.fails(self._sent_at):
                    raise CLOSED(INJECTED)
                self._answer = await self._head_from(instance)
                self._taken_s = self._pool.balancer.now() - self._sent_at
                instance.refused = False
                return self._answer
            except NOT_CONNECTED as error:
                instance.refused = True
                search = search or Reconnect(self._pool.pick, self._window_s)
                following = await search.after(instance)
                if following is None:
                    detail = f"{self._pool.service}: {type(error).__name__}: {error}"
                    raise NotConnected(self._pool.service, detail) from error
                self.reconnects += 1
            except CLOSED:
                # An instance that stops closes its connections, perhaps just as a request is written to one, and may
                # not take a new one any more.
                instance.refused = False
                if self.repeated or not self._request.repeatable or not self._pool.may_repeat():
                    raise
                self.repeated = True
                following = self._another(instance)
            except BaseException:
                instance.refused = False
                raise
            finally:
                if self._answer is None:
                    instance.ended(self._number)
            instance = following

    def _another(self, closed: Instance) -> Instance:
        """The instance that gets what was lost on a connection to ``closed``, the same if there is no other.

        Whatever comes of it, the caller learns nothing of ``closed`` any more.
        """
        another = self._pool.pick((closed,))
        if another is None:
            return closed
        self._pool.balancer.failed(closed, self._seconds())
        return another

    def _head_from(self, instance: Instance) -> Awaitable[Answer]:
        """The answer when its head has arrived. A repeated request gets a connection of its own: the next kept one may
        be closed by a service that ends, too."""
        request = self._request
        return self._connections.send(
            instance.base_url, request.method, request.target, request.headers, request.body(), new=self.repeated
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._answer is not None:
            self._answer.close()
        if self.instance is None:
            return
        if self._is_stream:
            self.instance.streams -= 1
        else:
            self.instance.ended(self._number)
