"""The instances of one service: which one gets a request, and how a request finds one that can be connected to."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import cast

from yarl import URL

from shop.kit.errors import Unavailable
from shop.kit.http.breaker import FAILURES_TO_OPEN, MEASURED, RESET_S, Breaker, State
from shop.kit.http.connections import CLOSED, FAILED, NOT_CONNECTED, Connections, ServiceResponse
from shop.kit.http.reconnect import Reconnect

MAX_INFLIGHT = 1_024
"""Requests under way at one instance; beyond, a quick 503 serves everyone better than a long queue."""
READY_PATH = "/health/ready"

Data = bytes | AsyncIterator[bytes] | None


class NotConnected(Unavailable):
    """No connection was made, so no instance has seen anything of the request."""


class NoInstance(NotConnected):
    """Every instance's breaker is open, or all are busy: no connection was tried."""


class Instance:
    """One address of a service."""

    def __init__(self, base_url: str, breaker: Breaker) -> None:
        self.base_url = base_url.strip().rstrip("/")
        self.breaker = breaker
        self.inflight = 0
        self.streams = 0
        """Open event streams. They last for minutes and cost little, so they are no requests under way; the service
        limits how many there are."""
        self.refused = False
        """Whether the last request could not connect."""


@dataclass(frozen=True, slots=True)
class Request:
    """``target`` is the encoded path and query; ``data()`` is called once per try.

    ``repeatable``: sending it twice does no more than sending it once.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    data: Callable[[], Data]
    repeatable: bool


class ServicePool:
    """One service. Of two random instances the one with fewer requests under way gets the request, or else the one with
    fewer streams; open breakers are passed over.

    Where nothing else probes instances that refused connections, ``probe_timeout_s`` makes a request do it that finds
    every breaker open.
    """

    def __init__(
        self,
        service: str,
        urls: Sequence[str],
        connections: Connections,
        *,
        failures_to_open: int = FAILURES_TO_OPEN,
        reset_s: float = RESET_S,
        probe_timeout_s: float | None = None,
    ) -> None:
        self.service = service
        self.connections = connections
        self.instances = [Instance(url, Breaker(failures_to_open, reset_s)) for url in urls]
        self._probe_timeout_s = probe_timeout_s

    def pick(self, tried: Container[Instance] = ()) -> Instance | None:
        """An instance that takes a request now and is not among ``tried``; None when there is none."""
        if len(self.instances) == 1:
            ordered = self.instances
        else:
            ordered = random.sample(self.instances, len(self.instances))
            ordered[:2] = sorted(ordered[:2], key=lambda instance: (instance.inflight, instance.streams))
        for instance in ordered:
            if instance not in tried and instance.inflight < MAX_INFLIGHT and instance.breaker.allows():
                return instance
        return None

    async def first(self) -> Instance:
        """The instance for a new request; NoInstance when none takes requests."""
        instance = self.pick()
        if instance is None and self._probe_timeout_s is not None:
            await self.probe_refused(self._probe_timeout_s)
            instance = self.pick()
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
        try:
            async with (
                asyncio.timeout(timeout_s),
                self.connections.single_use.get(instance.base_url + READY_PATH) as answer,
            ):
                ready = answer.status == 200
        except FAILED:
            return
        if ready:
            instance.breaker.try_again()

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
    of the instance; what else does is the caller's decision.
    """

    def __init__(self, pool: ServicePool, request: Request, window_s: float) -> None:
        self._pool = pool
        self._request = request
        self._window_s = window_s
        self._response: ServiceResponse | None = None
        self.instance: Instance | None = None
        """The one that has the request, or had it last."""
        self.reconnects = 0
        """Further tries of a request that could not be sent."""
        self.repeated = False
        """Whether it was sent again because its connection was closed."""
        self._is_stream = False

    def succeeded(self) -> None:
        """Close the instance's breaker."""
        if self.instance is not None:
            self.instance.breaker.succeeded()

    def failed(self) -> None:
        """Count a failure of the instance."""
        if self.instance is not None:
            self.instance.breaker.failed()

    def becomes_stream(self) -> None:
        """Count the answer, whose head says that it is an event stream, among the instance's streams from now on."""
        if self.instance is not None and not self._is_stream:
            self._is_stream = True
            self.instance.inflight -= 1
            self.instance.streams += 1

    async def __aenter__(self) -> ServiceResponse:
        instance = await self._pool.first()
        search: Reconnect[Instance] | None = None
        while True:
            self.instance = instance
            instance.inflight += 1
            try:
                self._response = await self._head_from(instance)
                instance.refused = False
                return self._response
            except NOT_CONNECTED as error:
                instance.refused = True
                search = search or Reconnect(self._pool.pick, self._window_s)
                following = await search.after(instance)
                if following is None:
                    detail = f"{self._pool.service}: {type(error).__name__}: {error}"
                    raise NotConnected(self._pool.service, detail) from error
                self.reconnects += 1
            except CLOSED:
                # A service that stops closes its connections, perhaps just as a request is written to one.
                instance.refused = False
                if self.repeated or not self._request.repeatable:
                    raise
                self.repeated = True
                following = instance
            except BaseException:
                instance.refused = False
                raise
            finally:
                if self._response is None:
                    instance.inflight -= 1
            instance = following

    def _head_from(self, instance: Instance) -> Awaitable[ServiceResponse]:
        """The head of the answer; a repeated request gets a connection of its own."""
        request, connections = self._request, self._pool.connections
        session = connections.single_use if self.repeated else connections.reused
        response = session.request(
            request.method,
            URL(instance.base_url + request.target, encoded=True),
            headers=request.headers,
            data=request.data(),
            allow_redirects=False,
        )
        return cast("Awaitable[ServiceResponse]", response)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._response is not None:
            self._response.close()
        if self.instance is None:
            return
        if self._is_stream:
            self.instance.streams -= 1
        else:
            self.instance.inflight -= 1
