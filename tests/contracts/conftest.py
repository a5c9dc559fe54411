"""Fixtures of several test modules."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from shop.devkit.embedded import Server
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Databases, Tokens, without_streams
from shop.town import town
from tests.contracts.food_quarter import KITCHEN, NOUNS, URLS, Quarter, new_restaurant
from tests.contracts.test_order_participants import STORE, application


@asynccontextmanager
async def food_services(
    database_urls: Mapping[str, str], nats_url: str, tokens: Tokens, served: Callable[..., Any]
) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """Clients of the services by noun."""
    common = {"NATS_URL": nats_url, "JWKS_URL": tokens.jwks_url, "INTERNAL_TOKEN": INTERNAL_TOKEN}
    common |= {"STORE": json.dumps(STORE), "FOOD": "true", "MAILBOX_PORT": "2525", "SMTP_URL": ""}
    here = town().locate(KITCHEN)
    assert here is not None
    town().distances_m(here)  # loads what delivery computes with, which takes longer than a request may
    with pytest.MonkeyPatch.context() as patch:
        for name, value in common.items():
            patch.setenv(f"SHOP_{name}", value)
        async with AsyncExitStack() as stack:
            clients: dict[str, httpx.AsyncClient] = {}
            for noun in NOUNS:
                patch.setenv("SHOP_DATABASE_URL", database_urls[noun])
                clients[noun] = await stack.enter_async_context(served(application(noun)))
                if noun in URLS:
                    patch.setenv(f"SHOP_{noun.upper()}_URL", str(clients[noun].base_url).rstrip("/"))
            yield clients


@pytest.fixture
async def quarter(
    database_for: DatabaseFor, nats_url: str, tokens: Tokens, served: Callable[..., Any]
) -> AsyncIterator[Quarter]:
    """With services of its own."""
    urls = {noun: await database_for(noun) for noun in NOUNS}
    async with food_services(urls, nats_url, tokens, served) as clients:
        yield Quarter(clients, tokens, await new_restaurant(clients["restaurant"], tokens.headers("admin")))


@pytest.fixture(scope="module")
async def shared_services(
    databases: Databases, nats_server: Server, tokens: Tokens, served: Callable[..., Any]
) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """For a module whose tests do not mind couriers of each other."""
    urls = {noun: await databases.clone(noun) for noun in NOUNS}
    async with food_services(urls, await without_streams(nats_server), tokens, served) as clients:
        yield clients
    for url in urls.values():
        await databases.drop(url)
