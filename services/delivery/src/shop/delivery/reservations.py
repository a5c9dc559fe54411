"""The calls of order: how far it is, holding a courier, making the delivery live, and giving it up.

Concurrent calls share their transactions. Every call is idempotent by order id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from shop.contracts.delivery import (
    Assigned,
    AssignRequest,
    DeliveryRejected,
    Reserved,
    ReserveRequest,
    Routed,
    RouteRequest,
)
from shop.delivery import metrics, repository
from shop.delivery.dispatch import Dispatch, has_place_for_all
from shop.delivery.domain import Courier, Delivery, State, code_of
from shop.delivery.planning import TRIP_S, Fleet, has_place, trips_until
from shop.delivery.repository import DeliveryRepository
from shop.delivery.settings import Settings
from shop.delivery.trips import arrival_without_courier, arrivals, carry_s
from shop.kit.batch import Batcher
from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.town import Position, Town

MAX_CALLS_PER_BATCH = 32
BATCHES_INFLIGHT = 1
"""One batch of each call at a time per process: a second one would only wait for its turn."""
NOBODY_RETRY_AFTER_S = 120
FULL_RETRY_AFTER_S = 60
NO_FIX_RETRY_AFTER_S = 30
"""Nobody is on shift within reach; all are busy and the line is full; it is not known where couriers on shift are."""
NO_COURIER = {
    NOBODY_RETRY_AFTER_S: "No courier is on shift within reach of the restaurant.",
    FULL_RETRY_AFTER_S: "No courier within reach of the restaurant is free in time.",
    NO_FIX_RETRY_AFTER_S: "Couriers are on shift, but none has reported a position lately.",
}
"""Details for people, by when asking again makes sense."""
NO_RESERVATION = "released"


@dataclass
class _Line:
    """The line while reservations are decided: how many are in it by `trips_until`, and who can serve them."""

    fleet: Fleet
    in_line: Counter[int]
    now: datetime

    def place(self, delivery: Delivery) -> Courier | int | None:
        """A courier; None for a place in the line; else the seconds after which asking again makes sense."""
        courier = self.fleet.best(delivery)
        if courier is not None:
            return self.fleet.assign(delivery, courier)
        within_reach = self.fleet.in_reach(delivery.pickup)
        trips = trips_until(delivery.ready_at, self.now)
        if not has_place(trips, self.in_line, within_reach):
            return FULL_RETRY_AFTER_S if within_reach else NOBODY_RETRY_AFTER_S
        self.in_line[trips] += 1
        return None


class Reservations:
    def __init__(
        self,
        settings: Settings,
        repository: DeliveryRepository,
        dispatch: Dispatch,
        town: Town,
        clock: Clock,
        random_number: Callable[[], int],
    ) -> None:
        self._max_distance_m = settings.store.delivery.max_distance_m
        self._repository = repository
        self._dispatch = dispatch
        self._town = town
        self._clock = clock
        self._random_number = random_number
        limits = {"max_items": MAX_CALLS_PER_BATCH, "max_inflight": BATCHES_INFLIGHT}
        self._reserving = Batcher(self._reserve_calls, **limits)
        self._assigning = Batcher(self._assign_calls, **limits)
        self._releasing = Batcher(self._release_calls, **limits)

    def route(self, item: RouteRequest) -> Routed | DeliveryRejected:
        """The way to the address."""
        dropoff = self._town.locate(item.address.street, item.address.city)
        if dropoff is None:
            detail = f"{self._town.name} has no such address."
            return DeliveryRejected(order_id=item.order_id, code="address_not_found", detail=detail)
        metres = self._town.distance_m(_position(item), dropoff)
        if metres > self._max_distance_m:
            detail = f"The restaurant delivers up to {self._max_distance_m} m; it is {metres} m."
            return DeliveryRejected(order_id=item.order_id, code="address_out_of_reach", detail=detail)
        where = {"lat": dropoff.lat, "lon": dropoff.lon}
        return Routed.model_validate(
            {"order_id": item.order_id, "distance_m": metres, "travel_s": carry_s(metres), "dropoff": where}
        )

    async def reserve(self, items: Sequence[ReserveRequest]) -> list[Reserved | DeliveryRejected]:
        """Hold a courier, or a place in the line, for each order that can be delivered."""
        return await self._reserving.submit(items)

    async def assign(self, items: Sequence[AssignRequest]) -> list[Assigned | DeliveryRejected]:
        """Make the orders' deliveries live."""
        return await self._assigning.submit([item.order_id for item in items])

    async def release(self, order_ids: Sequence[UUID]) -> None:
        """Give up the orders' deliveries, whatever their states; their couriers are free for others at once."""
        await self._releasing.submit(order_ids)

    async def close(self) -> None:
        for batcher in (self._reserving, self._assigning, self._releasing):
            await batcher.close()

    async def _reserve_calls(self, calls: list[Sequence[ReserveRequest]]) -> list[list[Reserved | DeliveryRejected]]:
        requests = {item.order_id: item for call in calls for item in call}
        answers = await self._reserve(list(requests.values()))
        for answer in answers.values():
            metrics.RESERVATIONS.labels(getattr(answer, "code", answer.status)).inc()
        return [[answers[item.order_id] for item in call] for call in calls]

    async def _reserve(self, items: Sequence[ReserveRequest]) -> dict[UUID, Reserved | DeliveryRejected]:
        now = self._clock.now()
        answers: dict[UUID, Reserved | DeliveryRejected] = {}
        drafts = list[Delivery]()
        for item in items:
            routed = self.route(item)
            if isinstance(routed, DeliveryRejected):
                answers[item.order_id] = routed
            else:
                drafts.append(self._draft(item, routed, now))
        if not drafts:
            return answers
        async with self._repository.deciding() as connection:
            known = await repository.by_ids(connection, [one.order_id for one in drafts])
            fresh = [one for one in drafts if one.order_id not in known]
            answers |= {order_id: _reserved(order_id, delivery) for order_id, delivery in known.items()}
            answers |= await self._place(connection, fresh, now) if fresh else {}
        return answers

    async def _place(
        self, connection: Connection, fresh: Sequence[Delivery], now: datetime
    ) -> dict[UUID, Reserved | DeliveryRejected]:
        """Those in line come first: one of them may have been waiting for a courier who has just got a fix."""
        heads = await self._dispatch.heads(connection)
        fleet = await self._dispatch.fleet(connection, now)
        chosen, _ = await self._dispatch.plan(connection, fleet, heads, now)
        in_line = Counter[int]()
        if not has_place_for_all(fresh, heads, fleet):
            in_line.update(await repository.count_by_trips(connection, now, TRIP_S))
        in_line.subtract(trips_until(old.ready_at, now) for old, _ in chosen)
        line = _Line(fleet, in_line, now)
        fix_missing = not fleet.couriers and await self._dispatch.has_couriers_without_fix(connection, now)
        answers: dict[UUID, Reserved | DeliveryRejected] = {}
        placed = list[Delivery]()
        for draft in fresh:
            place = line.place(draft)
            if isinstance(place, int):
                retry_after_s = NO_FIX_RETRY_AFTER_S if place == NOBODY_RETRY_AFTER_S and fix_missing else place
                answers[draft.order_id] = _no_courier(draft.order_id, retry_after_s)
                continue
            delivery = self._promised(draft, place, fleet, now)
            answers[draft.order_id] = _reserved(draft.order_id, delivery)
            placed.append(delivery)
        await repository.insert(connection, placed, now)
        await self._dispatch.write(
            connection, [(old, old.taken(who.user_id, old.eta, now)) for old, who in chosen], now
        )
        return answers

    def _promised(self, draft: Delivery, courier: Courier | None, fleet: Fleet, now: datetime) -> Delivery:
        eta = draft.eta
        if courier is not None:
            carried = fleet.carried[courier.user_id]
            eta = arrivals(courier, carried, self._town.distance_m, now)[draft.order_id]
        return replace(draft, courier_id=courier.user_id if courier else None, eta=eta, promised_at=eta)

    def _draft(self, item: ReserveRequest, routed: Routed, now: datetime) -> Delivery:
        dropoff = Position(routed.dropoff.lat, routed.dropoff.lon)
        eta = arrival_without_courier(item.ready_at, routed.distance_m, now)
        return Delivery(
            order_id=item.order_id,
            state=State.HELD,
            user_id=item.user_id,
            restaurant_id=item.restaurant_id,
            restaurant_name=item.restaurant_name,
            address=item.address.document(),
            pickup=_position(item),
            dropoff=dropoff,
            dropoff_junction=self._town.nearest(dropoff),
            distance_m=routed.distance_m,
            code=code_of(self._random_number()),
            ready_at=item.ready_at,
            promised_at=eta,
            eta=eta,
            waiting_since=now,
            created_at=now,
            updated_at=now,
        )

    async def _assign_calls(self, calls: list[Sequence[UUID]]) -> list[list[Assigned | DeliveryRejected]]:
        now = self._clock.now()
        order_ids = {order_id for call in calls for order_id in call}
        async with self._repository.deciding() as connection:
            known = {**await repository.by_ids(connection, sorted(order_ids))}
            held = [one for one in known.values() if one is not None and one.state is State.HELD]
            done = await self._dispatch.write(connection, [(old, old.paid(now)) for old in held], now)
        found = known | {one.order_id: one for one in done}
        return [[_assigned(order_id, found.get(order_id), now) for order_id in call] for call in calls]

    async def _release_calls(self, calls: list[Sequence[UUID]]) -> list[None]:
        now = self._clock.now()
        order_ids = sorted({order_id for call in calls for order_id in call})
        async with self._repository.deciding() as connection:
            known = await repository.by_ids(connection, order_ids)
            await repository.add_tombstones(connection, [one for one in order_ids if one not in known], now)
            changes = [(old, old.withdrawn(now)) for old in known.values() if old is not None]
            if await self._dispatch.write(connection, changes, now):
                await self._dispatch.take_up_line(connection, now)
        return [None] * len(calls)


