"""Calls to delivery: how far it is, holding a courier for an order, and handing the order to a courier.

`RESERVE` comes before the charge and holds a courier or a place in the line for one, so that an order for which there
is none is rejected before anything is charged. `ASSIGN` comes after it and makes the delivery visible to the courier.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, TypeAdapter

from shop.contracts.calls import BatchCall, OrderItem, OrderResult, Released, ReleaseRequest
from shop.contracts.geography import Position
from shop.contracts.money import Address


class RouteRequest(OrderItem):
    """From the restaurant at ``pickup`` to ``address``; ``order_id`` is any fresh id when only the way is asked for."""

    pickup: Position
    address: Address


class ReserveRequest(RouteRequest):
    """``ready_at`` is when the kitchen will be ready."""

    user_id: UUID
    restaurant_id: UUID
    restaurant_name: str
    ready_at: datetime


class DeliveryStatus(StrEnum):
    ROUTED = "routed"
    RESERVED = "reserved"
    ASSIGNED = "assigned"
    REJECTED = "rejected"


class Routed(OrderResult):
    """The shortest way by the streets, in metres, and the time from ready food to the customer, in seconds: the way
    by a typical vehicle, and handing over."""

    status: Literal[DeliveryStatus.ROUTED] = DeliveryStatus.ROUTED
    distance_m: Annotated[int, Field(ge=0)]
    travel_s: Annotated[int, Field(ge=0)]
    dropoff: Position


class Reserved(OrderResult):
    """A courier is held, or a place in the line: one within reach takes the order when its food is nearly ready."""

    status: Literal[DeliveryStatus.RESERVED] = DeliveryStatus.RESERVED
    distance_m: Annotated[int, Field(ge=0)]
    eta: datetime


class DeliveryRejected(OrderResult):
    """``code`` is stable: address_not_found, address_out_of_reach, no_courier (``extra.retry_after_s``), released."""

    status: Literal[DeliveryStatus.REJECTED] = DeliveryStatus.REJECTED
    code: str
    detail: str
    extra: dict[str, Any] = Field(default={})


class AssignRequest(OrderItem):
    """The order is paid. The delivery was reserved before; without a reservation the answer is `DeliveryRejected`."""


class Assigned(OrderResult):
    """The delivery is live. Its courier may still change."""

    status: Literal[DeliveryStatus.ASSIGNED] = DeliveryStatus.ASSIGNED
    eta: datetime


RouteResult = Annotated[Routed | DeliveryRejected, Field(discriminator="status")]
ReserveResult = Annotated[Reserved | DeliveryRejected, Field(discriminator="status")]
AssignResult = Annotated[Assigned | DeliveryRejected, Field(discriminator="status")]

ROUTE: BatchCall[RouteRequest, Routed | DeliveryRejected] = BatchCall(
    "delivery.route", "/internal/routes", TypeAdapter(RouteRequest), TypeAdapter(RouteResult)
)
RESERVE: BatchCall[ReserveRequest, Reserved | DeliveryRejected] = BatchCall(
    "delivery.reserve", "/internal/reservations", TypeAdapter(ReserveRequest), TypeAdapter(ReserveResult)
)
ASSIGN: BatchCall[AssignRequest, Assigned | DeliveryRejected] = BatchCall(
    "delivery.assign", "/internal/assignments", TypeAdapter(AssignRequest), TypeAdapter(AssignResult)
)
RELEASE = BatchCall(
    "delivery.release", "/internal/reservations/release", TypeAdapter(ReleaseRequest), TypeAdapter(Released)
)
"""The compensation of `RESERVE` and `ASSIGN`: the courier is free and the delivery leaves every list at once."""
