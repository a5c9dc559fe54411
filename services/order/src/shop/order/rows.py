"""Orders and decisions about their sagas as rows of the database, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from shop.kit.db import Record
from shop.kit.events import OutboxRow
from shop.order.domain import Order, State, Totals
from shop.order.schemas import line_document, load_lines


@dataclass(frozen=True, slots=True)
class NewOrder:
    order: Order
    idempotency_key: str
    body_hash: bytes
    traceparent: str


@dataclass(frozen=True, slots=True)
class Save:
    """A decision about the saga of ``order_id``, valid while its fence is ``fence`` and its status ``was``.

    ``delay_s`` seconds from now somebody may take it up again, None leaves that time as it is; ``release`` gives
    the lease back. ``moved`` is the order in its new state, if the decision brings one; ``event`` tells of it.
    """

    order_id: UUID
    fence: int
    was: str
    status: str
    history: Sequence[Mapping[str, Any]]
    release: bool
    delay_s: float | None = None
    refusal: Mapping[str, Any] | None = None
    state_was: State | None = None
    moved: Order | None = None
    event: OutboxRow | None = None
    trace_id: str = ""


class Claimed(NamedTuple):
    """A saga that this worker may drive, until its lease ends."""

    order: Order
    kind: str
    status: str
    attempt: int
    fence: int
    doubtful: bool
    expired: bool
    refusal: Mapping[str, Any] | None
    history: Sequence[Mapping[str, Any]]
    traceparent: str


class Wanted(NamedTuple):
    """Which orders a list has; ``rejected`` True: only attempts that came to nothing, False: all but these."""

    state: State | None = None
    rejected: bool | None = None


class Stored(NamedTuple):
    """What became of the first request with an idempotency key."""

    order: Order
    body_hash: bytes
    in_flight: bool
    ended_at: datetime | None
    refusal: Mapping[str, Any] | None


def insert_row(new: NewOrder) -> dict[str, Any]:
    order = new.order
    return {
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
    }


def save_row(decision: Save) -> dict[str, Any]:
    row: dict[str, Any] = {
        "order_id": decision.order_id,
        "fence": decision.fence,
        "was": decision.was,
        "status": decision.status,
        "history": decision.history,
        "release": decision.release,
        "delay_s": decision.delay_s,
        "refusal": decision.refusal,
        "trace_id": decision.trace_id,
    }
    if decision.moved is not None:
        row |= _moved_row(decision.moved) | {"state_was": decision.state_was}
    if decision.event is not None:
        event = decision.event
        row |= {"event_id": event.event_id, "event_type": event.type, "event_payload": event.payload}
    return row


def _moved_row(order: Order) -> dict[str, Any]:
    row: dict[str, Any] = {
        "state": order.state,
        "version": order.version,
        "reason": order.reason,
        "at": order.updated_at,
    }
    if order.totals is not None:
        totals = order.totals
        row |= {"lines": [line_document(line, order.currency) for line in order.lines]}
        row |= {name: getattr(totals, name) for name in totals.__slots__}
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
    )


def load_claimed(row: Record) -> Claimed:
    names = ("status", "attempts", "fence", "doubtful", "expired", "refusal", "history", "traceparent")
    return Claimed(load_order(row), row["saga_kind"], *(row[name] for name in names))
