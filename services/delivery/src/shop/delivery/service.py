"""What delivery does: its parts, put together."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast
from uuid import UUID

import cachetools

from shop.delivery import errors, retention_repository
from shop.delivery.courier_repository import CourierRepository
from shop.delivery.dispatch import Dispatch
from shop.delivery.documents import courier_document
from shop.delivery.domain import CODE_COUNT, Courier
from shop.delivery.positions import Positions
from shop.delivery.repository import DeliveryRepository
from shop.delivery.reservations import Reservations
from shop.delivery.settings import Settings
from shop.delivery.staff import Staff
from shop.delivery.tracking import Tracking
from shop.delivery.work import CourierWork
from shop.kit.app import Context
from shop.kit.clock import Clock
from shop.kit.retention import Retention
from shop.town import Position, town

DEMAND_S = 3_600.0
MAX_KNOWN_COURIERS = 20_000
KNOWN_COURIER_S = 5.0
"""How long it is remembered that somebody is a courier, for their positions."""


class DeliveryService:
    def __init__(
        self,
        settings: Settings,
        deliveries: DeliveryRepository,
        couriers: CourierRepository,
        clock: Clock,
        *,
        dispatch: Dispatch,
        reservations: Reservations,
        work: CourierWork,
        positions: Positions,
        tracking: Tracking,
    ) -> None:
        self._settings = settings
        self._deliveries = deliveries
        self._couriers = couriers
        self._clock = clock
        self.dispatch = dispatch
        self.reservations = reservations
        self.work = work
        self.positions = positions
        self.tracking = tracking
        self._known: cachetools.TTLCache[UUID, None] = cachetools.TTLCache(MAX_KNOWN_COURIERS, KNOWN_COURIER_S)

    @classmethod
    def build(cls, context: Context) -> DeliveryService:
        """Also starts the loops: the check of couriers and the line, positions, and the pollers of streams."""
        settings, clock, streets = cast(Settings, context.settings), context.clock, town()
        streets.distance_m(*streets.junctions[:2])  # loads the table of distances, which takes seconds, before requests
        deliveries, couriers = DeliveryRepository(context.database), CourierRepository(context.database)
        dispatch = Dispatch(settings, streets)
        random_number = partial(secrets.randbelow, CODE_COUNT)
        work = CourierWork(settings, deliveries, couriers, dispatch, clock)
        url = settings.restaurant_url
        staff = Staff(context.clients.get("restaurant", url) if url else None, settings.staff_cache_s)
        service = cls(
            settings,
            deliveries,
            couriers,
            clock,
            dispatch=dispatch,
            reservations=Reservations(settings, deliveries, dispatch, streets, clock, random_number),
            work=work,
            positions=Positions(settings, couriers, streets, context.bus, clock, work.woken),
            tracking=Tracking(settings, deliveries, couriers, staff, streets, clock),
        )
        context.tasks.start("deliveries", work.run)
        context.tasks.start("positions", service.positions.run)
        context.tasks.start("positions-of-all", partial(service.positions.listen, service.tracking.moved))
        context.tasks.start("delivery-streams", service.tracking.watchers.run)
        context.tasks.start("job-streams", service.tracking.job_watchers.run)
        rules = retention_repository.rules(timedelta(days=settings.history_retention_days))
        context.tasks.start("retention", Retention(context.database, clock, rules).run)
        return service

    async def close(self) -> None:
        await self.reservations.close()
        await self.work.close()

    def now(self) -> datetime:
        return self._clock.now()

    async def courier(self, user_id: UUID) -> Courier:
        """Problem 404 ``not_a_courier``."""
        found = await self._couriers.get(user_id)
        if found is None:
            raise errors.not_a_courier()
        return found

    async def add_position(self, user_id: UUID, position: Position, at: datetime) -> None:
        """Problem 404 ``not_a_courier``. A fix that is not later than the last one is dropped."""
        if user_id not in self._known:
            await self.courier(user_id)
            self._known[user_id] = None
        self.positions.add(user_id, position, at)

    async def couriers(self, after: UUID | None, limit: int) -> list[Courier]:
        return await self._couriers.page(after, limit)

    def courier_document(self, courier: Courier) -> dict[str, Any]:
        fresh = courier.has_fix(self._clock.now(), self._settings.fix_max_age_s)
        return courier_document(courier, "fresh" if fresh else "stale" if courier.position else "none")

    async def demand(self) -> dict[str, Any]:
        """The orders of the last hour, at the junctions nearest to their customers."""
        since = self._clock.now() - timedelta(seconds=DEMAND_S)
        junctions = town().junctions
        items = [
            {"position": junctions[junction]._asdict(), "orders": orders}
            for junction, orders in await self._deliveries.demand(since)
        ]
        return {"since": since, "items": items}
