"""Fixtures of the recommendation service's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from services.recommendation.tests.recommending import Products, Served, Shop
from shop.devkit.testing import INTERNAL_TOKEN, WAIT_TIMEOUT_S, DatabaseFor, Running, Tokens
from shop.kit import app
from shop.kit.ids import new_id
from shop.product.settings import Settings as ProductSettings
from shop.recommendation.settings import Settings


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service is not unready because a busy machine answers late."""
    monkeypatch.setattr(app, "CHECK_TIMEOUT_S", WAIT_TIMEOUT_S)


@pytest.fixture
async def products(database_for: DatabaseFor, nats_url: str, tokens: Tokens, served: Served) -> AsyncIterator[Products]:
    """A product service with an empty catalogue."""
    settings = ProductSettings(
        database_url=await database_for("product"),
        nats_url=nats_url,
        jwks_url=tokens.jwks_url,
        internal_token=INTERNAL_TOKEN,
        read_cache_seconds=0,
    )
    made = Products(settings, served, tokens)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def stopped_shop(
    database_for: DatabaseFor, nats_url: str, tokens: Tokens, running: Running, products: Products
) -> AsyncIterator[Shop]:
    """A shop without a replica yet; models are trained as soon as something changed."""
    settings = Settings(
        database_url=await database_for("recommendation"),
        nats_url=nats_url,
        jwks_url=tokens.jwks_url,
        internal_token=INTERNAL_TOKEN,
        product_url=products.url,
        grpc_host="127.0.0.1",
        grpc_port=0,
        model_poll_seconds=0.02,
        training_pause_seconds=0,
        lookup_seconds=5,
    )
    made = Shop(settings, products, running, tokens)
    yield made
    await made.stop()


@pytest.fixture
async def shop(stopped_shop: Shop) -> Shop:
    """A shop with one replica."""
    await stopped_shop.start()
    return stopped_shop


@pytest.fixture
def user() -> UUID:
    return new_id()
