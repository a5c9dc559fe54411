"""Metrics, health, documentation, and events on the broker."""

from __future__ import annotations

import nats
import orjson

from services.order.tests.conftest import Shop, Start
from services.order.tests.scripted_services import CHARGE
from shop.devkit.testing import wait_until


async def metric(shop: Shop, line: str) -> float:
    """The value of the sample that starts with ``line``; 0 if there is none."""
    text = (await shop.client.get("/metrics")).text
    return next((float(sample.rsplit(" ", 1)[1]) for sample in text.splitlines() if sample.startswith(line)), 0.0)


async def test_orders_are_counted_by_state_and_reason(shop: Shop) -> None:
    confirmed = 'shop_order_orders_total{kind="retail",reason="",state="confirmed"}'
    declined = 'shop_order_orders_total{kind="retail",reason="payment_declined",state="rejected"}'
    other = 'shop_order_orders_total{kind="retail",reason="other",state="rejected"}'
    placed = 'shop_order_saga_duration_seconds_count{end="confirmed",kind="place"}'
    lines = (confirmed, declined, other, placed)
    before = [await metric(shop, line) for line in lines]
    await shop.place()
    await shop.place(payment={"token": "tok_declined"})
    shop.services.faults["/internal/reservations"].append("422")
    await shop.place()
    assert [await metric(shop, line) - was for line, was in zip(lines, before, strict=True)] == [1, 1, 1, 1]


async def test_waiting_sagas_are_shown(start: Start) -> None:
    async with start(retry_first_s=60.0, retry_max_s=60.0) as shop:
        shop.services.faults[CHARGE].append("pending")
        assert (await shop.place()).status_code == 202

        async def shown() -> bool:
            """Another replica of this process may set the gauges in between."""
            await shop.service.recovery.measure_once()
            waiting = await metric(shop, 'shop_order_sagas_waiting{kind="place"}')
            age_s = await metric(shop, 'shop_order_oldest_saga_age_seconds{kind="place"}')
            return (waiting, await metric(shop, 'shop_order_sagas_waiting{kind="cancel"}')) == (1, 0) and age_s > 0

        await wait_until(shown, what="the gauges of a waiting order")


async def test_the_service_reports_that_it_is_ready(shop: Shop) -> None:
    await wait_until(lambda: shop.app.state.context.bus.connected, what="the broker's connection")
    answer = await shop.client.get("/health/ready")
    assert (answer.status_code, answer.json()["checks"]) == (
        200,
        {"database": "ok", "keys": "ok", "broker": "ok", "events": "ok"},
    )


async def test_the_documentation_names_every_answer_to_an_order(shop: Shop) -> None:
    paths = (await shop.client.get("/openapi.json")).json()["paths"]
    assert set(paths["/api/v1/orders"]["post"]["responses"]) >= {"201", "202", "402", "404", "409"}
    assert set(paths) == {
        "/api/v1/orders", "/api/v1/orders/all", "/api/v1/orders/{order_id}", "/api/v1/orders/{order_id}/history",
        "/api/v1/orders/{order_id}/cancel", "/api/v1/orders/{order_id}/fulfil", "/api/v1/orders/{order_id}/deliver",
        "/api/v1/orders/{order_id}/events", "/api/v1/orders/{order_id}/retry",
    }  # fmt: skip


async def test_events_reach_the_broker_in_the_order_of_the_states(start: Start, nats_url: str) -> None:
    async with start() as shop:
        order = (await shop.place()).json()
        await shop.post(order["id"], "fulfil", admin=True)
        await shop.post(order["id"], "deliver", admin=True)

        async def published() -> bool:
            rows = await shop.sql("SELECT FROM outbox WHERE published_at IS NOT NULL")
            return len(rows) == 3

        await wait_until(published, what="the relay")
        client = await nats.connect(nats_url)
        subscription = await client.jetstream().subscribe("order.>", ordered_consumer=True)
        seen = [orjson.loads((await subscription.next_msg(timeout=5)).data) for _ in range(3)]
        await client.close()
        assert [event["type"] for event in seen] == ["order.confirmed.v1", "order.fulfilled.v1", "order.delivered.v1"]
        assert {event["data"]["order_id"] for event in seen} == {order["id"]}
