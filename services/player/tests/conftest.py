"""Fixtures of the player service's tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.player.tests.player_service import NOON, Elsewhere, RunningService, player_app
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Tokens
from shop.kit.clock import FixedClock
from shop.kit.db import Database
from shop.player import service as player_service
from shop.player.settings import Settings

PATIENT_S = 5.0
"""So that a slow reply of Valkey is waited for: profiles are not cached for a moment after one that came too late. So
are answers of other services, which a round's answer does without."""

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningService]]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player_service, "TIMEOUT_S", PATIENT_S)


@pytest.fixture
def start(
    database_for: DatabaseFor, nats_url: str, valkey_url: str, tokens: Tokens, running: Any, served: Any
) -> Start:
    """``async with start(**settings) as service``: a service on a database of its own, by default, at noon; ``on_port``
    for clients that are not in this process."""

    @contextlib.asynccontextmanager
    async def run(*, on_port: bool = False, url: str | None = None, **changed: Any) -> AsyncIterator[RunningService]:
        clock, elsewhere = FixedClock(NOON), Elsewhere()
        async with served(elsewhere.app) as other:
            settings = Settings(
                **{
                    "database_url": url or await database_for("player"),
                    "nats_url": nats_url,
                    "valkey_url": valkey_url,
                    "jwks_url": tokens.jwks_url,
                    "internal_token": INTERNAL_TOKEN,
                    "leaderboard_url": str(other.base_url),
                    "achievement_url": str(other.base_url),
                    "call_timeout_s": PATIENT_S,
                    **changed,
                }
            )
            app = player_app(settings, clock)
            async with (served if on_port else running)(app) as client:
                database = await Database.connect(settings.database_url, pool_size=4, application="test")
                yield RunningService(client, database, tokens, app.state.context, app.state.service, clock, elsewhere)
                await database.close()

    return run


@pytest.fixture
async def service(start: Start) -> AsyncIterator[RunningService]:
    async with start() as service:
        yield service
