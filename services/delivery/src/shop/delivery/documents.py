"""Deliveries, jobs and couriers as JSON documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from shop.delivery.domain import Courier, Delivery, State
from shop.town import Position


def place(position: Position | None) -> dict[str, float] | None:
    return None if position is None else {"lat": position.lat, "lon": position.lon}


def tracking_document(
    delivery: Delivery,
    *,
    courier: Courier | None,
    position: Position | None,
    eta: datetime | None,
    route: Iterable[Position],
    dropoff: Position | None,
    history: Sequence[tuple[State, datetime]],
    kitchen_history: Sequence[tuple[str, datetime]],
    code: str | None,
) -> dict[str, Any]:
    document = {
        "order_id": delivery.order_id,
        "state": delivery.state,
        "version": delivery.version,
        "reason": delivery.reason,
        "restaurant_id": delivery.restaurant_id,
        "restaurant_name": delivery.restaurant_name,
        "courier": {"name": courier.name, "vehicle": courier.vehicle} if courier else None,
        "eta": eta,
        "position": place(position),
        "positioned_at": courier.fixed_at if courier and position else None,
        "kitchen": delivery.kitchen,
        "ready_at": delivery.ready_at,
        "pickup": place(delivery.pickup),
        "dropoff": place(dropoff),
        "distance_m": delivery.distance_m,
        "route": [place(point) for point in route],
        "history": [{"state": state, "at": at} for state, at in history],
        "kitchen_history": [{"state": state, "at": at} for state, at in kitchen_history],
        "created_at": delivery.created_at,
        "updated_at": delivery.updated_at,
    }
    return document | {"code": code} if code is not None else document


def job_document(delivery: Delivery, eta: datetime, route: Iterable[Position]) -> dict[str, Any]:
    """``route`` leads from the courier's last fix to the next stop."""
    return {
        "order_id": delivery.order_id,
        "state": delivery.state,
        "version": delivery.version,
        "restaurant_id": delivery.restaurant_id,
        "restaurant_name": delivery.restaurant_name,
        "pickup": place(delivery.pickup),
        "dropoff": place(delivery.dropoff),
        "address": delivery.address,
        "customer_name": delivery.address.get("name", ""),
        "kitchen": delivery.kitchen,
        "ready_at": delivery.ready_at,
        "eta": eta,
        "route": [place(point) for point in route],
        "actions": delivery.allowed(),
    }


def step_document(delivery: Delivery) -> dict[str, Any]:
    return {
        "order_id": delivery.order_id,
        "state": delivery.state,
        "version": delivery.version,
        "actions": delivery.allowed(),
    }


def position_document(position: Position, at: datetime, eta: datetime) -> dict[str, Any]:
    return {"lat": position.lat, "lon": position.lon, "at": at, "eta": eta}


def courier_document(courier: Courier, fix: str) -> dict[str, Any]:
    """``fix`` is none, stale or fresh: a courier on shift without a fresh one gets no delivery."""
    return {
        "user_id": courier.user_id,
        "name": courier.name,
        "vehicle": courier.vehicle,
        "capacity": courier.capacity,
        "load": courier.load,
        "on_shift": courier.on_shift,
        "fix": fix,
        "position": place(courier.position),
        "positioned_at": courier.fixed_at,
    }
