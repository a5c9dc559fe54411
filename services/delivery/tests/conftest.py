"""Fixtures of the delivery service's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.delivery.tests.delivery_service import NOON, RunningService, delivery_app
from shop.delivery.settings import Settings
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Running, Tokens
from shop.kit.clock import FixedClock
from shop.kit.db import Database

NEVER_S = 3_600.0
"""Tests call the loops' passes themselves."""


@pytest.fixture
async def settings(database_for: DatabaseFor, nats_url: str, tokens: Tokens) -> Settings:
    made = Settings(
        database_url=await database_for("delivery"),
        nats_url=nats_url,
        jwks_url=tokens.jwks_url,
        internal_token=INTERNAL_TOKEN,
        sweep_s=NEVER_S,
        stream_poll_s=0.02,
    )
    return made.model_copy(update={"flush_s": NEVER_S})


@pytest.fixture
async def service(settings: Settings, tokens: Tokens, running: Running) -> AsyncIterator[RunningService]:
    """A running delivery service on a database of its own, at noon."""
    clock = FixedClock(NOON)
    app = delivery_app(settings, clock)
    async with running(app) as client:
        database = await Database.connect(settings.database_url, pool_size=4, application="test")
        yield RunningService(client, app, database, tokens, clock)
        await database.close()
