"""Fixtures of the restaurant service's tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from services.restaurant.tests.restaurant_service import NOON, Kitchen, RunningService, restaurant_app
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Tokens
from shop.kit.clock import FixedClock
from shop.kit.db import Database
from shop.restaurant.settings import Settings

Start = Callable[..., contextlib.AbstractAsyncContextManager[RunningService]]


@pytest.fixture
def start(database_for: DatabaseFor, nats_url: str, tokens: Tokens, running: Any, served: Any) -> Start:
    """``async with start(**settings) as service``: a service on a database of its own, by default; ``on_port`` for
    streams."""

    @contextlib.asynccontextmanager
    async def run(*, on_port: bool = False, url: str | None = None, **changed: Any) -> AsyncIterator[RunningService]:
        settings = Settings(
            database_url=url or await database_for("restaurant"),
            nats_url=nats_url,
            jwks_url=tokens.jwks_url,
            internal_token=INTERNAL_TOKEN,
            **{"clock_poll_s": 0.05} | changed,
        )
        clock = FixedClock(NOON)
        app = restaurant_app(settings, clock)
        async with (served if on_port else running)(app) as client:
            database = await Database.connect(settings.database_url, pool_size=4, application="test")
            yield RunningService(client, database, tokens, app.state.context, app.state.service, clock)
            await database.close()

    return run


@pytest.fixture
async def service(start: Start) -> AsyncIterator[RunningService]:
    async with start() as service:
        yield service


@pytest.fixture
async def kitchen(service: RunningService) -> Kitchen:
    """A restaurant that is open day and night, accepts automatically and has 10 places."""
    return await service.restaurant()
