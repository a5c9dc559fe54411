"""Fixtures of several test modules."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Tokens
from shop.town import town
from tests.contracts.food_quarter import KITCHEN, NOUNS, URLS, Quarter, new_restaurant
from tests.contracts.test_order_participants import STORE, application


@pytest.fixture
async def quarter(
    database_for: DatabaseFor,
    nats_url: str,
    tokens: Tokens,
    served: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Quarter]:
    common = {"NATS_URL": nats_url, "JWKS_URL": tokens.jwks_url, "INTERNAL_TOKEN": INTERNAL_TOKEN}
    common |= {"STORE": json.dumps(STORE), "FOOD": "true", "MAILBOX_PORT": "2525", "SMTP_URL": ""}
    for name, value in common.items():
        monkeypatch.setenv(f"SHOP_{name}", value)
    here = town().locate(KITCHEN)
    assert here is not None
    town().distances_m(here)  # loads what delivery computes with, which takes longer than a request may
    async with AsyncExitStack() as stack:
        clients: dict[str, httpx.AsyncClient] = {}
        for noun in NOUNS:
            monkeypatch.setenv("SHOP_DATABASE_URL", await database_for(noun))
            clients[noun] = await stack.enter_async_context(served(application(noun)))
            if noun in URLS:
                monkeypatch.setenv(f"SHOP_{noun.upper()}_URL", str(clients[noun].base_url).rstrip("/"))
        yield Quarter(clients, tokens, await new_restaurant(clients["restaurant"], tokens.headers("admin")))