def _position(item: RouteRequest) -> Position:
    return Position(item.pickup.lat, item.pickup.lon)


def _reserved(order_id: UUID, delivery: Delivery | None) -> Reserved | DeliveryRejected:
    """The first answer, as long as the delivery was not given up."""
    if delivery is None or delivery.state in (State.RELEASED, State.CANCELLED, State.FAILED):
        return _released(order_id)
    return Reserved(order_id=order_id, distance_m=delivery.distance_m, eta=delivery.promised_at)


def _assigned(order_id: UUID, delivery: Delivery | None, now: datetime) -> Assigned | DeliveryRejected:
    if delivery is None or delivery.state in (State.RELEASED, State.CANCELLED, State.FAILED):
        return _released(order_id)
    return Assigned(order_id=order_id, eta=max(delivery.eta, now))


def _released(order_id: UUID) -> DeliveryRejected:
    detail = "No courier is held for the order, or it was released before."
    return DeliveryRejected(order_id=order_id, code=NO_RESERVATION, detail=detail)


def _no_courier(order_id: UUID, retry_after_s: int) -> DeliveryRejected:
    detail, extra = NO_COURIER[retry_after_s], {"retry_after_s": retry_after_s}
    return DeliveryRejected(order_id=order_id, code="no_courier", detail=detail, extra=extra)
