"""What couriers do: shifts, and the steps of a delivery; and what happens to the deliveries of those who are lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shop.delivery import courier_repository, errors, metrics, repository
from shop.delivery.courier_repository import CourierRepository
from shop.delivery.dispatch import MAX_PLANNED, Dispatch
from shop.delivery.domain import (
    ACTIONS,
    BEFORE_PICKUP,
    MAX_WRONG_CODES,
    OFF_SHIFT,
    Action,
    Courier,
    Delivery,
    NotAllowed,
    State,
    Vehicle,
)
from shop.delivery.repository import Change, DeliveryRepository, Place
from shop.delivery.settings import Settings
from shop.kit.batch import Batcher
from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.kit.errors import Problem
from shop.kit.logging import decision
from shop.kit.tasks import poll

log = logging.getLogger(__name__)

MAX_ACTIONS_PER_BATCH = 64
MAX_LOST_COURIERS = 64
"""Couriers without a fix whose deliveries one pass takes back; the next one goes on."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a courier does with a delivery of theirs, or an administrator in place of the courier.

    ``code`` is the customer's, for `Action.DELIVER`; None: an administrator does without it.
    """

    order_id: UUID
    user_id: UUID
    action: Action
    code: str | None = ""
    by_admin: bool = False


class CourierWork:
    def __init__(
        self,
        settings: Settings,
        deliveries: DeliveryRepository,
        couriers: CourierRepository,
        dispatch: Dispatch,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._deliveries = deliveries
        self._couriers = couriers
        self._dispatch = dispatch
        self._clock = clock
        self._acting = Batcher(self._act, max_items=MAX_ACTIONS_PER_BATCH, max_inflight=1)
        self.woken = asyncio.Event()
        """Set when a courier has a fix again."""
        self._looked_at: Place | None = None
        """How far the checks of a long line have come; None: they begin at its head."""

    async def close(self) -> None:
        await self._acting.close()

    async def act(self, step: Step) -> Delivery:
        """The delivery after the action; doing the same again changes nothing.

        Problem 404 ``unknown_delivery``, 409 ``illegal_transition`` or ``not_ready``, 422 ``wrong_code``,
        429 ``too_many_wrong_codes``.
        """
        delivery = await self._acting.submit(step)
        if step.by_admin:
            message, order_id = "%s of order %s by an administrator", step.order_id
            decision(
                log, "delivery_moved_by_admin", message, step.action, order_id, order_id=order_id, admin_id=step.user_id
            )
        return delivery

    async def put_courier(self, user_id: UUID, name: str, vehicle: Vehicle) -> Courier:
        """Add or change a courier; Problem 409 ``courier_busy`` when they carry more than fits into the vehicle."""
        async with self._deliveries.deciding() as connection:
            if not await courier_repository.put(connection, user_id, name, vehicle, self._clock.now()):
                raise errors.courier_busy()
            await self._dispatch.take_up_line(connection, self._clock.now())
            return (await courier_repository.by_ids(connection, [user_id]))[user_id]

    async def set_shift(self, courier_id: UUID, on_shift: bool) -> Courier:
        """Begin or end the shift. What is not picked up goes to others; what is picked up stays theirs."""
        now = self._clock.now()
        async with self._deliveries.deciding() as connection:
            await courier_repository.set_shift(connection, courier_id, on_shift, now)
            if not on_shift:
                await self._take_back(connection, [courier_id], OFF_SHIFT, now)
            await self._dispatch.take_up_line(connection, now)
            return (await courier_repository.by_ids(connection, [courier_id]))[courier_id]

    async def run(self) -> None:
        """Check until cancelled: couriers who are lost, deliveries that waited too long, and the line."""
        await poll(self._check, self._settings.sweep_s, wake=self.woken)

    async def _check(self) -> int:
        """One pass; 0, so that the next one keeps its distance."""
        now = self._clock.now()
        await self._measure(now)
        lost_before = now - timedelta(seconds=self._settings.courier_lost_after_s)
        if not await self._deliveries.is_due(lost_before, self._dispatch.due_by(now)):
            return 0
        deadline = now - timedelta(seconds=self._settings.waiting_deadline_s)
        ready_before = deadline + timedelta(seconds=self._settings.courier_margin_s)
        async with self._deliveries.deciding() as connection:
            lost = await courier_repository.lost(connection, lost_before, MAX_LOST_COURIERS)
            await self._take_back(connection, [courier.user_id for courier in lost], "no_fix", now)
            self._looked_at = await self._dispatch.take_up_line(connection, now, self._looked_at)
            late = await repository.expired(connection, deadline, ready_before, MAX_PLANNED)
            failed: list[Change] = [(old, old.moved(State.FAILED, now, reason="no_courier")) for old in late]
            await self._dispatch.write(connection, failed, now)
        return 0

    async def _measure(self, now: datetime) -> None:
        fixed_since = now - timedelta(seconds=self._settings.fix_max_age_s)
        for fix, count in (await courier_repository.count_on_shift(self._deliveries.database, fixed_since)).items():
            metrics.COURIERS.labels(fix).set(count)
        metrics.WAITING.set(await repository.count_in_line(self._deliveries.database))

    async def _take_back(self, connection: Connection, courier_ids: Sequence[UUID], reason: str, now: datetime) -> None:
        carried = await repository.carried(connection, courier_ids)
        back = [one for held in carried.values() for one in held if one.state in BEFORE_PICKUP]
        await self._dispatch.write(connection, [(old, old.returned(now, reason)) for old in back], now)

    async def _act(self, steps: list[Step]) -> list[Delivery | BaseException]:
        now = self._clock.now()
        results: list[Delivery | BaseException | None] = [None] * len(steps)
        async with self._deliveries.deciding() as connection:
            left = list(enumerate(steps))
            while left:
                batch, left = _one_per_order(left)
                done = await self._act_once(connection, [step for _, step in batch], now)
                for (index, _), result in zip(batch, done, strict=True):
                    results[index] = result
            if any(step.action in (Action.DELIVER, Action.REJECT, Action.DROP) for step in steps):
                await self._dispatch.take_up_line(connection, now)
        return [result for result in results if result is not None]

    async def _act_once(
        self, connection: Connection, steps: Sequence[Step], now: datetime
    ) -> list[Delivery | BaseException]:
        """Steps of different deliveries."""
        known = await repository.by_ids(connection, [step.order_id for step in steps])
        decided = [_decide(known.get(step.order_id), step, now) for step in steps]
        changes = [(old, new) for old, new, _ in decided if old is not None and new is not None]
        given_back = [
            (old.order_id, old.courier_id)
            for old, new in changes
            if old.courier_id is not None and new.state is State.WAITING
        ]
        await repository.add_refusals(connection, given_back, now)
        written = {one.order_id: one for one in await self._dispatch.write(connection, changes, now)}
        for old, new in changes:
            if new.state is State.DELIVERED and old.state is not new.state and old.first_eta:
                metrics.arrived((now - old.first_eta).total_seconds())
        answers: list[Any] = [problem or written.get(old.order_id, old) for old, _, problem in decided]  # type: ignore[union-attr]
        return answers


def _decide(old: Delivery | None, step: Step, now: datetime) -> tuple[Delivery | None, Delivery | None, Problem | None]:
    """The delivery before and after the step (None: not theirs), and the problem if it is refused."""
    if old is None or old.state is State.HELD or not (step.by_admin or old.courier_id == step.user_id):
        return None, None, errors.unknown_delivery(step.order_id)
    if old.state is ACTIONS[step.action][1]:
        return old, old, None
    if step.action is Action.DELIVER and step.code is not None and old.state is State.ON_THE_WAY:
        until = old.locked_until(now)
        if until is not None:
            return old, old, errors.too_many_wrong_codes(until, now)
        if not old.has_code(step.code):
            wrong = replace(old.with_wrong_code(now), updated_at=now)
            return old, wrong, errors.wrong_code(MAX_WRONG_CODES - wrong.wrong_codes)
    try:
        return old, old.acted(step.action, now), None
    except NotAllowed as error:
        if error.code == "not_ready":
            return old, old, errors.not_ready()
        return old, old, errors.illegal_transition(old.state, list(old.allowed()))


def _one_per_order(
    steps: Sequence[tuple[int, Step]],
) -> tuple[list[tuple[int, Step]], list[tuple[int, Step]]]:
    """The first step of each delivery, and the others."""
    first: dict[UUID, tuple[int, Step]] = {}
    later = [numbered for numbered in steps if first.setdefault(numbered[1].order_id, numbered) is not numbered]
    return list(first.values()), later
