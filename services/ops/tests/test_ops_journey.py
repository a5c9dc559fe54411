"""The journey of an order tells what happened, in the order of time and in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.ops.tests.made import ORDER_ID, USER_ID, span
from shop.contracts.order_history import History
from shop.ops.backends import Message, Order, Payment
from shop.ops.journey import Moment, Source, Tone, journey

BEGAN = datetime.fromtimestamp(1_700_000_000, UTC)
"""When the spans of these tests begin."""


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def order(state: str = "confirmed", reason: str | None = None) -> Order:
    return Order.model_validate(
        {
            "id": ORDER_ID, "user_id": USER_ID, "kind": "retail", "state": state, "reason": reason,
            "lines": [{"name": "Moby-Dick", "quantity": 2}], "created_at": at(-1),
        }
    )  # fmt: skip


def step(name: str, seconds: float, **changed: Any) -> dict[str, Any]:
    made = {"saga": "place", "step": name, "phase": "action", "outcome": "done", "at": at(seconds), "seconds": 0.012}
    return made | changed


def history(*steps: dict[str, Any], transitions: list[tuple[str, str, float]] | None = None) -> History:
    changes = [{"from_state": old, "to_state": new, "at": at(when)} for old, new, when in transitions or []]
    return History.model_validate({"status": "done", "attempts": 1, "steps": list(steps), "transitions": changes})


def payment(state: str = "captured", refunded: int = 0, code: str | None = None) -> Payment:
    money = {"amount": 2598, "currency": "EUR"}
    return Payment.model_validate(
        {
            "id": UUID(int=1), "state": state, "amount": money, "refunded": {"amount": refunded, "currency": "EUR"},
            "decline_code": code, "created_at": at(3), "updated_at": at(60),
        }
    )  # fmt: skip


def message(state: str, seconds: float, error: str | None = None) -> Message:
    sent = {"sent_at": at(seconds)} if state == "sent" else {}
    made = {
        "channel": "email",
        "template": "order-confirmed",
        "state": state,
        "error": error,
        "created_at": at(seconds),
    }
    return Message.model_validate(made | sent)


def told(moments: list[Moment]) -> list[str]:
    return [moment.title for moment in moments]


def test_an_order_that_went_well() -> None:
    saga = history(step("reserve", 1), step("quote", 2), step("charge", 4), transitions=[("pending", "confirmed", 5)])
    event = {"messaging.message.id": "e1", "messaging.destination.name": "order.confirmed.v1"}
    spans = [
        span(1, at_ms=6_000, kind="producer", attributes=event),
        span(2, at_ms=6_100, kind="consumer", service="notification", attributes=event),
        span(3, at_ms=6_200, kind="consumer", service="player", attributes=event),
        span(4, at_ms=6_300, kind="consumer", service="product", attributes=event, error="TimeoutError"),
    ]
    found = journey(order(), saga, [payment()], [message("sent", 8)], spans)
    assert told(found) == [
        "The order was placed: 2 pieces",
        "Stock was set aside",
        "The price was calculated",
        "Payment received: 25.98 EUR",
        "The card was charged",
        "The order is confirmed",
        "Event published: order.confirmed.v1",
        "Email “order confirmed” was sent",
    ]
    assert found[0].detail == "2 × Moby-Dick"
    assert found[6].detail == "taken by notification, player"
    assert {moment.source for moment in found} == set(Source)


def test_an_order_that_was_refused_and_undone() -> None:
    steps = [
        step("reserve", 1),
        step("charge", 2, outcome="unavailable", times=3),
        step("charge", 3, outcome="rejected", detail="payment_declined"),
        step("reserve", 4, phase="compensation"),
    ]
    saga = history(*steps, transitions=[("pending", "rejected", 5)])
    found = journey(order("rejected", "payment_declined"), saga, [payment("declined", code="card_declined")], [], [])
    assert told(found)[1:] == [
        "Stock was set aside",
        "Step charge could not be tried: the service was away, 3 times",
        "Step charge was refused",
        "Payment declined: 25.98 EUR",
        "Stock was released again",
        "The order was rejected",
    ]
    assert [moment.tone for moment in found[1:4]] == [Tone.GOOD, Tone.WARN, Tone.BAD]
    assert found[-1].detail == "payment declined"


def test_a_refund_and_a_message_that_failed() -> None:
    found = journey(order(), history(), [payment("refunded", 2598)], [message("failed", 70, "550 no such user")], [])
    assert told(found)[1:] == ["Payment refunded: 25.98 EUR", "Email “order confirmed” could not be sent"]
    assert (found[1].detail, found[2].detail) == ("25.98 EUR given back", "550 no such user")
    assert found[1].at == at(60)


def test_what_a_newer_service_says_is_shown_as_it_is() -> None:
    saga = history(step("wrap", 1, phase="action"), transitions=[("confirmed", "parked", 2)])
    assert told(journey(order(), saga, [], [], []))[1:] == ["Step wrap (action)", "The order is parked"]
