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
from shop.delivery.planning import Fleet, plan
from shop.delivery.repository import Change
from shop.delivery.settings import Settings
from shop.delivery.trips import arrival_without_courier, arrivals, travel_s
from shop.kit import outbox
from shop.kit.db import Connection
from shop.town import Town

MAX_PLANNED = 256
"""Due deliveries at the head of the line that one transaction looks at; the check by and by looks at all."""


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

    async def in_line(self, connection: Connection, now: datetime, after: Delivery | None = None) -> list[Delivery]:
        """Deliveries that may get a courier now, at most MAX_PLANNED of those behind ``after``."""
        return await repository.in_line(connection, self.due_by(now), MAX_PLANNED, after)

    async def take_up_line(
        self, connection: Connection, now: datetime, after: Delivery | None = None
    ) -> Delivery | None:
        """Give deliveries in line to couriers who are free now, at most MAX_PLANNED of those behind ``after``.

        The last one that was looked at, if there may be more behind it.
        """
        line = await self.in_line(connection, now, after)
        if not line:
            return None
        chosen = await self.plan(connection, await self.fleet(connection, now), line, now)
        await self.write(connection, [(old, old.taken(who.user_id, old.eta, now)) for old, who in chosen], now)
        return line[-1] if len(line) == MAX_PLANNED else None

    async def plan(
        self, connection: Connection, fleet: Fleet, line: Sequence[Delivery], now: datetime
    ) -> list[tuple[Delivery, Courier]]:
        """Couriers for deliveries in line; the fleet has them afterwards."""
        open_ = [one for one in line if one.may_go_to_another(now, self._regroup_s)]
        refused = await repository.refusals(connection, [one.order_id for one in open_]) if open_ else {}
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
