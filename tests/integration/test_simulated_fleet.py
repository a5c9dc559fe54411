"""`shopctl simulate fleet` against a whole shop: people order, couriers ride, and the food is handed over."""

from __future__ import annotations

import asyncio
import signal

import pytest

from shop.devkit.testing import wait_until
from shop.operator.simulate.fleet import Plan, simulate
from tests.conftest import RunningShop
from tests.integration.audit import assert_clean
from tests.load.shoppers import Shop

pytestmark = pytest.mark.shop

TIME_FACTOR = 60
ORDERS = 4
DEADLINE_S = 150


async def test_a_fleet_delivers_what_is_ordered_and_ends_off_shift(shop: RunningShop, api: Shop, admin: str) -> None:
    lines: list[str] = []
    plan = Plan(
        url=shop.url,
        admin_email=shop.admin_email,
        admin_password=shop.admin_password,
        couriers=5,
        orders_per_minute=120,
        minutes=1,
        time_factor=TIME_FACTOR,
        country="DE",
        max_orders=ORDERS,
        drain_s=DEADLINE_S,
    )
    summary = await asyncio.wait_for(simulate(plan, lines.append), 2 * DEADLINE_S)
    orders = summary["orders"]
    assert orders["placed"] == ORDERS, summary
    assert orders["delivered"] >= 1, str(summary)
    assert orders["confirmed"] == orders["delivered"] + orders["cancelled"], summary
    assert summary["eta_error"]["confirmed"]["count"] == orders["delivered"]
    assert summary["positions"] > 0
    assert "5 couriers" in lines[0]
    page = await api.call("GET", "/couriers?limit=100", admin)
    assert not [courier["name"] for courier in page["items"] if courier["on_shift"]]
    deliveries = await api.call("GET", "/deliveries?state=delivered&limit=100", admin)
    assert len(deliveries["items"]) >= orders["delivered"]
    await assert_clean(shop)


async def test_an_interrupted_fleet_ends_at_once_and_off_shift(shop: RunningShop, api: Shop, admin: str) -> None:
    plan = Plan(
        url=shop.url,
        admin_email=shop.admin_email,
        admin_password=shop.admin_password,
        couriers=3,
        orders_per_minute=0.1,
        minutes=60,
    )
    running = asyncio.create_task(simulate(plan, lambda _: None))

    async def on_shift() -> bool:
        page = await api.call("GET", "/couriers?limit=100", admin)
        working = [one for one in page["items"] if one["on_shift"] and one["fix"] == "fresh"]
        return len(working) == plan.couriers

    await wait_until(on_shift, DEADLINE_S, "couriers on shift")
    signal.raise_signal(signal.SIGINT)
    summary = await asyncio.wait_for(running, DEADLINE_S)
    assert summary["couriers"] == plan.couriers
    assert "couriers still on shift" not in summary["problems"]
    page = await api.call("GET", "/couriers?limit=100", admin)
    assert not [courier["name"] for courier in page["items"] if courier["on_shift"]]
