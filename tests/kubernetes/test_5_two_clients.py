"""Behind an Ingress each customer has their own rate limit, and redirects use the public address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from shop.devkit.testing import wait_until
from tests.kubernetes.kube import Release

BURST = 5
ENDED_WITHIN_S = 60.0
LIMITED = (
    f"services.gateway.config.SHOP_RATE_LIMIT_PER_SECOND=0.001,services.gateway.config.SHOP_RATE_LIMIT_BURST={BURST}"
)
INGRESS = "services.gateway.ingress.enabled=true,services.gateway.ingress.host=shop.example.com"
ASK = """
import http.client, json

def ask(client, path="/api/v1/products"):
    connection = http.client.HTTPConnection("gateway", 8000, timeout=10)
    forwarded = {"X-Forwarded-For": client, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example.com"}
    connection.request("GET", path, headers=forwarded)
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.getheader("Location")

"""


@pytest.fixture(scope="module")
async def limited(release: Release) -> AsyncIterator[Release]:
    """The shop behind an Ingress, with a low rate limit; restored afterwards."""
    await asyncio.to_thread(release.upgrade, "--set-string", LIMITED, "--set", INGRESS)
    await wait_until(lambda: release.is_settled("gateway"), ENDED_WITHIN_S, "the end of the gateway without limits")
    yield release
    await asyncio.to_thread(release.upgrade)


def test_rate_limits_are_counted_per_client(limited: Release) -> None:
    """The requesting pod acts as the controller: its address is in the network of pods."""
    first = f'[ask("203.0.113.1")[0] for _ in range({BURST + 1})]'
    statuses = json.loads(limited.python("product", f'{ASK}print(json.dumps({first} + [ask("203.0.113.2")[0]]))'))
    assert statuses == [200] * BURST + [429, 200]


def test_a_redirect_uses_the_public_address(limited: Release) -> None:
    found = limited.python("product", f'{ASK}print(json.dumps(ask("203.0.113.3", "/api/v1/products/")))')
    assert json.loads(found) == [307, "https://shop.example.com/api/v1/products"]
