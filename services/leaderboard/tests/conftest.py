"""Fixtures of leaderboard's tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.leaderboard.tests.boards_by_hand import NOON, Boards
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Running, Tokens
from shop.kit.app import Context, create_app
from shop.kit.clock import FixedClock
from shop.leaderboard import api, cache, consumers, internal
from shop.leaderboard.service import LeaderboardService
from shop.leaderboard.settings import Settings

Start = Callable[..., contextlib.AbstractAsyncContextManager[Boards]]

PATIENT_S = 10.0
"""So that a slow reply of Valkey is waited for: boards are not cached for a moment after one that came too late."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "TIMEOUT_S", PATIENT_S)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
async def settings(database_for: DatabaseFor, nats_url: str, valkey_url: str, tokens: Tokens) -> Settings:
    return Settings(
        database_url=await database_for("leaderboard"),
        nats_url=nats_url,
        valkey_url=valkey_url,
        jwks_url=tokens.jwks_url,
        internal_token=INTERNAL_TOKEN,
    )


@pytest.fixture
def start(settings: Settings, clock: FixedClock, running: Running) -> Start:
    """``async with start(boards=...) as boards``: a replica, with settings that differ from the usual ones."""

    @contextlib.asynccontextmanager
    async def started(**changes: Any) -> AsyncIterator[Boards]:
        async def build(context: Context) -> LeaderboardService:
            context.clock = clock
            return await LeaderboardService.build(context)

        app = create_app(
            settings.model_copy(update=changes),
            title="Leaderboard",
            routers=[api.router, internal.router],
            build=build,
            consumers=consumers.consumers,
        )
        async with running(app) as client:
            yield Boards(client, app.state.context, app.state.service)

    return started


@pytest.fixture
async def boards(start: Start) -> AsyncIterator[Boards]:
    """A replica with the shop's boards."""
    async with start() as started:
        yield started
