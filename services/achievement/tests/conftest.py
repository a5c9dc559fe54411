"""Fixtures of the achievement service's tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.achievement.tests.achievement_service import NOON, RULES, RunningService, achievement_app
from shop.achievement.settings import Settings
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Tokens
from shop.kit.clock import FixedClock
from shop.kit.db import Database

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningService]]


@pytest.fixture
def start(database_for: DatabaseFor, nats_url: str, tokens: Tokens, running: Any, served: Any) -> Start:
    """``async with start(**settings) as service``: a replica on a database of its own, by default; ``on_port`` for
    streams."""

    @contextlib.asynccontextmanager
    async def run(*, on_port: bool = False, url: str | None = None, **other: Any) -> AsyncIterator[RunningService]:
        fields: dict[str, Any] = {"achievement_rules": RULES, "stream_poll_s": 0.02} | other
        settings = Settings(
            database_url=url or await database_for("achievement"),
            nats_url=nats_url,
            jwks_url=tokens.jwks_url,
            internal_token=INTERNAL_TOKEN,
            **fields,
        )
        clock = FixedClock(NOON)
        app = achievement_app(settings, clock)
        async with (served if on_port else running)(app) as client:
            database = await Database.connect(settings.database_url, pool_size=8, application="test")
            yield RunningService(client, database, tokens, app.state.context, app.state.service, clock)
            await database.close()

    return run


@pytest.fixture
async def service(start: Start) -> AsyncIterator[RunningService]:
    async with start() as service:
        yield service
