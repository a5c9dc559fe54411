"""Couriers, deliveries and how they change. Pure: no input or output; times are UTC and arguments."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from shop.town import Position

MAX_WRONG_CODES = 5
WRONG_CODES_WINDOW_S = 600
"""At most MAX_WRONG_CODES wrong codes are compared within this time, per delivery."""
CODE_COUNT = 10_000
"""Codes have four digits."""


class Vehicle(StrEnum):
    BIKE = "bike"
    CARGO_BIKE = "cargo_bike"
    SCOOTER = "scooter"
    CAR = "car"

    @property
    def speed_m_s(self) -> float:
        """In town, stops at crossings included."""
        return SPEEDS_M_S[self]

    @property
    def capacity(self) -> int:
        """Deliveries that fit at the same time."""
        return CAPACITIES[self]


SPEEDS_M_S = {Vehicle.BIKE: 4.5, Vehicle.CARGO_BIKE: 4.0, Vehicle.SCOOTER: 7.5, Vehicle.CAR: 6.5}
CAPACITIES = {Vehicle.BIKE: 2, Vehicle.CARGO_BIKE: 4, Vehicle.SCOOTER: 2, Vehicle.CAR: 3}
SLOWEST_M_S = min(SPEEDS_M_S.values())


class State(StrEnum):
    HELD = "held"
    """Reserved and not paid: the courier does not see it."""
    RELEASED = "released"
    WAITING = "waiting"
    ASSIGNED = "assigned"
    AT_RESTAURANT = "at_restaurant"
    PICKED_UP = "picked_up"
    ON_THE_WAY = "on_the_way"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return not TRANSITIONS[self]

    @property
    def live(self) -> bool:
        """Paid, and neither finished nor given up."""
        return self is not State.HELD and not self.final


TRANSITIONS: dict[State, frozenset[State]] = {
    State.HELD: frozenset({State.WAITING, State.ASSIGNED, State.RELEASED}),
    State.WAITING: frozenset({State.ASSIGNED, State.FAILED, State.CANCELLED}),
    State.ASSIGNED: frozenset({State.WAITING, State.AT_RESTAURANT, State.CANCELLED}),
    State.AT_RESTAURANT: frozenset({State.WAITING, State.PICKED_UP, State.CANCELLED}),
    State.PICKED_UP: frozenset({State.ON_THE_WAY, State.CANCELLED}),
    State.ON_THE_WAY: frozenset({State.DELIVERED, State.CANCELLED}),
    **{state: frozenset() for state in (State.RELEASED, State.DELIVERED, State.FAILED, State.CANCELLED)},
}
"""What was picked up is cancelled only if the order was cancelled before restaurant knew of the pick-up."""
CARRIED = frozenset({State.HELD, State.ASSIGNED, State.AT_RESTAURANT, State.PICKED_UP, State.ON_THE_WAY})
"""Count as load of the courier that they have."""
BEFORE_PICKUP = frozenset({State.HELD, State.ASSIGNED, State.AT_RESTAURANT})


class Action(StrEnum):
    """What a courier does with a delivery of theirs."""

    ARRIVE = "arrive"
    PICK_UP = "pick-up"
    DEPART = "depart"
    DELIVER = "deliver"
    REJECT = "reject"
    DROP = "drop"


ACTIONS: dict[Action, tuple[frozenset[State], State]] = {
    Action.ARRIVE: (frozenset({State.ASSIGNED}), State.AT_RESTAURANT),
    Action.PICK_UP: (frozenset({State.AT_RESTAURANT}), State.PICKED_UP),
    Action.DEPART: (frozenset({State.PICKED_UP}), State.ON_THE_WAY),
    Action.DELIVER: (frozenset({State.ON_THE_WAY}), State.DELIVERED),
    Action.REJECT: (frozenset({State.ASSIGNED}), State.WAITING),
    Action.DROP: (frozenset({State.ASSIGNED, State.AT_RESTAURANT}), State.WAITING),
}
"""From which states, and to which."""
KITCHEN_READY = "ready"
OFF_SHIFT = "off_shift"
"""The reason of a delivery that its courier left behind at the end of the shift."""


class NotAllowed(Exception):
    """An action that the delivery's state does not allow; ``code`` is the problem's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Courier:
    """``load``: deliveries that the courier holds or carries. ``position`` and ``fixed_at`` are of the last fix."""

    user_id: UUID
    name: str
    vehicle: Vehicle
    capacity: int
    load: int
    on_shift: bool
    revision: int = 1
    position: Position | None = None
    junction: int = 0
    fixed_at: datetime | None = None

    def has_fix(self, now: datetime, max_age_s: float) -> bool:
        return self.fixed_at is not None and self.fixed_at >= now - timedelta(seconds=max_age_s)


