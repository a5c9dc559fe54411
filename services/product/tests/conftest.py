"""Fixtures of the product service's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.product.tests.product_shelf import Shelf, product_app
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Running, Tokens
from shop.kit.db import Database
from shop.product.settings import Settings


@pytest.fixture
async def shelf(database_for: DatabaseFor, nats_url: str, tokens: Tokens, running: Running) -> AsyncIterator[Shelf]:
    """A running product service on a database of its own."""
    url = await database_for("product")
    settings = Settings(database_url=url, nats_url=nats_url, jwks_url=tokens.jwks_url, internal_token=INTERNAL_TOKEN)
    async with running(product_app(settings)) as client:
        database = await Database.connect(url, pool_size=2, application="test")
        yield Shelf(client, database, tokens, settings)
        await database.close()
