"""Server-sent events of orders, from stored transitions: no state is skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

from shop.kit.watchers import Change, Watchers, event
from shop.order import metrics
from shop.order.domain import Order, State
from shop.order.repository import OrderRepository
from shop.order.settings import Settings

OrderWatchers = Watchers[Mapping[str, Any]]
"""Each change's content is a StateView."""


def order_watchers(repository: OrderRepository, settings: Settings) -> OrderWatchers:
    async def read(seen: Mapping[UUID, int]) -> list[Change[Mapping[str, Any]]]:
        return [
            _change(row["order_id"], State(row["state"]), row["version"], row["reason"], row["at"])
            for row in await repository.changes(seen)
        ]

    return Watchers(
        read,
        poll_s=settings.stream_poll_s,
        keepalive_s=settings.stream_keepalive_s,
        max_streams=settings.max_streams,
        streams=metrics.STREAMS,
    )


def events(watchers: OrderWatchers, order: Order, seen: int | None) -> AsyncIterator[bytes]:
    """The order's states as they change, until one is final. ``seen`` is the version that the client has."""
    if seen is not None:
        return watchers.events(order.id, min(seen, order.version), _encode)
    now = _change(order.id, order.state, order.version, order.reason, order.updated_at)
    return watchers.events(order.id, order.version, _encode, now)


def _change(order_id: UUID, state: State, version: int, reason: str | None, at: Any) -> Change[Mapping[str, Any]]:
    known = reason if state.final else None
    document = {"order_id": str(order_id), "state": state, "version": version, "reason": known, "at": at}
    return Change(order_id, version, document, last=state.final)


def _encode(change: Change[Mapping[str, Any]]) -> bytes:
    return event("state", change.content, change.version)
