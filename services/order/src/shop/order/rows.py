"""Orders as rows of the database, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from shop.kit.db import Record
from shop.kit.saga.engine import Rejected
from shop.order.domain import Food, Order, State, Subject, Totals
from shop.order.schemas import line_document, load_lines

FOOD_TIMES = ("promised_at", "ready_at", "eta")
FOOD_VALUES = (
    "tip", "phone", "note", "restaurant_name", "ticket_state", "delivery_state", "courier_name", "vehicle",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewOrder:
    order: Order
    idempotency_key: str
    body_hash: bytes
    traceparent: str
    deadline_s: float
    """The age at which its saga is given up."""


class OrderFilter(NamedTuple):
    """Which orders a list has; ``rejected`` True: only rejected ones, False: all but these."""

    state: State | None = None
    rejected: bool | None = None


class Stored(NamedTuple):
    """The result of the first request with an idempotency key."""

    order: Order
    body_hash: bytes
    in_flight: bool
    ended_at: datetime | None
    refusal: Rejected | None


def insert_row(new: NewOrder) -> dict[str, Any]:
    order, food = new.order, new.order.food
    row: dict[str, Any] = {
        "id": order.id,
        "user_id": order.user_id,
        "email": order.email,
        "customer_name": order.customer_name,
        "kind": order.kind,
        "lines": [line_document(line, order.currency) for line in order.lines],
        "currency": order.currency,
        "address": order.address,
        "country": order.country,
        "coupon": order.coupon,
        "expected_total": order.expected_total,
        "payment_token": order.payment_token,
        "idempotency_key": new.idempotency_key,
        "body_hash": new.body_hash.hex(),
        "created_at": order.created_at,
        "traceparent": new.traceparent,
        "deadline_s": new.deadline_s,
    }
    if food is not None:
        row |= {name: getattr(food, name) for name in ("restaurant_id", "tip", "phone", "note")}
    return row


def changes_row(before: Order, after: Order, trace_id: str) -> dict[str, Any]:
    """The columns of a saga's update (`repository.SAGAS`) that end it with the order ``after``."""
    row: dict[str, Any] = {
        "state_before": before.state,
        "state": after.state,
        "version": after.version,
        "reason": after.reason,
        "at": after.updated_at,
        "trace_id": trace_id,
    }
    if after.totals is not None:
        row |= {"lines": [line_document(line, after.currency) for line in after.lines]}
        row |= {name: getattr(after.totals, name) for name in after.totals.__slots__}
    if after.food is not None:
        row |= {"restaurant_name": after.food.restaurant_name, "promised_at": after.food.promised_at}
    return row


def load_order(row: Record) -> Order:
    amounts = [row[name] for name in ("subtotal", "discount", "tax", "shipping", "total")]
    return Order(
        id=row["id"],
        user_id=row["user_id"],
        email=row["email"],
        customer_name=row["customer_name"],
        lines=load_lines(row["lines"]),
        currency=row["currency"],
        address=row["address"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        kind=row["kind"],
        state=State(row["state"]),
        version=row["version"],
        reason=row["reason"],
        totals=None if amounts[-1] is None else Totals(*amounts),
        coupon=row["coupon"],
        expected_total=row["expected_total"],
        payment_token=row["payment_token"],
        cancel_requested_at=row["cancel_requested_at"],
        refunded=row["refunded"],
        food=load_food(row["food"]),
    )


def load_food(row: Mapping[str, Any] | None) -> Food | None:
    """From a row of food_orders as JSON."""
    if row is None:
        return None
    members: dict[str, Any] = {name: row[name] for name in FOOD_VALUES}
    members |= {name: datetime.fromisoformat(row[name]) if row[name] else None for name in FOOD_TIMES}
    return Food(restaurant_id=UUID(row["restaurant_id"]), **members)


def load_subject(row: Record) -> Subject:
    return Subject(load_order(row), row["traceparent"])
