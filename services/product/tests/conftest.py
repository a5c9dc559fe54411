"""Fixtures of the product service's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.product.tests.product_service import RunningService, product_app
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Running, Tokens
from shop.kit.db import Database
from shop.product.settings import Settings


@pytest.fixture
async def service(
    database_for: DatabaseFor, nats_url: str, tokens: Tokens, running: Running
) -> AsyncIterator[RunningService]:
    """A running product service on a database of its own."""
    url = await database_for("product")
    settings = Settings(database_url=url, nats_url=nats_url, jwks_url=tokens.jwks_url, internal_token=INTERNAL_TOKEN)
    async with running(product_app(settings)) as client:
        database = await Database.connect(url, pool_size=2, application="test")
        yield RunningService(client, database, tokens, settings)
        await database.close()
