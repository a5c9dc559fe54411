"""The control room in a cluster: it reads every pod of a service, and offers what needs no shop on one machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shop.devkit.testing import wait_until
from tests.kubernetes.conftest import administrator
from tests.kubernetes.kube import Release
from tests.load.everybody import Visitor, fields
from tests.load.shoppers import Shop

pytestmark = pytest.mark.usefixtures("steady")

ON = "services.ops.enabled=true,services.order.replicas=2"
FOUND_WITHIN_S = 60.0
"""Names are looked up every five seconds, and answers of a cluster's DNS are up to thirty seconds old."""
LEVER = "/ops/services/storefront/calls/product"


@pytest.fixture(scope="module")
async def watched(release: Release) -> AsyncIterator[Release]:
    """The release with a control room; without one again afterwards."""
    await asyncio.to_thread(release.upgrade, "--set", ON)
    await wait_until(
        lambda: release.is_settled("gateway"), FOUND_WITHIN_S, "the end of the gateway that routes no /ops"
    )
    yield release
    await asyncio.to_thread(release.upgrade)


@pytest.fixture
async def room(watched: Release, api: Shop) -> AsyncIterator[Visitor]:
    visitor = await Visitor.signed_in(api.url, *administrator(watched))
    yield visitor
    await visitor.session.close()


async def test_every_pod_of_a_service_is_read(watched: Release, room: Visitor) -> None:
    addresses = {f"http://{pod['status']['podIP']}:8000" for pod in watched.pods("order")}
    assert len(addresses) == 2

    async def read() -> bool:
        page = await room.page("/ops/services/order")
        return all(address in page for address in addresses) and page.count(">ok</span>") == len(addresses)

    await wait_until(read, FOUND_WITHIN_S, "both pods of order on its page")


async def test_a_breaker_is_opened_and_closed_and_what_needs_one_machine_is_not_offered(room: Visitor) -> None:
    levers, page = await room.page("/ops/levers"), await room.page("/ops/services/storefront")
    assert 'id="cluster"' in levers
    assert 'id="scale"' not in levers
    assert f"{LEVER}/inject" not in page
    form = {**fields(page), "confirmed": "1"}
    assert "instances of storefront)" in await room.send(f"{LEVER}/open", form)
    assert "sends product requests again" in await room.send(f"{LEVER}/close", form)
