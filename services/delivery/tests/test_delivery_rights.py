"""A courier's rights end with the delivery; administrators act in place of couriers, and list what is live."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import httpx
import pytest

from services.delivery.tests.delivery_service import Rider, RunningService, corner
from services.delivery.tests.test_delivery_tracking import Events, customer_of, watch
from services.delivery.tests.test_delivery_work import bring
from shop.delivery import repository, work
from shop.delivery.domain import MAX_WRONG_CODES
from shop.delivery.settings import Settings

Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

PAST = """
INSERT INTO deliveries (order_id, state, waiting_since, created_at, updated_at)
SELECT gen_random_uuid(), 'released', at, at, at
FROM (SELECT now() - number * interval '1 minute' AS at FROM generate_series(1, 20000) AS number) AS past"""


@pytest.fixture
async def rider(service: RunningService) -> Rider:
    return await service.courier(at=corner(1))


@pytest.fixture
async def public(service: RunningService, served: Served) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a port, because streams need a connection."""
    async with served(service.app, lifespan="off") as client:
        yield client


async def test_the_stream_of_a_courier_ends_when_another_one_takes_over(
    service: RunningService, rider: Rider, public: httpx.AsyncClient
) -> None:
    order, headers = await customer_of(service)
    async with watch(public, order, rider.headers) as own, watch(public, order, headers) as customers:
        events, seen = Events(own), Events(customers)
        assert (await events.next("state"))["state"] == "assigned"
        other = await service.courier(at=corner(2), name="Noor")
        await rider.does(order.id, "reject")
        while ((await seen.next("state"))["courier"] or {}).get("name") != "Noor":
            pass
        service.clock.advance(1)
        await other.at(corner(3))
        assert (await seen.next("position"))["lat"] == corner(3).lat
        assert await events.ended(), "neither the new courier's name nor position reaches the one before"


async def test_an_administrator_ends_a_delivery_that_its_courier_cannot(service: RunningService, rider: Rider) -> None:
    order, path = await service.live(), "/api/v1/deliveries"
    await bring(service, rider, order)
    for headers in (rider.headers, service.tokens.headers()):
        refused = await service.client.post(f"{path}/{order.id}/deliver", json={}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    wrong = f"{(int(await service.code(order)) + 1) % 10_000:04}"
    for _ in range(MAX_WRONG_CODES):
        await rider.does(order.id, "deliver", wrong)
    assert (await service.call("POST", f"{path}/{order.id}/deliver", service.admin, {}))["state"] == "delivered"
    assert (await service.delivery(order))["courier"]["name"] == "Ines"
    await service.assert_sound()


async def test_an_administrator_takes_a_delivery_from_a_courier_who_does_not_come(
    service: RunningService, rider: Rider
) -> None:
    order = await service.live()
    other = await service.courier(at=corner(300))
    await service.call("POST", f"/api/v1/deliveries/{order.id}/drop", service.admin)
    assert await service.has_courier(order, other), "the one before is not offered it again"
    await service.assert_sound()


async def test_live_deliveries_are_read_without_those_of_the_past(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    await service.database.execute(PAST)
    await service.database.execute("ANALYZE deliveries")
    async with service.database.session() as session:
        await session.execute("SET plan_cache_mode = force_generic_plan")
        await session.execute(f"PREPARE page (text, timestamptz, uuid, integer) AS {repository.STATE_PAGE}")
        plan = await session.fetch("EXPLAIN EXECUTE page ('assigned', NULL, NULL, 50)")
        await session.execute("DEALLOCATE page; RESET plan_cache_mode")
    assert "deliveries_by_state" in "".join(row["QUERY PLAN"] for row in plan)
    page = await service.call("GET", "/api/v1/deliveries?state=assigned", service.admin)
    assert [one["order_id"] for one in page["items"]] == [str(order.id)]


async def test_couriers_who_have_only_what_is_picked_up_do_not_hide_others_that_are_lost(
    service: RunningService, rider: Rider, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "MAX_LOST_COURIERS", 1)
    carried = await service.live()
    await bring(service, rider, carried)
    other = await service.courier(at=corner(2))
    assert rider.id < other.id, "the first of both is looked at first"
    assigned = await service.live()
    assert await service.has_courier(assigned, other)
    service.clock.advance(settings.courier_lost_after_s + 1)
    await service.check()
    assert (await service.row(assigned))["courier_id"] is None
    lost_before = service.clock.now() - timedelta(seconds=settings.courier_lost_after_s)
    deliveries = service.app.state.service.work._deliveries
    await service.release(assigned)
    assert not await deliveries.is_due(lost_before, service.clock.now()), "nothing can be done for the other one"
    assert await service.has_courier(carried, rider)
