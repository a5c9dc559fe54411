"""Writes changes of deliveries with their events, and gives deliveries in line to couriers.

Every method runs in the transaction of `DeliveryRepository.deciding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from shop.delivery import courier_repository, messages, metrics, repository
from shop.delivery.domain import CARRIED, Courier, Delivery, State
from shop.delivery.planning import Fleet, plan
from shop.delivery.repository import Change
from shop.delivery.settings import Settings
from shop.delivery.trips import arrival_without_courier, arrivals
from shop.kit import outbox
from shop.kit.db import Connection
from shop.town import Town

MAX_PLANNED = 256
"""Deliveries of the line that one transaction looks at; the next one goes on."""


class Dispatch:
    def __init__(self, settings: Settings, town: Town) -> None:
        self._reach_m = settings.courier_reach_m
        self._fix_max_age = timedelta(seconds=settings.fix_max_age_s)
        self._town = town

    async def fleet(self, connection: Connection, now: datetime) -> Fleet:
        """The couriers who may get deliveries, with those that they hold and have not filled up with."""
        couriers = await courier_repository.ready(connection, now - self._fix_max_age)
        partly = [courier.user_id for courier in couriers if 0 < courier.load < courier.capacity]
        return Fleet(self._town, couriers, dict(await repository.carried(connection, partly)), self._reach_m)

    async def take_up_line(self, connection: Connection, now: datetime) -> int:
        """Give deliveries in line to couriers who are free now; return how many."""
        line = await repository.in_line(connection, MAX_PLANNED)
        if not line:
            return 0
        chosen = await self.plan(connection, await self.fleet(connection, now), line)
        await self.write(connection, [(old, old.taken(who.user_id, old.eta, now)) for old, who in chosen], now)
        return len(chosen)

    async def plan(
        self, connection: Connection, fleet: Fleet, line: Sequence[Delivery]
    ) -> list[tuple[Delivery, Courier]]:
        refused = await repository.refusals(connection, [one.order_id for one in line]) if line else {}
        return plan(fleet, line, refused)

    async def write(self, connection: Connection, changes: Sequence[Change], now: datetime) -> list[Delivery]:
        """Store the changes and publish those of live deliveries; the deliveries as they are now, with their ETAs."""
        changes = [(old, new) for old, new in changes if old != new]
        couriers = await self._couriers(connection, [new for _, new in changes])
        etas = await self._arrivals(connection, couriers, [new for _, new in changes], now)
        done = [(old, self._with_eta(old, new, etas, now)) for old, new in changes]
        await repository.save(connection, done)
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

    async def _arrivals(
        self, connection: Connection, couriers: dict[UUID, Courier], changed: Sequence[Delivery], now: datetime
    ) -> dict[UUID, datetime]:
        """When each of the couriers' deliveries arrives, once ``changed`` has come into effect."""
        before = await repository.carried(connection, list(couriers))
        new = {one.order_id: one for one in changed}
        found: dict[UUID, datetime] = {}
        for courier_id, courier in couriers.items():
            kept = [one for one in before.get(courier_id, ()) if one.order_id not in new]
            kept += [one for one in changed if one.courier_id == courier_id and one.state in CARRIED]
            found |= arrivals(courier, kept, self._town.distance_m, now)
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
