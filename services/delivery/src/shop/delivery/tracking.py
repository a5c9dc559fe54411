"""What is seen of deliveries: by their customers, the restaurant's staff, their couriers and administrators."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from shop.delivery import courier_repository, errors, metrics, repository
from shop.delivery.courier_repository import CourierRepository
from shop.delivery.documents import job_document, position_document, tracking_document
from shop.delivery.domain import BEFORE_PICKUP, CARRIED, Courier, Delivery, State
from shop.delivery.positions import Located
from shop.delivery.repository import DeliveryRepository
from shop.delivery.settings import Settings
from shop.delivery.staff import Staff
from shop.delivery.trips import arrival_without_courier, arrivals, next_stop
from shop.kit.auth import Principal
from shop.kit.clock import Clock
from shop.kit.watchers import Change, Watchers, event
from shop.town import Position, Town


class Viewer(StrEnum):
    CUSTOMER = "customer"
    COURIER = "courier"
    STAFF = "staff"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A delivery with what its page shows; ``carried`` is everything that its courier holds or carries."""

    delivery: Delivery
    courier: Courier | None
    carried: Sequence[Delivery]
    history: Sequence[tuple[State, datetime]]
    kitchen_history: Sequence[tuple[str, datetime]]


class Tracking:
    def __init__(
        self,
        settings: Settings,
        deliveries: DeliveryRepository,
        couriers: CourierRepository,
        staff: Staff,
        town: Town,
        clock: Clock,
    ) -> None:
        self._deliveries = deliveries
        self._couriers = couriers
        self._staff = staff
        self._town = town
        self._clock = clock
        options = {"poll_s": settings.stream_poll_s, "keepalive_s": settings.stream_keepalive_s}
        options["max_streams"] = settings.max_streams
        self.watchers: Watchers[Snapshot] = Watchers(
            self._changes,
            streams=metrics.STREAMS.labels("delivery"),
            **options,  # type: ignore[arg-type]
        )
        self.job_watchers: Watchers[dict[str, Any]] = Watchers(
            self._job_changes,
            streams=metrics.STREAMS.labels("jobs"),
            **options,  # type: ignore[arg-type]
        )
        self._watched: dict[UUID, Snapshot] = {}
        self._clients: Counter[UUID] = Counter()
        """Orders that clients of this process watch, and how many watch each."""
        self._orders_of: dict[UUID, set[UUID]] = defaultdict(set)
        """Watched orders by their courier."""

    async def delivery(self, order_id: UUID, person: Principal) -> tuple[Snapshot, Viewer]:
        """The delivery and as who the person sees it; Problem 404 ``unknown_delivery`` for anybody else."""
        found = (await repository.by_ids(self._deliveries.database, [order_id])).get(order_id)
        if found is None or not found.version:
            raise errors.unknown_delivery(order_id)
        viewer = await self._viewer(found, person)
        return (await self.snapshots([found]))[0], viewer

    async def _viewer(self, delivery: Delivery, person: Principal) -> Viewer:
        if delivery.user_id == person.user_id:
            return Viewer.CUSTOMER
        if delivery.courier_id == person.user_id and delivery.state.live:
            return Viewer.COURIER
        if person.role == "admin":
            return Viewer.ADMIN
        if await self._staff.works_at(person.user_id, delivery.restaurant_id):
            return Viewer.STAFF
        raise errors.unknown_delivery(delivery.order_id)

    async def snapshots(self, deliveries: Sequence[Delivery]) -> list[Snapshot]:
        couriers, carried = await self._couriers_of(deliveries)
        order_ids = [one.order_id for one in deliveries]
        history = await self._deliveries.history(order_ids)
        kitchens = await self._deliveries.kitchen_history(order_ids)
        return [
            Snapshot(
                one,
                couriers.get(one.courier_id) if one.courier_id else None,
                carried.get(one.courier_id, ()) if one.courier_id else (),
                history.get(one.order_id, ()),
                kitchens.get(one.order_id, ()),
            )
            for one in deliveries
        ]

    async def _couriers_of(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[dict[UUID, Courier], dict[UUID, list[Delivery]]]:
        ids = sorted({one.courier_id for one in deliveries if one.courier_id is not None})
        database = self._deliveries.database
        return await courier_repository.by_ids(database, ids), await repository.carried(database, ids)

    def document(self, seen: Snapshot, viewer: Viewer) -> dict[str, Any]:
        """As JSON; only the customer sees the code, and the restaurant's staff does not see where they live."""
        delivery = seen.delivery
        staff = viewer is Viewer.STAFF
        carrying = delivery.state in CARRIED and seen.courier is not None
        position = seen.courier.position if carrying and seen.courier else None
        return tracking_document(
            delivery,
            courier=seen.courier,
            position=position,
            eta=self._eta(seen) if delivery.state.live else None,
            route=self._route(delivery, position) if delivery.state.live and not staff else (),
            dropoff=None if staff else delivery.dropoff,
            history=seen.history,
            kitchen_history=seen.kitchen_history,
            code=delivery.code if viewer is Viewer.CUSTOMER and delivery.state.live else None,
        )

    def _eta(self, seen: Snapshot) -> datetime:
        """Never before now."""
        now, delivery = self._clock.now(), seen.delivery
        if seen.courier is None:
            return arrival_without_courier(delivery.ready_at, delivery.distance_m, now)
        found = arrivals(seen.courier, seen.carried, self._town.distance_m, now)
        return found.get(delivery.order_id, max(now, delivery.eta))

    def _route(self, delivery: Delivery, position: Position | None) -> tuple[Position, ...]:
        """By the streets: from the courier to the restaurant, if they have still to go there, and to the customer."""
        if delivery.state in BEFORE_PICKUP or delivery.state is State.WAITING:
            first = self._town.route(position, delivery.pickup).points if position else ()
            return (*first, *self._town.route(delivery.pickup, delivery.dropoff).points)
        return self._town.route(position or delivery.pickup, delivery.dropoff).points

    async def events(self, seen: Snapshot, viewer: Viewer, known: int | None) -> AsyncIterator[bytes]:
        """The delivery as it changes, and positions; ``known`` is the revision that the client has seen.

        A courier's stream ends when the delivery is no longer theirs.
        """
        delivery = seen.delivery
        change = Change(delivery.order_id, delivery.revision, seen, delivery.state.final)

        def encode(one: Change[Snapshot]) -> bytes:
            return event("state", self.document(one.content, viewer), one.version)

        first = change if known is None or known < delivery.revision else None
        self._clients[delivery.order_id] += 1
        self._follow(seen)
        try:
            async for sent in self.watchers.events(delivery.order_id, delivery.revision, encode, first):
                if viewer is Viewer.COURIER and not self._has_courier(delivery.order_id, delivery.courier_id):
                    return
                yield sent
        finally:
            self._unfollow(delivery.order_id)

    def _has_courier(self, order_id: UUID, courier_id: UUID | None) -> bool:
        """Whether a delivery that is watched has this courier still."""
        return self._watched[order_id].delivery.courier_id == courier_id

    async def _changes(self, known: Mapping[UUID, int]) -> list[Change[Snapshot]]:
        found = await self.snapshots(await self._deliveries.newer(known))
        for one in found:
            self._follow(one)
        return [Change(one.delivery.order_id, one.delivery.revision, one, one.delivery.state.final) for one in found]

    def _follow(self, seen: Snapshot) -> None:
        order_id = seen.delivery.order_id
        known = self._watched.get(order_id)
        if not self._clients[order_id] or (known and known.delivery.revision > seen.delivery.revision):
            return
        self._forget_courier(order_id)
        self._watched[order_id] = seen
        if seen.courier is not None and seen.delivery.state in CARRIED:
            self._orders_of[seen.courier.user_id].add(order_id)

    def _unfollow(self, order_id: UUID) -> None:
        self._clients[order_id] -= 1
        if not self._clients[order_id]:
            self._forget_courier(order_id)
            del self._clients[order_id]
            self._watched.pop(order_id, None)

    def _forget_courier(self, order_id: UUID) -> None:
        before = self._watched.get(order_id)
        if before is not None and before.courier is not None:
            orders = self._orders_of[before.courier.user_id]
            orders.discard(order_id)
            if not orders:
                del self._orders_of[before.courier.user_id]

    def moved(self, positions: Located) -> None:
        """Send the positions to those who watch deliveries of these couriers."""
        for courier_id, (position, at) in positions.items():
            for order_id in self._orders_of.get(courier_id, ()):
                seen = self._watched[order_id]
                assert seen.courier is not None  # noqa: S101 - only those with a courier are here
                now = replace(seen, courier=replace(seen.courier, position=position, fixed_at=at))
                self.watchers.send(order_id, event("position", position_document(position, at, self._eta(now))))

    async def page(self, state: State | None, before: tuple[datetime, UUID] | None, limit: int) -> list[Snapshot]:
        """Paid deliveries of all customers, the newest first."""
        return await self.snapshots(await self._deliveries.page(state, before, limit))

    async def jobs(self, courier: Courier) -> dict[str, Any]:
        """What the courier has to do, in the order of doing it."""
        carried = await repository.carried(self._deliveries.database, [courier.user_id])
        return self._jobs(courier, carried.get(courier.user_id, ()))

    def _jobs(self, courier: Courier, carried: Sequence[Delivery]) -> dict[str, Any]:
        etas = arrivals(courier, carried, self._town.distance_m, self._clock.now())
        live = sorted((one for one in carried if one.state is not State.HELD), key=lambda one: etas[one.order_id])
        items = [job_document(one, etas[one.order_id], self._to_next_stop(courier, one)) for one in live]
        return {"items": items, "revision": courier.revision}

    def _to_next_stop(self, courier: Courier, delivery: Delivery) -> tuple[Position, ...]:
        stop = next_stop(delivery)
        return self._town.route(courier.position or delivery.pickup, stop).points

    async def job_events(self, courier: Courier) -> AsyncIterator[bytes]:
        """The courier's jobs now and whenever they change."""

        def encode(one: Change[dict[str, Any]]) -> bytes:
            return event("jobs", one.content, one.version)

        first = Change(courier.user_id, courier.revision, await self.jobs(courier))
        async for sent in self.job_watchers.events(courier.user_id, courier.revision, encode, first):
            yield sent

    async def _job_changes(self, known: Mapping[UUID, int]) -> list[Change[dict[str, Any]]]:
        couriers = await self._couriers.newer(known)
        carried = await repository.carried(self._deliveries.database, [one.user_id for one in couriers])
        return [Change(one.user_id, one.revision, self._jobs(one, carried.get(one.user_id, ()))) for one in couriers]
