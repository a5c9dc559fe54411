"""Sends what is queued: claims a batch, writes and sends each message, records what became of them.

Any number of senders may run. A message is sent again only if a sender ended between the server's acceptance and
the record of it; the second one carries the same id.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

import jinja2
from prometheus_client import Counter, Gauge

from shop.kit.clock import Clock
from shop.kit.errors import Unavailable
from shop.kit.logging import decision
from shop.kit.tasks import backoff_s
from shop.notification import domain
from shop.notification.providers import Deferred, Down, Outgoing, Provider, Refused
from shop.notification.render import Rendered, Renderer
from shop.notification.repository import LEASE_S, Claimed, NotificationRepository, Settled

log = logging.getLogger(__name__)

SENT = Counter("shop_notification_messages_total", "Messages by what became of a try", ["channel", "outcome"])
UP = Gauge("shop_notification_provider_up", "1 while the provider of the channel can be reached", ["channel"])

BATCH_MESSAGES = 100
IDLE_POLL_S = 0.25
DOWN_FIRST_S = 0.25
DOWN_MAX_S = 10.0
SENDING_SHARE_OF_LEASE = 0.5
"""The rest of the lease is left for a last slow message and for the record."""
SETTLE_ATTEMPTS = 6
MAX_ERROR_CHARACTERS = 500


class Sender:
    """The loop of one channel."""

    def __init__(
        self, provider: Provider, renderer: Renderer, repository: NotificationRepository, clock: Clock
    ) -> None:
        self._provider = provider
        self._renderer = renderer
        self._repository = repository
        self._clock = clock

    async def run(self) -> None:
        """Send for ever. While the provider is down nothing is claimed, so that no message loses tries to that."""
        failures = 0
        while True:
            try:
                await self._provider.open()
                claimed = await self.send_batch()
                failures = 0
            except Down as error:
                log.warning("%s messages wait: %s", self._provider.channel, error)
                UP.labels(self._provider.channel).set(0)
                await asyncio.sleep(backoff_s(failures, DOWN_FIRST_S, DOWN_MAX_S))
                failures += 1
                continue
            UP.labels(self._provider.channel).set(1)
            if not claimed:
                await asyncio.sleep(IDLE_POLL_S)

    async def send_batch(self) -> int:
        """Send the messages that are due, at most BATCH_MESSAGES, and return how many were claimed.

        What was sent is recorded even when the provider goes down or the process is told to stop in between.
        """
        lease, messages = await self._repository.claim(self._provider.channel, self._clock.now(), BATCH_MESSAGES)
        done: list[Settled] = []
        try:
            await self._send_each(messages, done)
        finally:
            settled = {item.id for item in done}
            done += [self._given_back(message) for message in messages if message.id not in settled]
            if done:
                await self._settle(done, lease)
        return len(messages)

    async def _send_each(self, messages: list[Claimed], done: list[Settled]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LEASE_S * SENDING_SHARE_OF_LEASE
        for message in messages:
            if loop.time() > deadline:
                return
            done.append(await self._send(message))

    async def _send(self, message: Claimed) -> Settled:
        content: Rendered | None = None
        try:
            content = self._renderer.render(message.template, message.data, message.name)
            if not message.recipient:
                raise Deferred("it is not known yet where this user reads mail")
            await self._provider.send(Outgoing(message.id, message.recipient, content, message.created_at))
        except Down:
            raise
        except (Refused, jinja2.TemplateError) as error:
            return self._outcome(message, content, "failed", error)
        except Deferred as error:
            return self._outcome(message, content, "queued", error)
        except Exception as error:
            # Unforeseen: it costs this message a try, and the others must not wait for it.
            log.exception("a message could not be sent", extra={"notification_id": str(message.id)})
            return self._outcome(message, content, "queued", error)
        return self._outcome(message, content, "sent", None)

    def _outcome(
        self, message: Claimed, content: Rendered | None, state: domain.State, error: Exception | None
    ) -> Settled:
        now = self._clock.now()
        again = domain.next_attempt(message.attempts, now)
        if state == "queued" and again is None:
            state = "failed"
        SENT.labels(self._provider.channel, "deferred" if state == "queued" else state).inc()
        if state != "queued":
            self._log(message, state, error)
        return Settled(
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

    def _log(self, message: Claimed, state: domain.State, error: Exception | None) -> None:
        """Without the address: whom it was for is in the database."""
        decision(
            log,
            f"message_{state}",
            "%s %s of template %s",
            self._provider.channel,
            state,
            message.template,
            level=logging.ERROR if error else logging.INFO,
            trace_id=message.trace_id,
            notification_id=message.id,
            order_id=message.order_id,
            reason=f"{error}"[:MAX_ERROR_CHARACTERS] if error else None,
        )

    def _given_back(self, message: Claimed) -> Settled:
        return Settled(message.id, "queued", message.attempts - 1, self._clock.now())

    async def _settle(self, done: list[Settled], lease: datetime) -> None:
        """Record the batch, through a short absence of the database: the alternative is to send it twice."""
        for attempt in range(SETTLE_ATTEMPTS):
            try:
                await self._repository.settle(done, lease, self._clock.now())
                return
            except Unavailable:
                if attempt == SETTLE_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(backoff_s(attempt))
