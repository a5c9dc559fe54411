"""Any sequence of events gives the boards of the model, from the cache and from the database, also while the cache is
lost, written anew and read."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.leaderboard.tests.boards_by_hand import (
    NOON,
    Boards,
    cancelled,
    changed,
    confirmed,
    deleted,
    scored,
)
from services.leaderboard.tests.conftest import Start
from services.leaderboard.tests.model import Model
from shop.kit.clock import FixedClock
from shop.kit.ids import new_id
from shop.leaderboard.board_repository import SeasonKey
from shop.leaderboard.domain import MAX_SCORE, microseconds

STEP_TIMEOUT_S = 20.0
PLAYERS = 5
FILE = """
- {board: high, title: High, source: points, operator: best, reset: daily, time_zone: America/Santiago}
- {board: golf, title: Golf, source: points, operator: best, order: asc}
- {board: gauge, title: Gauge, source: level, operator: last}
- {board: week, title: Week, source: level, operator: last, order: asc, reset: weekly}
- {board: buyers, title: Buyers, source: orders, operator: sum, reset: daily}
- {board: thrifty, title: Thrifty, source: orders, operator: sum, order: asc}
"""
EMPTY = "TRUNCATE entries, scores, players, seasons, deleted_user_digest"
SCORES = st.sampled_from([0, 1, 2, 3, MAX_SCORE - 1, MAX_SCORE])
PLAYER = st.integers(0, PLAYERS - 1)
MOMENTS = st.sampled_from([-26.0, -14.0, -1.0, -1.0, 0.0, 0.0, 9.0, 25.0])
"""Hours from now; the same moment often, because that is what ties are."""


class Machine(RuleBasedStateMachine):
    boards: Boards
    loop: asyncio.AbstractEventLoop
    clock: FixedClock

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(STEP_TIMEOUT_S)

    @initialize()
    def begin(self) -> None:
        self.run(self.boards.context.database.execute(EMPTY))
        self.run(self.boards.service._cache._valkey.flushall())
        self.clock.at = NOON
        self.model = Model(self.boards.service.boards)
        self.players = [new_id() for _ in range(PLAYERS)]
        self.versions = [0] * PLAYERS
        self.orders: list[tuple[UUID, UUID]] = []
        for number in range(PLAYERS - 1):
            self.change(number, private=False)

    @rule(number=PLAYER, source=st.sampled_from(["points", "level"]), score=SCORES, hours=MOMENTS, twice=st.booleans())
    def score(self, number: int, source: str, score: int, hours: float, twice: bool) -> None:
        player, at = self.players[number], self.clock.at + timedelta(hours=hours)
        event = scored(player, score, at, source)
        self.run(self.boards.take(*[event] * (1 + twice)))
        self.model.score(player, source, score, at, microseconds(at))

    @rule(number=PLAYER, units=st.sampled_from([0, 1, 2, MAX_SCORE // 100 * 60]), hours=MOMENTS, first=st.booleans())
    def order(self, number: int, units: int, hours: float, first: bool) -> None:
        """``first``: its cancellation has arrived before."""
        player, at = self.players[number], self.clock.at + timedelta(hours=hours)
        order_id = new_id()
        self.orders.append((order_id, player))
        if first:
            self.cancel(len(self.orders) - 1)
        self.run(self.boards.take(confirmed(player, units * 100 + 99, order_id, at)))
        self.model.order(order_id, player, units, at)

    @rule(which=st.integers(0, 20))
    def cancel(self, which: int) -> None:
        if self.orders:
            order_id, player = self.orders[which % len(self.orders)]
            self.run(self.boards.take(cancelled(player, order_id)))
            self.model.cancel(order_id, player)

    @rule(number=PLAYER, private=st.booleans(), late=st.booleans())
    def change(self, number: int, private: bool, late: bool = False) -> None:
        """``late``: an older change arrives after a newer one."""
        player = self.players[number]
        self.versions[number] += 0 if late and self.versions[number] else 1
        version = max(1, self.versions[number] - late)
        self.run(self.boards.take(changed(player, "Ada", version, private=private)))
        self.model.change(player, version, not private)

    @rule(number=PLAYER)
    def delete(self, number: int) -> None:
        self.run(self.boards.take(deleted(self.players[number])))
        self.model.delete(self.players[number])

    @rule()
    def lose_the_cache(self) -> None:
        self.run(self.boards.service._cache._valkey.flushall())

    @rule()
    def write_the_cache_anew(self) -> None:
        for board in self.boards.service.boards:
            season = self.boards.service.present_season(board).name
            self.run(self.boards.service.keeper.rebuild(SeasonKey(board.id, season)))

    @rule(hours=st.sampled_from([1.0, 12.0]))
    def wait(self, hours: float) -> None:
        self.clock.advance(hours * 3_600)

    @invariant()
    def boards_are_those_of_the_model(self) -> None:
        if hasattr(self, "model"):
            self.run(self.compare())

    async def compare(self) -> None:
        for (name, season), expected in self.model.expected():
            board = self.boards.service.board(name)
            stored = await self.boards.service._standings.top(SeasonKey(board.id, season), None, 100)
            assert [(one.rank, one.player_id, one.place.score) for one in stored.items] == expected
            if expected or season == self.boards.service.present_season(board).name:
                assert await self.boards.rows(name, season=season) == expected
            for rank, player, score in expected[1:2]:
                found = await self.boards.rank(name, player, season=season, neighbours=1)
                assert (found["rank"], found["score"]) == (rank, score)
                assert [one["rank"] for one in found["neighbours"]] == [r for r, _, _ in expected[:3]]


async def test_any_sequence_gives_the_boards_of_the_model(start: Start, clock: FixedClock) -> None:
    async with start(boards=FILE) as boards:
        Machine.boards, Machine.loop, Machine.clock = boards, asyncio.get_running_loop(), clock
        checks = settings(
            max_examples=8, stateful_step_count=20, suppress_health_check=list(HealthCheck), derandomize=True
        )
        await asyncio.to_thread(run_state_machine_as_test, Machine, settings=checks)
        assert await boards.context.database.fetchval("SELECT count(*) FROM dead_letter") == 0
