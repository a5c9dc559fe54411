"""A leaderboard service of tests, its events, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import orjson

from shop.contracts.events import OrderCancelled, OrderConfirmed, PlayerChanged, PlayerGained, PlayerScored, UserDeleted
from shop.contracts.money import Address, Money
from shop.devkit.testing import INTERNAL_TOKEN, wait_until
from shop.kit import outbox
from shop.kit.app import Context
from shop.kit.events import EventData, Received
from shop.kit.ids import new_id
from shop.kit.inbox import Consumer, Inbox
from shop.leaderboard.board_repository import SeasonKey
from shop.leaderboard.service import LeaderboardService

PATH = "/api/v1/leaderboards"
INTERNAL = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOME = Address(name="Ada", street="1 Lane", city="Berlin", postal_code="10115", country="DE")
NOTHING = Money(amount=0, currency="EUR")


def scored(player_id: UUID, score: int, at: datetime = NOON, source: str = "stack") -> PlayerScored:
    return PlayerScored(player_id=player_id, occurred_at=at, result_id=new_id(), source=source, score=score)


def changed(player_id: UUID, name: str = "Ada", version: int = 1, *, private: bool = False) -> PlayerChanged:
    return PlayerChanged(player_id=player_id, occurred_at=NOON, name=name, private=private, version=version)


def gained(player_id: UUID, total_xp: int, version: int, at: datetime = NOON) -> PlayerGained:
    return PlayerGained(
        player_id=player_id,
        occurred_at=at,
        cause=f"order:{new_id()}",
        xp=1,
        total_xp=total_xp,
        level=1,
        streak_days=0,
        version=version,
    )


def deleted(player_id: UUID) -> UserDeleted:
    return UserDeleted(user_id=player_id, occurred_at=NOON)


def _about(user_id: UUID, order_id: UUID, at: datetime) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "user_id": user_id,
        "email": "ada@example.com",
        "customer_name": "Ada",
        "kind": "retail",
        "occurred_at": at,
    }


def confirmed(user_id: UUID, cents: int, order_id: UUID | None = None, at: datetime = NOON) -> OrderConfirmed:
    return OrderConfirmed(
        **_about(user_id, order_id or new_id(), at),
        lines=[],
        subtotal=NOTHING,
        discount=NOTHING,
        tax=NOTHING,
        shipping=NOTHING,
        total=Money(amount=cents, currency="EUR"),
        address=HOME,
    )


def cancelled(user_id: UUID, order_id: UUID, at: datetime = NOON) -> OrderCancelled:
    return OrderCancelled(**_about(user_id, order_id, at), refunded=NOTHING)


@dataclass
class Boards:
    """A running service. ``take`` processes events as the broker's loop does."""

    client: httpx.AsyncClient
    context: Context
    service: LeaderboardService
    ids: dict[EventData, UUID] = field(default_factory=dict)

    @property
    def inbox(self) -> Inbox:
        return Inbox("leaderboard", self.context.database, self.context.bus)

    def consumer_of(self, event: EventData) -> Consumer:
        consumers = self.service.recorder.consumers()
        return next(one for one in consumers if type(event) in one.types)

    async def take(self, *events: EventData, event_id: UUID | None = None) -> None:
        """Process each in a batch of its own."""
        for event in events:
            await self.take_batch([event], event_id)

    async def take_batch(self, events: Sequence[EventData], event_id: UUID | None = None) -> None:
        received = [Received(event_id or new_id(), one.TYPE, NOON, "", "", one) for one in events]
        await self.inbox.process(self.consumer_of(events[0]), received)

    async def publish(self, event: EventData, event_id: UUID | None = None, attempt: str = "") -> None:
        """Through the broker, perhaps again under another message id."""
        row = outbox.row(event)
        payload = orjson.loads(row.payload) | ({"id": str(event_id)} if event_id else {})
        await wait_until(lambda: self.context.bus.connected)
        await self.context.bus.ensure_stream(row.type.split(".", 1)[0])
        await (await self.context.bus.publish(row.type, orjson.dumps(payload), f"{payload['id']}{attempt}"))

    async def player(self, name: str = "Ada") -> UUID:
        """A new player who is public."""
        player_id = new_id()
        await self.take(changed(player_id, name))
        return player_id

    async def record(self, event: PlayerScored, event_id: UUID | None = None) -> list[dict[str, Any]]:
        """By a call."""
        body = {"event_id": str(event_id or new_id()), "event": event.model_dump(mode="json")}
        answer = await self.client.post("/internal/scores", json=body, headers=INTERNAL)
        assert answer.status_code == 200, answer.text
        standings: list[dict[str, Any]] = answer.json()["standings"]
        return standings

    async def board(self, board: str, **parameters: Any) -> dict[str, Any]:
        answer = await self.client.get(f"{PATH}/{board}", params=parameters)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def rows(self, board: str, **parameters: Any) -> list[tuple[int, UUID, int]]:
        """Rank, player and score of each listed entry."""
        document = await self.board(board, **{"top": 100, **parameters})
        return [(one["rank"], UUID(one["player"]["id"]), one["score"]) for one in document["items"]]

    async def rank(self, board: str, player_id: UUID, **parameters: Any) -> dict[str, Any]:
        answer = await self.client.get(f"{PATH}/{board}/players/{player_id}", params=parameters)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def key(self, board: str) -> SeasonKey:
        found = self.service.board(board)
        return SeasonKey(found.id, self.service.present_season(found).name)

    async def cached(self, board: str) -> bool:
        """Whether the board is answered from the cache."""
        found = self.service.board(board)
        season = self.service.present_season(found)
        key = self.key(board)
        answer = await self.service._read_cache(found, season, lambda: self.service._cache.top(key, b"", 1))
        return answer is not None

    async def wait_cached(self, *boards: str) -> None:
        for board in boards:
            await wait_until(partial(self.cached, board), what=f"the cached board {board}")
