"""Server-sent events of a kitchen's tickets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

from shop.kit.watchers import Change, Watchers, event
from shop.restaurant import metrics
from shop.restaurant.domain import OPEN, Ticket
from shop.restaurant.settings import Settings
from shop.restaurant.tickets import TicketRepository
from shop.restaurant.views import ticket_view

MAX_CHANGES_READ = 50
"""Per restaurant and poll."""
MAX_OPEN = 200
"""Tickets that a new stream begins with."""


class KitchenStreams:
    """A client gets the ticket as it is after each change; a state that a ticket has left meanwhile is skipped."""

    def __init__(self, tickets: TicketRepository, settings: Settings) -> None:
        self._tickets = tickets
        self._watchers: Watchers[Ticket] = Watchers(
            self._read,
            poll_s=settings.stream_poll_s,
            keepalive_s=settings.stream_keepalive_s,
            max_streams=settings.max_streams,
            streams=metrics.STREAMS,
        )
        self.run = self._watchers.run
        self.check_capacity = self._watchers.check_capacity

    async def _read(self, seen: Mapping[UUID, int]) -> list[Change[Ticket]]:
        found = await self._tickets.changes(seen, MAX_CHANGES_READ)
        return [Change(one.restaurant_id, one.sequence, one) for one in found if one.restaurant_id is not None]

    async def events(self, restaurant_id: UUID, seen: int | None) -> AsyncIterator[bytes]:
        """Tickets as they change; without ``seen``, the number that the client has, first those that are open."""
        if seen is None:
            seen = await self._tickets.latest(restaurant_id)
            for ticket in reversed(await self._tickets.page(restaurant_id, sorted(OPEN), None, MAX_OPEN)):
                yield event("ticket", _document(ticket), seen)
        async for chunk in self._watchers.events(restaurant_id, seen, _encode):
            yield chunk


def _encode(change: Change[Ticket]) -> bytes:
    return event("ticket", _document(change.content), change.version)


def _document(ticket: Ticket) -> dict[str, Any]:
    return ticket_view(ticket).model_dump(mode="json")
