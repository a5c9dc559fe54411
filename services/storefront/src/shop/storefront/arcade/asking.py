"""Questions to a service that a page can do without: answered within a fixed time or not at all.

One failure opens the breaker. After it no page waits: a task asks again, once in PROBE_EVERY_S, until there is an
answer. So a service that hangs delays only the pages that were being made when it began to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shop.kit.balancing.breaker import Breaker, State
from shop.kit.errors import Problem, Unavailable

PROBE_EVERY_S = 1.0

log = logging.getLogger(__name__)


class Asking:
    """Make it on the running loop."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._probing: asyncio.Task[None] | None = None
        self.breaker = Breaker(failures_to_open=1, reset_s=PROBE_EVERY_S)

    async def ask[T](self, question: Callable[[], Awaitable[T]], timeout_s: float | None = None) -> T:
        """The answer or the service's Problem; Unavailable when it has failed lately or takes too long."""
        if self.breaker.state is not State.CLOSED:
            self._probe(question)
            raise Unavailable(self._name, f"{self._name}: it failed a moment ago")
        return await self._within(question, timeout_s or self._timeout_s)

    async def maybe[T](self, question: Callable[[], Awaitable[T]], timeout_s: float | None = None) -> T | None:
        """The same; None without an answer."""
        try:
            return await self.ask(question, timeout_s)
        except (Unavailable, Problem):
            return None

    async def _within[T](self, question: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        try:
            async with asyncio.timeout(timeout_s):
                answer = await question()
        except (TimeoutError, Unavailable) as error:
            self.breaker.failed()
            log.warning(
                "%s does not answer, pages do without it: %s",
                self._name,
                str(error) or type(error).__name__,
                extra={"event": "service_silent"},
            )
            raise Unavailable(self._name) from error
        except Problem:
            self.breaker.succeeded()
            raise
        self.breaker.succeeded()
        return answer

    def _probe[T](self, question: Callable[[], Awaitable[T]]) -> None:
        if self._probing is None and self.breaker.state is State.HALF_OPEN:
            self._probing = asyncio.create_task(self._try(question))
            self._probing.add_done_callback(self._probed)

    async def _try[T](self, question: Callable[[], Awaitable[T]]) -> None:
        try:
            await self._within(question, self._timeout_s)
        except Problem:
            pass
        except Unavailable:
            return
        log.info("%s answers again", self._name, extra={"event": "service_answers_again"})

    def _probed(self, _: asyncio.Task[None]) -> None:
        self._probing = None

    async def close(self) -> None:
        if self._probing:
            self._probing.cancel()
            await asyncio.wait([self._probing])
