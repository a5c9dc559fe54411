"""A running achievement service, and the events of its tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI

from shop.achievement import api, consumers
from shop.achievement.service import AchievementService
from shop.achievement.settings import Settings
from shop.contracts.achievement import EVALUATE, OF_PLAYER, UNLOCK
from shop.contracts.events import (
    OrderCancelled,
    OrderConfirmed,
    OrderLine,
    PlayerChanged,
    PlayerGained,
    PlayerScored,
    UserDeleted,
)
from shop.contracts.money import Address, Money
from shop.devkit.testing import INTERNAL_TOKEN, Tokens
from shop.kit import outbox
from shop.kit.app import Context, create_app
from shop.kit.clock import FixedClock
from shop.kit.db import Database
from shop.kit.events import EventData, Received
from shop.kit.ids import new_id
from shop.kit.inbox import Consumer, Inbox

PATH = "/api/v1/achievements"
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
HOME = Address(name="Ada", street="1 Lane", city="Berlin", postal_code="10115", country="DE")
INTERNAL = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}
OUTBOX = "SELECT payload FROM outbox WHERE type = 'achievement.unlocked.v1' ORDER BY id"
RULES = """
rules:
  - {code: score-10, name: Ten, description: Score 10, xp: 5, when: {score: {source: stack, at_least: 10}}}
  - {code: sum-25, name: Sum, description: Collect 25, when: {sum: {source: stack, at_least: 25}}}
  - {code: placed-9, name: Nine, description: Place 9, when: {sum: {source: stack, statistic: placed, at_least: 9}}}
  - {code: row-4, name: Four, description: Four in a row, when: {statistic: {source: stack, name: row, at_least: 4}}}
  - {code: rounds-3, name: Three, description: Three rounds, when: {rounds: {source: stack, at_least: 3}}}
  - {code: fast, name: Fast, description: Fast, when: {speed: {source: stack, within_s: 30, score_at_least: 8}}}
  - {code: streak-2, name: Twice, description: Two days, when: {streak: {days: 2}}}
  - {code: level-3, name: Third, description: Level 3, when: {level: {at_least: 3}}}
  - {code: order, name: Customer, description: Order, when: {orders: {at_least: 1}}}
  - {code: orders-2, name: Again, description: Order twice, when: {orders: {at_least: 2}}}
  - {code: spent-30, name: Patron, description: Spend 30, when: {spent: {at_least: 30}}}
  - {code: wide, name: Wide, description: Two categories, when: {categories: {at_least: 2}}}
  - {code: tea-and-books, name: Evening, description: Tea and books, when: {categories: {all: [tea, books]}}}
  - code: both
    name: Both
    description: Order and play
    when: {all_of: [{orders: {at_least: 1}}, {score: {source: stack, at_least: 5}}]}
  - code: either
    name: Either
    description: A streak or a score
    hidden: true
    when: {any_of: [{streak: {days: 5}}, {score: {source: stack, at_least: 20}}]}
  - {code: tournament, name: Cup, description: Win the cup, xp: 100, external: true}
