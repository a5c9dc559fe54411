"""Writes changes of deliveries with their events, and gives deliveries in line to couriers.

Every method runs in the transaction of `DeliveryRepository.deciding`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from shop.delivery import courier_repository, messages, metrics, repository
from shop.delivery.domain import CARRIED, Courier, Delivery, State
from shop.delivery.planning import MAX_IN_LINE_PER_COURIER, Fleet, plan
from shop.delivery.repository import Change, Head, Place
from shop.delivery.settings import Settings
from shop.delivery.trips import arrival_without_courier, arrivals, travel_s
from shop.kit import outbox
from shop.kit.db import Connection
from shop.town import Town

MAX_PLANNED = 256
"""Deliveries at the head of the line, and restaurants with some in it, that one transaction looks at; the checks look
at all, one part after another."""

Chosen = tuple[Delivery, Courier]
"""A delivery in line, and who gets it."""


class Dispatch:
    def __init__(self, settings: Settings, town: Town) -> None:
        self._reach_m = settings.courier_reach_m
        self._margin_s = settings.courier_margin_s
        self._regroup_s = settings.regroup_s
        self._horizon = timedelta(seconds=settings.courier_margin_s + travel_s(settings.courier_reach_m))
        self._fix_max_age = timedelta(seconds=settings.fix_max_age_s)
        self._town = town

    async def fleet(self, connection: Connection, now: datetime) -> Fleet:
        """The couriers who may get deliveries, with those that they hold and have not filled up with."""
        couriers = await courier_repository.ready(connection, now - self._fix_max_age)
        carried = dict(await repository.carried(connection, couriers.partly_loaded()))
        return Fleet(self._town, couriers, carried, self._reach_m, now, self._margin_s)

    async def has_couriers_without_fix(self, connection: Connection, now: datetime) -> bool:
        """Whether couriers are on shift whose last fix is too old, or who never had one."""
        counts = await courier_repository.count_on_shift(connection, now - self._fix_max_age)
        return bool(counts["stale"] + counts["none"])

    def due_by(self, now: datetime) -> datetime:
        """Deliveries whose food is ready later are not due, from wherever a courier may come."""
        return now + self._horizon

    async def take_up_line(self, connection: Connection, now: datetime, after: Place | None = None) -> Place | None:
        """Give deliveries in line to couriers who are free now, at most MAX_PLANNED of those behind ``after``.

        How far it has looked, if there may be more behind.
        """
        heads = await self.heads(connection, after)
        if not heads or heads[0].ready_at > self.due_by(now):
            return None
        chosen, place = await self.plan(connection, await self.fleet(connection, now), heads, now, after)
        await self.write(connection, [(old, old.taken(who.user_id, old.eta, now)) for old, who in chosen], now)
        return place

    async def heads(self, connection: Connection, after: Place | None = None) -> list[Head]:
        """The restaurants with deliveries in line, at most MAX_PLANNED of those with some behind ``after``."""
        return await repository.heads(connection, MAX_PLANNED, after)

    async def plan(
        self, connection: Connection, fleet: Fleet, heads: Sequence[Head], now: datetime, after: Place | None = None
    ) -> tuple[list[Chosen], Place | None]:
        """Couriers for deliveries in line, and how far it has looked, if there may be more behind; the fleet has the
        deliveries afterwards.

        Only deliveries for which somebody has to set out now are read. Those who were chosen are not there for others,
        to whom somebody farther away has to set out earlier: so it looks again.
        """
        chosen: list[Chosen] = []
        ready_by = self.due_by(now)
        heads = [head for head in heads if head.ready_at <= ready_by]
        due, place = _due(fleet, heads), _first_behind(after, _end_of(heads))
        while due:
            line = await repository.in_line(connection, ready_by, MAX_PLANNED, after, due)
            if len(line) == MAX_PLANNED:
                place = _first_behind(after, place, (line[-1].ready_at, line[-1].order_id))
            more = await self._choose(connection, fleet, line, {old.order_id for old, _ in chosen}, now)
            chosen += more
            before, due = due, _due(fleet, heads) if more else {}
            due = {} if due == before else due
        return chosen, place

    async def _choose(
        self, connection: Connection, fleet: Fleet, line: Sequence[Delivery], taken: Collection[UUID], now: datetime
    ) -> list[Chosen]:
        open_ = [one for one in line if one.order_id not in taken and one.may_go_to_another(now, self._regroup_s)]
        given_back = [one.order_id for one in open_ if one.given_back]
        refused = await repository.refusals(connection, given_back) if given_back else {}
        return plan(fleet, open_, refused)

    async def write(self, connection: Connection, changes: Sequence[Change], now: datetime) -> list[Delivery]:
        """Store the changes and publish those of live deliveries; the deliveries as they are now, with their ETAs."""
        changes = [(old, new) for old, new in changes if old != new]
        changed = [new for _, new in changes]
        couriers = await self._couriers(connection, [one for change in changes for one in change])
        others = await self._others(connection, couriers, {one.order_id for one in changed})
        etas = self._arrivals(couriers, [*others, *changed], now)
        done = [(old, self._with_eta(old, new, etas, now)) for old, new in changes]
        later = [
            (one, replace(one, eta=etas[one.order_id], revision=one.revision + 1)) for one in others if one.state.live
        ]
        await repository.save(connection, done + later)
        told = [new for old, new in done if new.state is not old.state and new.state is not State.RELEASED]
        await outbox.insert(connection, [messages.changed(one, self._courier(couriers, one)) for one in told])
        for one in told:
            metrics.CHANGES.labels(one.state, one.reason or "").inc()
        return [new for _, new in done]

    async def _couriers(self, connection: Connection, deliveries: Sequence[Delivery]) -> dict[UUID, Courier]:
        ids = {one.courier_id for one in deliveries if one.courier_id is not None}
        return await courier_repository.by_ids(connection, sorted(ids))

    def _courier(self, couriers: dict[UUID, Courier], delivery: Delivery) -> Courier | None:
        return couriers.get(delivery.courier_id) if delivery.courier_id else None

    async def _others(
        self, connection: Connection, couriers: dict[UUID, Courier], changed: Collection[UUID]
    ) -> list[Delivery]:
        """What the couriers carry besides: their customers see a new ETA."""
        carried = await repository.carried(connection, list(couriers))
        return [one for held in carried.values() for one in held if one.order_id not in changed]

    def _arrivals(
        self, couriers: dict[UUID, Courier], deliveries: Sequence[Delivery], now: datetime
    ) -> dict[UUID, datetime]:
        """When each of the couriers' deliveries arrives."""
        found: dict[UUID, datetime] = {}
        for courier_id, courier in couriers.items():
            carried = [one for one in deliveries if one.courier_id == courier_id and one.state in CARRIED]
            found |= arrivals(courier, carried, self._town.distance_m, now)
        return found

    def _with_eta(self, old: Delivery, new: Delivery, etas: dict[UUID, datetime], now: datetime) -> Delivery:
        if new.courier_id is None and new.state in (State.WAITING, State.HELD):
            eta = arrival_without_courier(new.ready_at, new.distance_m, now)
        else:
            eta = etas.get(new.order_id, now if new.state is State.DELIVERED else new.eta)
        first_eta = (
            eta if old.state is State.HELD and new.state is not State.RELEASED and new.version else new.first_eta
        )
        return replace(new, eta=eta, first_eta=first_eta)


