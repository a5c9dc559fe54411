"""A running player service, the two services that it calls, and the requests of its tests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI, Request, Response

from shop.contracts.achievement import EVALUATE, OF_PLAYER, UNLOCK
from shop.contracts.events import (
    AchievementUnlocked,
    OrderCancelled,
    OrderConfirmed,
    UserDeleted,
    UserRegistered,
)
from shop.contracts.leaderboard import BOARDS, RECORD
from shop.contracts.money import Address, Money
from shop.devkit.testing import INTERNAL_TOKEN, Principal, Tokens
from shop.games.stack import Round
from shop.games.stack_rules import RULES
from shop.kit import outbox
from shop.kit.app import Context, create_app
from shop.kit.clock import FixedClock
from shop.kit.db import Database
from shop.kit.events import EventData, Received
from shop.kit.ids import new_id
from shop.player import api, games_api
from shop.player.consumers import consumers
from shop.player.service import PlayerService
from shop.player.settings import Settings

PLAYERS = "/api/v1/players"
GAMES = "/api/v1/games"
STACK = f"{GAMES}/stack/sessions"
NOON = datetime(2026, 6, 5, 12, 0, tzinfo=UTC)
"""A Friday."""
HOME = Address(name="Ada", street="1 Mill Lane", city="Millbridge", postal_code="MB1", country="GB")
NOTHING = Money(amount=0, currency="EUR")
BOARD_NAMES = {"stack": ("stack", False), "quiz": ("quiz", True), "darts": ("darts", True)}
TICKS_PER_S = 60
PUBLISHED = "SELECT event_id, payload::json AS it FROM outbox WHERE type = $1 ORDER BY id"


@dataclass
class Elsewhere:
    """Answers as leaderboard and achievement do; ``failing`` and ``hanging`` name services."""

    failing: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)
    recorded: list[dict[str, Any]] = field(default_factory=list)
    evaluated: list[dict[str, Any]] = field(default_factory=list)
    unlocked: list[dict[str, Any]] = field(default_factory=list)
    boards_read: int = 0

    @property
    def app(self) -> FastAPI:
        app = FastAPI()
        answers = {
            RECORD.path: ("leaderboard", self._record),
            BOARDS.path: ("leaderboard", self._boards),
            EVALUATE.path: ("achievement", self._evaluate),
            UNLOCK.path: ("achievement", self._unlock),
            OF_PLAYER.path: ("achievement", self._of_player),
        }

        async def answer(request: Request) -> Response:
            service, handle = answers[request.url.path]
            if service in self.hanging:
                await asyncio.sleep(60)
            if service in self.failing:
                return Response(status_code=500)
            if request.headers["authorization"] != f"Bearer {INTERNAL_TOKEN}":
                return Response(status_code=403)
            body = await request.body()
            return handle(await request.json() if body else dict(request.query_params))

        for path in answers:
            app.add_api_route(path, answer, methods=["GET", "POST"])
        return app

    def _record(self, body: dict[str, Any]) -> Response:
        self.recorded.append(body)
        request = RECORD.request.validate_python(body)
        standing = {"board": request.event.source, "season": "all", "score": request.event.score, "rank": 7}
        return _json(RECORD.result.validate_python({"standings": [standing]}))

    def _boards(self, _: dict[str, Any]) -> Response:
        self.boards_read += 1
        boards = [
            {"board": name, "source": source, "external": external} for name, (source, external) in BOARD_NAMES.items()
        ]
        return _json(BOARDS.result.validate_python({"boards": boards}))

    def _evaluate(self, body: dict[str, Any]) -> Response:
        self.evaluated.append(body)
        EVALUATE.request.validate_python(body)
        return _json(EVALUATE.result.validate_python({"unlocked": [achievement("first_round")]}))

    def _unlock(self, body: dict[str, Any]) -> Response:
        self.unlocked.append(body)
        code = UNLOCK.request.validate_python(body).code
        problem = {"unknown": "unknown_achievement", "ruled": "not_external"}.get(code)
        result = {"problem": problem} if problem else {"achievement": achievement(code)}
        return _json(UNLOCK.result.validate_python(result))

    def _of_player(self, _: dict[str, Any]) -> Response:
        return _json(OF_PLAYER.result.validate_python({"items": [achievement("first_round")]}))


def achievement(code: str) -> dict[str, Any]:
    return {
        "code": code,
        "name": code,
        "description": code,
        "xp": 50,
        "unlocked_at": NOON.isoformat(),
        "progress": {"have": 1, "need": 1},
    }


def _json(model: Any) -> Response:
    return Response(model.model_dump_json(), media_type="application/json")


def moves_of(seed: int, pieces: int) -> list[int]:
    """Drops ``pieces`` pieces perfectly and misses with the next one."""
    current, moves = Round(seed, RULES), []
    for _ in range(pieces):
        piece = current.piece
        tick = next(
            tick
            for tick in range(piece.appeared, RULES.max_ticks)
            if abs(piece.left_at(tick, RULES.field) - current.left) <= RULES.tolerance
        )
        current.press(tick)
        moves.append(tick)
    return [*moves, current.piece.appeared]


@dataclass
class Someone:
    """A signed-in user."""

    principal: Principal
    headers: dict[str, str]

    @property
    def id(self) -> UUID:
        return self.principal.user_id

    @property
    def path(self) -> str:
        return f"{PLAYERS}/{self.id}"


@dataclass
class RunningService:
    """The service as its callers see it, its database, the services that it calls, and the clock that it uses."""

    client: httpx.AsyncClient
    database: Database
    tokens: Tokens
    context: Context
    service: PlayerService
    clock: FixedClock
    elsewhere: Elsewhere

    def someone(self) -> Someone:
        person, token = self.tokens.customer()
        return Someone(person, {"Authorization": f"Bearer {token}"})

    async def player(self) -> Someone:
        """A user who is a player already."""
        made = self.someone()
        await self.me(made)
        return made

    async def me(self, who: Someone) -> dict[str, Any]:
        answer = await self.client.get(f"{PLAYERS}/me", headers=who.headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def change(self, who: Someone, **fields: Any) -> httpx.Response:
        return await self.client.patch(f"{PLAYERS}/me", json=fields, headers=who.headers)

    async def open(self, who: Someone) -> dict[str, Any]:
        answer = await self.client.post(STACK, headers=who.headers)
        assert answer.status_code == 201, answer.text
        session: dict[str, Any] = answer.json()
        return session

    async def finish(self, who: Someone, session: dict[str, Any], moves: list[int]) -> httpx.Response:
        body = {"token": session["token"], "moves": moves}
        return await self.client.post(f"{STACK}/{session['id']}/result", json=body, headers=who.headers)

    async def play(self, who: Someone, pieces: int = 3) -> dict[str, Any]:
        """A whole round, in the time that it takes."""
        session = await self.open(who)
        moves = moves_of(session["seed"], pieces)
        self.clock.advance(moves[-1] / TICKS_PER_S)
        answer = await self.finish(who, session, moves)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def take(self, *events: EventData) -> None:
        """As the inbox does it: in one transaction, with the consumer of the first event."""
        [consumer] = [one for one in consumers(self.service) if type(events[0]) in one.types]
        async with self.database.transaction() as connection:
            await consumer.handle(connection, [received(one) for one in events])

    async def send(self, noun: str, *events: EventData) -> None:
        """Put events on the stream of the service ``noun``."""
        await self.context.bus.ensure_stream(noun)
        for row in map(outbox.row, events):
            await (await self.context.bus.publish(row.type, row.payload.encode(), str(row.event_id)))

    async def ledger(self, who: Someone) -> dict[str, int]:
        """The points of each cause; they add up to what the player has."""
        rows = await self.database.fetch("SELECT cause, xp FROM ledger WHERE player_id = $1", who.id)
        found = {row["cause"]: row["xp"] for row in rows}
        assert sum(found.values()) == (await self.me(who))["xp"]
        return found

    async def published(self, kind: type[EventData]) -> list[Any]:
        """The events of this type in the order of the outbox."""
        rows = await self.database.fetch(
            "SELECT payload::json AS it FROM outbox WHERE type = $1 ORDER BY id", kind.TYPE
        )
        return [kind.model_validate(row["it"]["data"]) for row in rows]


def received(event: EventData) -> Received:
    return Received(new_id(), event.TYPE, NOON, "", "", event)


def registered(who: Someone) -> UserRegistered:
    return UserRegistered(user_id=who.id, email=who.principal.email, name="Ada Lovelace", occurred_at=NOON)


def confirmed(
    who: Someone, cents: int = 4_250, *, order_id: UUID | None = None, at: datetime = NOON, currency: str = "EUR"
) -> OrderConfirmed:
    return OrderConfirmed(
        order_id=order_id or new_id(),
        user_id=who.id,
        email=who.principal.email,
        customer_name="Ada",
        kind="retail",
        occurred_at=at,
        lines=[],
        subtotal=NOTHING,
        discount=NOTHING,
        tax=NOTHING,
        shipping=NOTHING,
        total=Money(amount=cents, currency=currency),
        address=HOME,
    )


def cancelled(order: OrderConfirmed) -> OrderCancelled:
    return OrderCancelled(
        order_id=order.order_id,
        user_id=order.user_id,
        email=order.email,
        customer_name="Ada",
        kind="retail",
        occurred_at=order.occurred_at,
        refunded=order.total,
    )


def unlocked(who: Someone, code: str, xp: int) -> AchievementUnlocked:
    return AchievementUnlocked(player_id=who.id, occurred_at=NOON, code=code, name=code, description=code, xp=xp)


def deleted(who: Someone) -> UserDeleted:
    return UserDeleted(user_id=who.id, occurred_at=NOON)


def player_app(settings: Settings, clock: FixedClock) -> FastAPI:
    def build(context: Context) -> PlayerService:
        context.clock = clock
        return PlayerService.build(context)

    return create_app(
        settings, title="Player", routers=[api.router, games_api.router], build=build, consumers=consumers
    )
