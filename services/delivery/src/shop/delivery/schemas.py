"""Request and response bodies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from shop.contracts.events import TicketState
from shop.contracts.geography import Position
from shop.delivery.domain import Action, State, Vehicle
from shop.kit.bodies import RequestBody, example

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


EARLIEST_FIX = datetime(2000, 1, 1, tzinfo=UTC)
LATEST_FIX = datetime(2200, 1, 1, tzinfo=UTC)
"""Times beyond are no clock's, and those at the ends of the calendar cannot be converted to UTC."""


class NewCourier(RequestBody):
    model_config = example(name="Ines", vehicle="bike")

    name: Name
    vehicle: Vehicle


class Shift(RequestBody):
    model_config = example(on_shift=True)

    on_shift: bool


class NewPosition(RequestBody):
    """``at`` is when the position was measured; now if it is left out."""

    model_config = example(lat=51.9, lon=-0.2)

    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    at: Annotated[AwareDatetime, Field(ge=EARLIEST_FIX, le=LATEST_FIX)] | None = None

    def time(self, now: datetime) -> datetime:
        return now if self.at is None else self.at.astimezone(UTC)


class Handover(RequestBody):
    """``code``: the four digits that the customer tells; only an administrator may leave them out."""

    model_config = example(code="0427")

    code: Annotated[str, Field(pattern=r"^[0-9]{4}$")] | None = None


class CourierView(BaseModel):
    user_id: UUID
    name: str
    vehicle: Vehicle
    capacity: int
    load: int
    on_shift: bool
    fix: Literal["none", "stale", "fresh"]
    position: Position | None
    positioned_at: datetime | None


class CourierOfDelivery(BaseModel):
    name: str
    vehicle: Vehicle


class Reached(BaseModel):
    state: State
    at: datetime


class KitchenReached(BaseModel):
    state: TicketState
    at: datetime


class DeliveryView(BaseModel):
    """``code`` is shown to the customer alone; ``dropoff`` and ``route`` not to the restaurant's staff."""

    order_id: UUID
    state: State
    version: int
    reason: str | None
    restaurant_id: UUID
    restaurant_name: str
    courier: CourierOfDelivery | None
    eta: datetime | None
    position: Position | None
    positioned_at: datetime | None
    kitchen: str | None
    ready_at: datetime
    pickup: Position
    dropoff: Position | None
    distance_m: int
    route: list[Position]
    history: list[Reached]
    kitchen_history: list[KitchenReached]
    created_at: datetime
    updated_at: datetime
    code: str | None = None


class StepView(BaseModel):
    order_id: UUID
    state: State
    version: int
    actions: list[Action]


class JobView(BaseModel):
    """``route`` leads from the last fix to the next stop: the restaurant until it is picked up, then the customer."""

    order_id: UUID
    state: State
    version: int
    restaurant_id: UUID
    restaurant_name: str
    pickup: Position
    dropoff: Position
    address: dict[str, str]
    customer_name: str
    kitchen: str | None
    ready_at: datetime
    eta: datetime
    route: list[Position]
    actions: list[Action]


class JobsView(BaseModel):
    items: list[JobView]
    revision: int


class DemandAt(BaseModel):
    position: Position
    orders: int


class DemandView(BaseModel):
    since: datetime
    items: list[DemandAt]