def has_place_for_all(fresh: Sequence[Delivery], heads: Sequence[Head], fleet: Fleet) -> bool:
    """Whether the line is short enough for ``fresh``, too, even if the food of all in line was ready now."""
    orders = sum(head.orders for head in heads) + len(fresh)
    places = MAX_IN_LINE_PER_COURIER * min(fleet.in_reach(pickup) for pickup in {one.pickup for one in fresh})
    return orders <= places and len(heads) < MAX_PLANNED


def _due(fleet: Fleet, heads: Sequence[Head]) -> dict[Head, datetime | None]:
    """The restaurants for whose orders somebody may set out now, with the time by which the food of these is ready."""
    by = {head: fleet.due_by(head.restaurant_id, head.pickup) for head in heads}
    return {head: at for head, at in by.items() if head.given_back or (at is not None and head.ready_at <= at)}


def _first_behind(after: Place | None, *places: Place | None) -> Place | None:
    """The first of the places that are behind ``after``, if there is one: the next look has to begin farther on."""
    return min((one for one in places if one is not None and (after is None or one > after)), default=None)


def _end_of(heads: Sequence[Head]) -> Place | None:
    """Where those are in line that the heads do not include, if there are any."""
    return (heads[-1].ready_at, UUID(int=0)) if len(heads) == MAX_PLANNED else None
