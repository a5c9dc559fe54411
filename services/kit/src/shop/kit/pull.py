"""The events of a durable consumer, as they come: one request to the broker waits there for many of them.

The client's own ``fetch`` sends two requests for each batch, and as many each time that it finds nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shop.kit.bus import BROKER_ERRORS, Bus
from shop.kit.errors import Unavailable

MAX_EVENTS = 256
"""Of one request, and so of what this process has been sent and has not begun."""
REQUEST_S = 10.0
"""How long a request waits at the broker."""
ANSWER_S = 2.0
"""After a request's time the broker says so within these seconds; otherwise the request was lost."""
CLOSE_TIMEOUT_S = 2.0
GATHER_S = 0.01
"""Where events came together, further ones are waited for as long: they share the statements of one batch."""
STATUS = "Status"
OVER = frozenset({"404", "408"})
"""Of a request that found nothing, or not all that it asked for, in its time."""
HEARTBEAT = "100"


class Pull:
    """``async with Pull(...)``: the events of the consumer ``durable`` of ``noun``'s stream.

    What was sent here and not returned by `take` goes back to the broker at the end, for other replicas.
    """

    def __init__(self, bus: Bus, noun: str, durable: str) -> None:
        self._bus = bus
        self._noun = noun
        self._durable = durable
        self._arrived: deque[Msg] = deque()
        self._wake = asyncio.Event()
        self._connection = bus.connections
        self._subscription: Subscription | None = None
        self._asked = 0
        """Events that the request under way may still bring."""
        self._asked_until = 0.0
        self._gathers = False
        self._forget: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        self._connection = self._bus.connections
        self._subscription = await self._bus.receive(self._receive)
        self._forget = self._bus.on_change(self._wake.set)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        if self._subscription is None:
            return
        with contextlib.suppress(*BROKER_ERRORS):
            if not self._bus.connected:
                await self._subscription.unsubscribe()
                return
            # Returns once everything that the broker has sent by now is here.
            await asyncio.wait_for(self._subscription.drain(), CLOSE_TIMEOUT_S)  # type: ignore[no-untyped-call]
        with contextlib.suppress(*BROKER_ERRORS):
            for message in self._arrived:
                if STATUS not in (message.headers or {}):
                    await message.nak()

    def _is_connected(self) -> bool:
        """Whether there is still the connection that the subscription was made on."""
        return self._bus.connected and self._bus.connections == self._connection

    async def _receive(self, message: Msg) -> None:
        self._arrived.append(message)
        self._wake.set()

    async def take(self, wait_s: float) -> list[Msg]:
        """What has arrived, or the first that arrives within ``wait_s`` seconds; else nothing.

        Unavailable once the connection was lost, or the broker does not know the consumer any more.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            # First what is here: it is acknowledged over a new connection as well as over the old one.
            if found := self._events():
                return found
            self._check()
            if not self._asked or loop.time() >= self._asked_until:
                await self._ask()
            left_s = min(until, self._asked_until) - loop.time()
            if loop.time() >= until:
                return []
            await self._wait(left_s)

    @property
    def used_up(self) -> bool:
        """Whether all that was asked for has come, so that the broker may have more and nothing comes meanwhile."""
        return not self._asked

    def _check(self) -> None:
        if not self._is_connected():
            raise Unavailable("broker", "the connection to the broker was lost")

    async def _ask(self) -> None:
        self._asked, self._asked_until = MAX_EVENTS, asyncio.get_running_loop().time() + REQUEST_S + ANSWER_S
        inbox = self._subscription.subject if self._subscription else ""
        await self._bus.ask(self._noun, self._durable, inbox, events=MAX_EVENTS, for_s=REQUEST_S)

    async def _wait(self, for_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await self._wake.wait()
            if self._gathers:
                await asyncio.sleep(GATHER_S)
        self._wake.clear()

    def _events(self) -> list[Msg]:
        """What has arrived; Unavailable for a message that says that there is nothing to wait for."""
        found = []
        while self._arrived:
            message = self._arrived.popleft()
            status = (message.headers or {}).get(STATUS)
            if status is None:
                found.append(message)
            elif status in OVER:
                self._asked = 0
            elif status != HEARTBEAT:
                self._arrived.extendleft(reversed(found))
                raise Unavailable("broker", f"{self._durable}: {message.headers}")
        self._asked = max(0, self._asked - len(found))
        self._gathers = len(found) > 1
        return found
