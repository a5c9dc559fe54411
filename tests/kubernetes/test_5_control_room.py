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
ORDER = "/ops/services/order"
LEVER = f"{ORDER}/calls/product"


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


async def every_pod_is_read(watched: Release, room: Visitor) -> str:
    """The page of order, once it shows that both pods are well."""
    addresses = {f"http://{pod['status']['podIP']}:8000" for pod in watched.pods("order")}
    assert len(addresses) == 2

    async def read() -> str:
        page = await room.page(ORDER)
        well = page.count(">ok</span>") == len(addresses)
        return page if well and all(address in page for address in addresses) else ""

    return str(await wait_until(read, FOUND_WITHIN_S, "both pods of order on its page"))


async def test_a_breaker_is_opened_and_closed_in_every_pod_and_what_needs_one_machine_is_not_offered(
    watched: Release, room: Visitor
) -> None:
    levers, page = await room.page("/ops/levers"), await every_pod_is_read(watched, room)
    assert 'id="cluster"' in levers
    assert 'id="scale"' not in levers
    assert f"{LEVER}/inject" not in page
    form = {**fields(page), "confirmed": "1"}
    opened = await room.send(f"{LEVER}/open", form)
    assert "Order sends product no requests for 60 s (2 of 2 instances of order)." in opened
    closed = await room.send(f"{LEVER}/close", form)
    assert "Order sends product requests again (2 of 2 instances of order)." in closed
