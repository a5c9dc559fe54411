"""The saga when participants fail: every step and every compensation, in every way."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import pytest

from services.order.tests.conftest import Shop, Start
from services.order.tests.scripted_services import CHARGE, QUOTE, RELEASE, RESERVE, UNQUOTE, VOID, ScriptedServices
from shop.devkit.embedded import free_port
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id

STEPS = [RESERVE, QUOTE, CHARGE]
COMPENSATIONS = [RELEASE, UNQUOTE, VOID]
REFUSED = {RESERVE: (409, "insufficient_stock"), QUOTE: (422, "coupon_expired"), CHARGE: (402, "payment_declined")}
RETRYABLE_FAULTS = ["503", "lost", "dropped", "hang", "garbage"]


@pytest.mark.parametrize("step", STEPS)
async def test_a_refusal_at_any_step_undoes_the_others(shop: Shop, step: str) -> None:
    shop.services.faults[step].append("reject")
    answer = await shop.place(coupon="SAVE1")
    assert (answer.status_code, answer.json()["code"]) == REFUSED[step]
    order = await shop.order(answer.json()["order_id"])
    assert order["state"] == "rejected"
    shop.services.assert_no_effect_left(order["id"])
    assert await shop.events(order["id"]) == ["order.rejected.v1"]


@pytest.mark.parametrize("fault", RETRYABLE_FAULTS)
@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_fails_once_is_done_later(shop: Shop, step: str, fault: str) -> None:
    shop.services.faults[step].append(fault)
    answer = await shop.place(coupon="SAVE1")
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    order = await shop.until(answer.json()["id"], "confirmed")
    shop.services.assert_reserved_and_charged(order)
    assert await shop.events(order["id"]) == ["order.pending.v1", "order.confirmed.v1"]


@pytest.mark.parametrize("fault", RETRYABLE_FAULTS)
@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_fails_and_is_then_refused_is_undone_as_well(shop: Shop, step: str, fault: str) -> None:
    shop.services.faults[step].extend([fault, "reject"])
    answer = await shop.place(coupon="SAVE1")
    assert answer.status_code == 202
    order = await shop.until(answer.json()["id"], "rejected")
    assert order["reason"] == REFUSED[step][1]
    shop.services.assert_no_effect_left(order["id"])
    undone = dict(zip(STEPS, COMPENSATIONS, strict=True))[step]
    assert shop.services.calls_of(undone) == 1
    assert await shop.events(order["id"]) == ["order.pending.v1", "order.rejected.v1"]
    assert (await shop.event(order["id"], "order.rejected.v1"))["late"] is True


async def test_an_administrator_lets_a_waiting_saga_go_on_at_once(start: Start, services: ScriptedServices) -> None:
    services.faults[CHARGE].append("503")
    async with start(retry_first_s=600.0, retry_max_s=600.0) as shop:
        order_id = (await shop.place()).json()["id"]
        assert (await shop.post(order_id, "retry")).status_code == 403
        assert (await shop.post(order_id, "retry", admin=True)).status_code == 204
        await shop.until(order_id, "confirmed")
        ended = await shop.post(order_id, "retry", admin=True)
        assert (ended.status_code, ended.json()["code"]) == (409, "not_waiting")
        assert (await shop.post(str(new_id()), "retry", admin=True)).status_code == 404


async def test_a_pending_charge_is_requested_again(shop: Shop) -> None:
    shop.services.faults[CHARGE].extend(["pending", "pending"])
    answer = await shop.place()
    assert answer.status_code == 202
    assert (await shop.event(answer.json()["id"], "order.pending.v1"))["reason"] == "charge_unavailable"
    order = await shop.until(answer.json()["id"], "confirmed")
    shop.services.assert_reserved_and_charged(order)


@pytest.mark.parametrize("fault", [*RETRYABLE_FAULTS, "422"])
@pytest.mark.parametrize("compensation", [RELEASE, UNQUOTE])
async def test_a_compensation_that_fails_once_is_done_later(shop: Shop, compensation: str, fault: str) -> None:
    shop.services.faults[compensation].append(fault)
    answer = await shop.place(coupon="SAVE1", payment={"token": "tok_declined"})
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    order = await shop.until(answer.json()["id"], "rejected")
    assert order["reason"] == "payment_declined"
    shop.services.assert_no_effect_left(order["id"])


@pytest.mark.parametrize("fault", [*RETRYABLE_FAULTS, "pending"])
async def test_voiding_a_charge_of_unknown_outcome_is_repeated_until_it_succeeds(shop: Shop, fault: str) -> None:
    shop.services.faults[CHARGE].extend(["lost", "reject"])
    shop.services.faults[VOID].extend([fault, fault])
    answer = await shop.place()
    order = await shop.until(answer.json()["id"], "rejected")
    shop.services.assert_no_effect_left(order["id"])
    assert shop.services.refunded[order["id"]] == shop.services.captured[order["id"]]


@pytest.mark.parametrize("fault", [*RETRYABLE_FAULTS, "pending"])
@pytest.mark.parametrize("compensation", COMPENSATIONS)
async def test_a_cancellation_that_fails_half_way_goes_on(shop: Shop, compensation: str, fault: str) -> None:
    order = (await shop.place(coupon="SAVE1")).json()
    shop.services.faults[compensation].append(fault)
    answer = await shop.post(order["id"], "cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "confirmed")
    assert answer.json()["cancel_requested_at"]
    await shop.until(order["id"], "cancelled")
    shop.services.assert_no_effect_left(order["id"])
    assert await shop.events(order["id"]) == ["order.confirmed.v1", "order.cancelled.v1"]


@pytest.mark.parametrize("missing", ["product_url", "pricing_url", "payment_url"])
async def test_a_service_that_is_down_makes_the_order_wait(
    start: Start, services: ScriptedServices, served: Any, missing: str
) -> None:
    port = free_port()
    async with start(**{missing: f"http://127.0.0.1:{port}"}) as shop:
        began = time.monotonic()
        answer = await shop.place(coupon="SAVE1")
        assert answer.status_code == 202
        assert time.monotonic() - began < 4
        async with served(services, port=port, lifespan="off"):
            order = await shop.until(answer.json()["id"], "confirmed")
            services.assert_reserved_and_charged(order)


async def test_a_participant_that_hangs_does_not_delay_the_answer(start: Start, services: ScriptedServices) -> None:
    services.gates[RESERVE] = asyncio.Event()
    async with start(inline_budget_s=0.2) as shop:
        answer = await asyncio.wait_for(shop.place(), 4)
        assert (answer.status_code, answer.json()["state"]) == (202, "pending")
        history = (await shop.client.get(f"/api/v1/orders/{answer.json()['id']}/history", headers=shop.admin)).json()
        assert (history["steps"][0]["step"], history["steps"][0]["outcome"]) == ("reserve", "unknown")
        services.gates[RESERVE].set()
        await shop.until(answer.json()["id"], "confirmed")


@pytest.mark.parametrize("reached", STEPS)
async def test_an_order_that_cannot_be_completed_in_time_is_rejected(
    start: Start, services: ScriptedServices, reached: str
) -> None:
    services.faults[reached].extend(["lost"] * 200)
    async with start(saga_deadline_s=0.5) as shop:
        answer = await shop.place(coupon="SAVE1")
        assert answer.status_code == 202
        order = await shop.until(answer.json()["id"], "rejected")
        assert order["reason"] == "deadline_exceeded"
        services.assert_no_effect_left(order["id"])
        assert (await shop.event(order["id"], "order.rejected.v1"))["late"] is True


async def test_an_order_that_reached_no_participant_is_rejected_without_them(start: Start) -> None:
    async with start(product_url=f"http://127.0.0.1:{free_port()}", saga_deadline_s=0.3) as shop:
        answer = await shop.place()
        order = await shop.until(answer.json()["id"], "rejected")
        assert order["reason"] == "deadline_exceeded"
        assert shop.services.calls == []


async def test_the_card_is_kept_while_it_is_needed_and_no_longer(shop: Shop) -> None:
    shop.services.gates[RELEASE] = asyncio.Event()
    shop.services.faults[CHARGE].extend(["lost", "reject"])
    order_id = UUID((await shop.place()).json()["id"])

    async def token() -> str | None:
        (row,) = await shop.sql("SELECT payment_token FROM orders WHERE id = $1", order_id)
        found: str | None = row["payment_token"]
        return found

    await wait_until(lambda: shop.services.calls_of(RELEASE), what="the compensation")
    assert await token() == "tok_visa"
    shop.services.gates[RELEASE].set()
    await shop.until(str(order_id), "rejected")
    assert await token() is None


async def test_the_history_records_each_outcome(shop: Shop) -> None:
    shop.services.faults[QUOTE].extend(["503", "503"])
    answer = await shop.place()
    order_id = answer.json()["id"]
    await shop.until(order_id, "confirmed")
    found = (await shop.client.get(f"/api/v1/orders/{order_id}/history", headers=shop.admin)).json()
    assert (found["kind"], found["status"], found["attempts"], found["next_attempt_at"]) == ("place", "done", 3, None)
    told = [(step["step"], step["outcome"], step["times"], step["attempt"]) for step in found["steps"]]
    assert told == [
        ("quote", "unknown", 2, 2),
        ("reserve", "done", 3, 3),
        ("quote", "done", 1, 3),
        ("charge", "done", 1, 3),
    ]
    assert {step["trace_id"] for step in found["steps"]} == {found["trace_id"]}
    (transition,) = found["transitions"]
    assert (transition["from_state"], transition["to_state"], transition["version"]) == ("pending", "confirmed", 2)
    assert transition["trace_id"] == found["trace_id"]


async def test_the_trace_reaches_the_participants_and_the_event(shop: Shop) -> None:
    trace_id = "ab" * 16
    shop.headers["traceparent"] = f"00-{trace_id}-{'cd' * 8}-01"
    shop.services.faults[CHARGE].append("pending")
    order_id = (await shop.place()).json()["id"]
    await shop.until(order_id, "confirmed")
    assert {item["traceparent"][3:35] for _, item in shop.services.items} == {trace_id}
    rows = await shop.sql("SELECT payload FROM outbox WHERE subject_id = $1", order_id)
    assert len(rows) == 2
    assert all(trace_id in row["payload"] for row in rows)