@dataclass(frozen=True, slots=True)
class Delivery:
    """``version`` counts the changes of state since the delivery is live, ``revision`` all changes that are shown.

    ``promised_at`` is the arrival that the reservation answered with; ``first_eta`` the one at which it became live.
    ``waiting_since`` is since when it has had no courier; the line is in the order of ``ready_at``.
    """

    order_id: UUID
    state: State
    user_id: UUID
    restaurant_id: UUID
    restaurant_name: str
    address: dict[str, str]
    pickup: Position
    dropoff: Position
    dropoff_junction: int | None
    distance_m: int
    code: str
    ready_at: datetime
    promised_at: datetime
    eta: datetime
    waiting_since: datetime
    created_at: datetime
    updated_at: datetime
    version: int = 0
    revision: int = 1
    courier_id: UUID | None = None
    first_eta: datetime | None = None
    kitchen: str | None = None
    kitchen_version: int = 0
    reason: str | None = None
    wrong_codes: int = 0
    wrong_codes_since: datetime | None = None

    def moved(self, state: State, now: datetime, *, reason: str | None = None) -> Delivery:
        """In ``state``; ValueError for an illegal transition."""
        if state not in TRANSITIONS[self.state]:
            raise ValueError(f"a delivery cannot go from {self.state} to {state}")
        keeps = state in CARRIED or state is State.DELIVERED
        return replace(
            self,
            state=state,
            version=self.version + (state is not State.RELEASED),
            revision=self.revision + 1,
            courier_id=self.courier_id if keeps else None,
            waiting_since=now if state is State.WAITING and self.state is not State.HELD else self.waiting_since,
            reason=reason,
            updated_at=now,
        )

    @property
    def given_back(self) -> bool:
        """Whether it is in line again, and perhaps refused by some: a courier had it after it was paid."""
        return self.reason is not None

    def may_go_to_another(self, now: datetime, regroup_s: float) -> bool:
        """False for a while after its courier has left the shift, because others may be leaving, too."""
        return self.reason != OFF_SHIFT or now >= self.waiting_since + timedelta(seconds=regroup_s)

    def paid(self, now: datetime) -> Delivery:
        """Live: the courier sees it, or it waits for one."""
        return replace(self.moved(State.ASSIGNED if self.courier_id else State.WAITING, now), waiting_since=now)

    def taken(self, courier_id: UUID, eta: datetime, now: datetime) -> Delivery:
        """With this courier; it has none."""
        if self.state is State.HELD:
            return replace(self, courier_id=courier_id, eta=eta, updated_at=now)
        return replace(self.moved(State.ASSIGNED, now), courier_id=courier_id, eta=eta)

    def returned(self, now: datetime, reason: str) -> Delivery:
        """Without its courier, who has not picked it up."""
        if self.state is State.HELD:
            return replace(self, courier_id=None, waiting_since=now, updated_at=now)
        return self.moved(State.WAITING, now, reason=reason)

    def withdrawn(self, now: datetime) -> Delivery:
        """Given up because its order is; the same when it has ended already."""
        if self.state.final:
            return self
        return self.moved(State.RELEASED if self.state is State.HELD else State.CANCELLED, now)

    def allowed(self) -> list[Action]:
        """What its courier may do now."""
        return [
            action
            for action, (before, _) in ACTIONS.items()
            if self.state in before and (action is not Action.PICK_UP or self.kitchen == KITCHEN_READY)
        ]

    def acted(self, action: Action, now: datetime) -> Delivery:
        """After the courier's action, the code of `Action.DELIVER` apart; NotAllowed."""
        before, after = ACTIONS[action]
        if self.state not in before:
            raise NotAllowed("illegal_transition")
        if action not in self.allowed():
            raise NotAllowed("not_ready")
        if after is State.WAITING:
            return self.returned(now, "rejected" if action is Action.REJECT else "dropped")
        return self.moved(after, now)

    def locked_until(self, now: datetime) -> datetime | None:
        """Until when no code is compared, because too many were wrong; None when one may be tried."""
        if self.wrong_codes_since is None or self.wrong_codes < MAX_WRONG_CODES:
            return None
        until = self.wrong_codes_since + timedelta(seconds=WRONG_CODES_WINDOW_S)
        return until if until > now else None

    def has_code(self, code: str) -> bool:
        """In constant time."""
        return hmac.compare_digest(self.code.encode(), code.encode())

    def with_wrong_code(self, now: datetime) -> Delivery:
        """One wrong code more; the count begins anew when the window of the first one is over."""
        since = self.wrong_codes_since
        if since is None or since + timedelta(seconds=WRONG_CODES_WINDOW_S) <= now:
            return replace(self, wrong_codes=1, wrong_codes_since=now)
        return replace(self, wrong_codes=self.wrong_codes + 1)


def code_of(number: int) -> str:
    """The code for a number of 0 to 9,999."""
    return f"{number % CODE_COUNT:04}"