"""


def money(amount: int, currency: str = "EUR") -> Money:
    return Money(amount=amount, currency=currency)


def scored(player: UUID, score: int, *, seconds: float = 60, source: str = "stack", **statistics: int) -> PlayerScored:
    return PlayerScored(
        player_id=player,
        occurred_at=NOON,
        result_id=new_id(),
        source=source,
        score=score,
        duration_ms=round(1_000 * seconds),
        statistics=statistics,
    )


def gained(player: UUID, *, level: int = 1, streak: int = 0, version: int = 1) -> PlayerGained:
    return PlayerGained(
        player_id=player,
        occurred_at=NOON,
        cause=f"result:{new_id()}",
        xp=1,
        total_xp=1,
        level=level,
        streak_days=streak,
        version=version,
    )


def confirmed(
    player: UUID, *categories: str, order_id: UUID | None = None, total: int = 1_000, currency: str = "EUR"
) -> OrderConfirmed:
    """``total`` in minor units."""
    lines = [
        OrderLine(
            product_id=new_id(),
            quantity=1,
            name=name,
            category=name,
            unit_price=money(1, currency),
            line_total=money(1, currency),
        )
        for name in categories
    ]
    return OrderConfirmed(
        order_id=order_id or new_id(),
        user_id=player,
        email="ada@example.com",
        customer_name="Ada",
        kind="retail",
        occurred_at=NOON,
        lines=lines,
        subtotal=money(total, currency),
        discount=money(0, currency),
        tax=money(0, currency),
        shipping=money(0, currency),
        total=money(total, currency),
        address=HOME,
    )


def cancelled(order: OrderConfirmed) -> OrderCancelled:
    fields = {name: getattr(order, name) for name in ("order_id", "user_id", "email", "customer_name", "kind")}
    return OrderCancelled(**fields, occurred_at=NOON, refunded=order.total, reason="cancelled")


def changed(player: UUID, version: int, mail_to: str | None, *, private: bool = False) -> PlayerChanged:
    return PlayerChanged(
        player_id=player, occurred_at=NOON, name="Ada", private=private, mail_to=mail_to, version=version
    )


def deleted(player: UUID) -> UserDeleted:
    return UserDeleted(user_id=player, occurred_at=NOON)


def received(event: EventData, event_id: UUID | None = None) -> Received:
    return Received(event_id or new_id(), event.TYPE, NOON, "", "", event)


@dataclass
class RunningService:
    """The service as its callers see it, its database, and the clock that it uses."""

    client: httpx.AsyncClient
    database: Database
    tokens: Tokens
    context: Context
    service: AchievementService
    clock: FixedClock
    inbox: Inbox = field(init=False)

    def __post_init__(self) -> None:
        self.inbox = Inbox("achievement", self.database, self.context.bus)

    def consumer(self, kind: type[EventData]) -> Consumer:
        [found] = [one for one in consumers.consumers(self.service) if kind in one.types]
        return found

    async def take(self, *events: EventData) -> None:
        """As the broker's consumers do, one event after the other."""
        for event in events:
            await self.receive(received(event))

    async def receive(self, *batch: Received) -> int:
        """A batch of one consumer."""
        return await self.inbox.process(self.consumer(type(batch[0].event)), batch)

    async def evaluate(self, event: PlayerScored, event_id: UUID) -> list[str]:
        body = {"event_id": str(event_id), "event": event.model_dump(mode="json")}
        answer = await self.client.post(EVALUATE.path, json=body, headers=INTERNAL)
        assert answer.status_code == 200, answer.text
        return [one.code for one in EVALUATE.result.validate_json(answer.content).unlocked]

    async def unlock(self, player: UUID, code: str) -> dict[str, Any]:
        body = {"player_id": str(player), "code": code, "occurred_at": NOON.isoformat()}
        answer = await self.client.post(UNLOCK.path, json=body, headers=INTERNAL)
        assert answer.status_code == 200, answer.text
        return UNLOCK.result.validate_json(answer.content).model_dump(mode="json")

    async def listing(self, player: UUID) -> dict[str, dict[str, Any]]:
        """What a page about the player shows, by code, in its order."""
        answer = await self.client.get(OF_PLAYER.path, params={"player_id": str(player)}, headers=INTERNAL)
        assert answer.status_code == 200, answer.text
        return {one["code"]: one for one in answer.json()["items"]}

    async def unlocked(self, player: UUID) -> list[str]:
        """In the order of unlocking."""
        sql = "SELECT code FROM unlocked WHERE player_id = $1 ORDER BY number"
        return [row["code"] for row in await self.database.fetch(sql, player)]

    async def facts(self, player: UUID) -> dict[str, int]:
        rows = await self.database.fetch("SELECT fact, value FROM facts WHERE player_id = $1", player)
        return {row["fact"]: int(row["value"]) for row in rows if row["value"]}

    async def announced(self) -> list[dict[str, Any]]:
        return [json.loads(row["payload"])["data"] for row in await self.database.fetch(OUTBOX)]

    async def codes_announced(self) -> list[str]:
        return [one["code"] for one in await self.announced()]


async def send(service: RunningService, noun: str, *batch: Received) -> None:
    """Put events on the stream of the service ``noun``."""
    await service.context.bus.ensure_stream(noun)
    for one in batch:
        row = outbox.row(one.event)
        payload = json.loads(row.payload) | {"id": str(one.event_id)}
        await (await service.context.bus.publish(row.type, json.dumps(payload).encode(), str(new_id())))


def achievement_app(settings: Settings, clock: FixedClock) -> FastAPI:
    def build(context: Context) -> AchievementService:
        context.clock = clock
        return AchievementService.build(context)

    return create_app(
        settings,
        title="Achievements",
        routers=[api.router, api.internal],
        build=build,
        consumers=consumers.consumers,
    )


def codes(items: Sequence[dict[str, Any]]) -> list[str]:
    return [one["code"] for one in items]
