"""Sends queued messages: claims a batch, renders and sends each message, records the results.

Any number of senders may run. A message is sent twice only if a sender ended after the provider accepted it and
before that was recorded; both have the same id.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import jinja2

from shop.kit.backoff import backoff_s
from shop.kit.clock import Clock
from shop.kit.errors import Unavailable
from shop.kit.logging import decision
from shop.kit.tasks import poll
from shop.notification import domain
from shop.notification.metrics import SENT, UP
from shop.notification.providers import Deferred, Down, Outgoing, Provider, Refused
from shop.notification.render import Rendered, Renderer
from shop.notification.repository import LEASE_S, Claimed, NotificationRepository, Result

log = logging.getLogger(__name__)

BATCH_MESSAGES = 100
IDLE_S = 30.0
"""Pause of a sender that nothing wakes."""
DOWN_FIRST_S = 0.25
DOWN_MAX_S = 10.0
SENDING_SHARE_OF_LEASE = 0.5
"""The rest of the lease is for the last slow message and for recording the results."""
RECORD_ATTEMPTS = 6
MAX_ERROR_CHARACTERS = 500


class Sender:
    """The loop of one channel. ``more`` is called when there may be messages for another sender, too."""

    def __init__(
        self,
        provider: Provider,
        renderer: Renderer,
        repository: NotificationRepository,
        clock: Clock,
        more: Callable[[], None] = lambda: None,
    ) -> None:
        self._provider = provider
        self._more = more
        self._wake = asyncio.Event()
        self.is_idle = False
        self._renderer = renderer
        self._repository = repository
        self._clock = clock
        self._failures = 0
        """Attempts in a row that found the provider down."""

    @property
    def channel(self) -> domain.Channel:
        return self._provider.channel

    def wake(self) -> None:
        """Have it look for messages that are due."""
        self.is_idle = False
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled. While the provider is down nothing is claimed, so that no attempts are used up."""
        await poll(self._open_and_send, IDLE_S, wake=self._wake)

    async def _open_and_send(self) -> int:
        self.is_idle = False
        try:
            await self._provider.open()
            claimed = await self.send_batch()
        except Down as error:
            log.warning("%s messages wait: %s", self._provider.channel, error, extra={"event": "messages_wait"})
            UP.labels(self._provider.channel).set(0)
            await asyncio.sleep(backoff_s(self._failures, DOWN_FIRST_S, DOWN_MAX_S))
            self._failures += 1
            return 1
        self._failures = 0
        UP.labels(self._provider.channel).set(1)
        self.is_idle = not claimed
        return claimed

    async def send_batch(self) -> int:
        """Send due messages, at most BATCH_MESSAGES, and return how many were claimed.

        Sent messages are recorded even if the provider goes down or the task is cancelled meanwhile.
        """
        lease, messages = await self._repository.claim(self._provider.channel, self._clock.now(), BATCH_MESSAGES)
        if len(messages) == BATCH_MESSAGES:
            self._more()
        results: list[Result] = []
        try:
            await self._send_all(messages, results)
        finally:
            done, now = {result.id for result in results}, self._clock.now()
            # What was claimed and not tried is due again, without using up an attempt.
            left = [message for message in messages if message.id not in done]
            results += [Result(message.id, "queued", message.attempts - 1, now) for message in left]
            if results:
                await self._record(results, lease)
        return len(messages)

    async def _send_all(self, messages: list[Claimed], results: list[Result]) -> None:
        """Append the result of each message that was tried; raises Down, and stops, when the provider is down."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LEASE_S * SENDING_SHARE_OF_LEASE

        async def send(message: Claimed) -> None:
            results.append(await self._send(message))

        for group in itertools.batched(messages, self._provider.parallel):
            if loop.time() > deadline:
                return
            failures = await asyncio.gather(*(send(message) for message in group), return_exceptions=True)
            for failure in failures:
                if failure is not None:
                    raise failure

    async def _send(self, message: Claimed) -> Result:
        content: Rendered | None = None
        try:
            content = self._renderer.render(message.template, message.data, message.name)
            if message.superseded:
                raise Refused("A later message about this delivery was sent while this one had to wait.")
            if not message.recipient:
                raise Deferred("the address of this user is not known yet")
            await self._provider.send(Outgoing(message.id, message.recipient, content, message.created_at))
        except Down:
            raise
        except (Refused, jinja2.TemplateError) as error:
            return self._outcome(message, content, "failed", error)
        except Deferred as error:
            return self._outcome(message, content, "queued", error)
        except Exception as error:
            # An unexpected error uses up an attempt of this message and must not stop the others.
            log.exception(
                "a message could not be sent",
                extra={"event": "message_attempt_failed", "notification_id": str(message.id)},
            )
            return self._outcome(message, content, "queued", error)
        return self._outcome(message, content, "sent", None)

    def _outcome(
        self, message: Claimed, content: Rendered | None, state: domain.State, error: Exception | None
    ) -> Result:
        now = self._clock.now()
        again = domain.next_attempt(message.attempts, now)
        if state == "queued" and again is None:
            state = "failed"
        elif state == "queued" and again is not None:
            asyncio.get_running_loop().call_later((again - now).total_seconds(), self.wake)
        SENT.labels(self._provider.channel, "deferred" if state == "queued" else state).inc()
        if state != "queued":
            log_result(
                self.channel,
                state,
                message.template,
                message.id,
                order_id=message.order_id,
                trace_id=message.trace_id,
                error=error,
            )
        return Result(
            message.id,
            state,
            message.attempts,
            again or now,
            message.recipient,
            content.subject if content else "",
            content.text if content else None,
            content.html if content else None,
            f"{error}"[:MAX_ERROR_CHARACTERS] if error else None,
        )

    async def _record(self, results: list[Result], lease: datetime) -> None:
        """Record the batch, with retries while the database is unavailable: otherwise it would be sent twice."""
        for attempt in range(RECORD_ATTEMPTS):
            try:
                await self._repository.record(results, lease, self._clock.now())
                return
            except Unavailable:
                if attempt == RECORD_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(backoff_s(attempt))


def log_result(
    channel: domain.Channel,
    state: domain.State,
    template: str,
    notification_id: UUID,
    *,
    order_id: UUID | None,
    trace_id: str,
    error: Exception | None = None,
) -> None:
    """The address is left out of the log; it is in the database."""
    decision(
        log,
        f"message_{state}",
        "%s %s of template %s",
        channel,
        state,
        template,
        level=logging.ERROR if error else logging.INFO,
        trace_id=trace_id,
        notification_id=notification_id,
        order_id=order_id,
        reason=f"{error}"[:MAX_ERROR_CHARACTERS] if error else None,
    )
