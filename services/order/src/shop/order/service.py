"""The use cases of orders. The customer's request drives the saga itself; recovery resumes it where that stops."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple, cast
from uuid import UUID

from shop.contracts.restaurant import WithdrawRequest, WithdrawStatus
from shop.kit import telemetry
from shop.kit.app import Context
from shop.kit.auth import Principal
from shop.kit.clock import Clock
from shop.kit.db import Record
from shop.kit.errors import Problem, Unavailable
from shop.kit.http import Clients
from shop.kit.idempotency import key_in_flight, key_reused
from shop.kit.ids import new_id
from shop.kit.logging import bind
from shop.kit.retention import Retention
from shop.kit.saga.engine import Progress, Rejected
from shop.kit.saga.recovery import SagaRecovery
from shop.kit.saga.runner import LeaseLost, SagaRun, SagaRunner
from shop.kit.saga.store import SagaLease
from shop.order import domain, errors, messages, metrics, retention_repository
from shop.order.domain import PLACE, IllegalTransition, Order, State, Subject
from shop.order.food_events import FoodEvents
from shop.order.food_saga import order_steps
from shop.order.food_schemas import FoodOrderRequest
from shop.order.food_turned_off import FoodReleases, OverdueFood
from shop.order.lifecycle import CANCELLED, OrderLifecycle, log_state
from shop.order.new_orders import new_order
from shop.order.participants import FoodParticipants, Participants
from shop.order.repository import OrderRepository
from shop.order.rows import NewOrder, OrderFilter, Stored
from shop.order.schemas import OrderRequest
from shop.order.settings import Settings
from shop.order.stream import order_watchers

log = logging.getLogger(__name__)

PARK_TIMEOUT_S = 1.0
"""Added to the inline budget: the time for releasing the saga before 202 is answered."""
READ_TIMEOUT_S = 1.0
INSERT_TIMEOUT_S = 3.0


class Answer(NamedTuple):
    """An HTTP status and the order to answer."""

    status: int
    order: Order


class OrderService:
    """The use cases; ``close`` is awaited when the application ends."""

    def __init__(
        self,
        settings: Settings,
        repository: OrderRepository,
        participants: Participants,
        runner: SagaRunner[Subject],
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._served = settings.store.served
        self._repository = repository
        self._participants = participants
        self._runner = runner
        self._clock = clock
        self.recovery = SagaRecovery(
            repository.sagas,
            runner,
            metrics.SAGAS,
            lease_s=settings.recovery_lease_s,
            poll_s=settings.recovery_poll_s,
            concurrency=settings.recovery_concurrency,
        )
        self.watchers = order_watchers(repository, settings)
        self.food_events: FoodEvents | None = None

    @classmethod
    def build(cls, context: Context) -> OrderService:
        """Also starts the loops: recovery, its measurements, and the poller of watched orders."""
        settings = cast(Settings, context.settings)
        owner = f"{os.uname().nodename}:{os.getpid()}:{new_id()}"
        repository = OrderRepository(context.database, context.outbox, owner, settings.inline_lease_s)
        participants = Participants(
            context.clients.get("product", settings.product_url),
            context.clients.get("pricing", settings.pricing_url),
            context.clients.get("payment", settings.payment_url),
            food_participants(settings, context.clients),
        )
        steps = order_steps(participants)
        metrics.SAGAS.expect((steps.retail, steps.food))
        metrics.expect(settings.store.currency)
        lifecycle = OrderLifecycle(steps, context.clock)
        retries = (settings.retry_first_s, settings.retry_max_s)
        runner = SagaRunner(repository.sagas, lifecycle, metrics.SAGAS, context.clock, *retries)
        service = cls(settings, repository, participants, runner, context.clock)
        if participants.food is not None:
            service.food_events = FoodEvents(
                context.database, context.clock, settings.food_poll_s, repository.sagas.due
            )
            context.tasks.start("food-events", service.food_events.run)
            context.tasks.start("food-releases", FoodReleases(context.database, participants.food).run)
        else:
            overdue = OverdueFood(context.database, context.clock, settings.food_deadline_s)
            context.tasks.start("food-turned-off", overdue.run)
        context.tasks.start("recovery", service.recovery.run)
        context.tasks.start("saga-metrics", service.recovery.measure)
        context.tasks.start("order-streams", service.watchers.run)
        rules = [retention_repository.rule(timedelta(days=settings.history_retention_days))]
        context.tasks.start("retention", Retention(context.database, context.clock, rules).run)
        return service

    async def close(self) -> None:
        await self._participants.close()
        await self._repository.close()

    async def place(self, person: Principal, request: OrderRequest | FoodOrderRequest, key: str) -> Answer:
        """201 with a confirmed or 202 with a pending order; the Problem of a rejected one.

        The same key with the same request gets the result of the first one, and orders nothing.
        """
        until = asyncio.get_running_loop().time() + self._settings.inline_budget_s
        order, digest = new_order(person, request, self._settings.store.currency, self._clock.now())
        bind(order_id=order.id)
        await self._check_acceptable(person, order, key)
        deadline_s = self._settings.saga_deadline_s if order.food is None else self._settings.food_deadline_s
        new = NewOrder(order, key, digest, telemetry.traceparent(), deadline_s)
        if not await self._insert(new):
            return await self._repeat(person, key, digest)
        metrics.count(order)
        subject, progress = Subject(order, new.traceparent), Progress(PLACE)
        run = SagaRun(order.id, order.kind, subject, 1, order.created_at, inline=True, progress=progress)
        await self._drive_until(run, until)
        return await self._answer(subject.order, run.refusal)

    async def _check_acceptable(self, person: Principal, order: Order, key: str) -> None:
        """Reject before anything is reserved; an order of this key that exists already keeps its answer."""
        refusal: Problem | None = None
        if order.food is not None and self._participants.food is None:
            refusal = errors.food_not_offered()
        elif order.country not in self._served:
            refusal = errors.country_not_served(order.country)
        elif order.expected_total:
            minimum = await self._participants.minimum_charge(order.currency)
            if order.expected_total < minimum:
                refusal = errors.below_minimum(minimum, order.currency)
        if refusal is not None and await self._repository.by_key(person.user_id, key) is None:
            raise refusal

    async def _insert(self, new: NewOrder) -> bool:
        """Nothing is acknowledged before this, so a slow database is a 503 and the customer may repeat the request."""
        try:
            async with asyncio.timeout(INSERT_TIMEOUT_S):
                return await self._repository.insert(new)
        except TimeoutError as error:
            raise Unavailable("database") from error

    async def _drive_until(self, run: SagaRun[Subject], until: float) -> None:
        """Drive until the request's deadline. The order is stored, so whatever fails from here on parks its saga."""
        try:
            async with asyncio.timeout_at(until):
                await self._runner.drive(run)
            return
        except LeaseLost:
            await self._reload(run)
            return
        except (TimeoutError, Unavailable, Problem) as error:
            log.warning("order %s is resumed later: %r", run.saga_id, error, extra={"event": "order_resumed_later"})
        except Exception:
            log.exception("order %s is resumed later", run.saga_id, extra={"event": "order_resumed_later"})
        await self._park(run)

    async def _park(self, run: SagaRun[Subject]) -> None:
        try:
            async with asyncio.timeout(PARK_TIMEOUT_S):
                await self._runner.park(run)
        except LeaseLost:
            await self._reload(run)
        except (TimeoutError, Unavailable, Problem) as error:
            log.warning(
                "order %s is resumed when its lease ends: %r", run.saga_id, error, extra={"event": "order_not_parked"}
            )

    async def _reload(self, run: SagaRun[Subject]) -> None:
        """Another worker, or a statement whose answer was lost, has changed the order: answer what it is now."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                run.subject.order = await self._repository.get(run.saga_id, None) or run.subject.order
        except (TimeoutError, Unavailable) as error:
            log.warning(
                "order %s could not be read again: %r", run.saga_id, error, extra={"event": "order_not_reloaded"}
            )

    async def _answer(self, order: Order, refusal: Rejected | None) -> Answer:
        if order.state is State.PENDING:
            return Answer(202, order)
        if order.state is State.REJECTED:
            raise errors.rejected(order.id, refusal or await self._repository.refusal(order.id))
        return Answer(201, order)

    async def _repeat(self, person: Principal, key: str, digest: bytes) -> Answer:
        stored = await self._repository.by_key(person.user_id, key)
        if stored is not None and stored.body_hash != digest:
            raise key_reused()
        if stored is None or stored.in_flight:
            raise key_in_flight()
        return await self._answer(as_first_answered(stored), stored.refusal)

    async def get(self, order_id: UUID, person: Principal) -> Order:
        """The person's order; an administrator may see every order. Problem 404 ``unknown_order``."""
        order = await self._repository.get(order_id, visible_to(person))
        if order is None:
            raise errors.not_found(order_id)
        return order

    async def page(self, user_id: UUID | None, only: OrderFilter, before: UUID | None, limit: int) -> Sequence[Order]:
        """Orders, newest first; those of all users when ``user_id`` is None."""
        return await self._repository.page(user_id, only, before, limit)

    async def resumable(self, order: Order, seen: int | None) -> int | None:
        """The version from which a stream of the order goes on; None where the changes since ``seen`` were removed."""
        if seen is None or not order.state.final or await self._repository.changes({order.id: seen}):
            return seen
        return None

    async def history(self, order_id: UUID) -> tuple[Record, list[Record]]:
        """The saga of an order and its transitions; Problem 404 ``unknown_order``."""
        found = await self._repository.history(order_id)
        if found is None:
            raise errors.not_found(order_id)
        return found

    async def retry(self, order_id: UUID) -> None:
        """Let recovery try the order's saga at once; Problem 404 ``unknown_order``, 409 ``not_waiting``."""
        await self.history(order_id)
        if not await self._repository.sagas.make_due(order_id):
            raise errors.not_waiting()

    async def cancel(self, order_id: UUID, person: Principal) -> Answer:
        """200 with the cancelled order, 202 while the refund or the restock is pending.

        Repeating it changes nothing. Problem 409 ``illegal_transition`` unless the order is pending or confirmed; see
        `_withdraw` for food.
        """
        until = asyncio.get_running_loop().time() + self._settings.inline_budget_s
        lease = await self._begin_cancel(order_id, person)
        if lease is None:
            return self._cancelled_already(await self.get(order_id, person))
        run = SagaRun.resume(lease, inline=True)
        await self._drive_until(run, until)
        return self._cancelled_already(run.subject.order)

    async def _begin_cancel(self, order_id: UUID, person: Principal) -> SagaLease[Subject] | None:
        """Confirmed is tried twice: the order may be confirmed between the first two statements."""
        arguments = (order_id, visible_to(person), self._clock.now(), telemetry.traceparent())
        return (
            await self._repository.cancel_confirmed(*arguments)
            or await self._repository.cancel_pending(*arguments, CANCELLED)
            or await self._repository.cancel_confirmed(*arguments)
            or await self._withdraw(order_id, person)
        )

    async def _withdraw(self, order_id: UUID, person: Principal) -> SagaLease[Subject] | None:
        """Cancel a confirmed order of food, if its kitchen agrees: Problem 409 ``kitchen_has_begun`` (an administrator
        cancels nevertheless) or ``already_picked_up``. In a shop whose food was turned off there is no kitchen to ask.

        When this process dies between the kitchen's answer and the cancellation, the event of the withdrawn ticket
        cancels the order (`food_events`).
        """
        order, food = await self.get(order_id, person), self._participants.food
        if order.food is None or order.state is not State.CONFIRMED or order.cancel_requested_at:
            return None
        if food is not None:
            request = WithdrawRequest(order_id=order_id, even_if_begun=person.role == "admin")
            match (await food.withdraw.call(request)).status:
                case WithdrawStatus.BEGUN:
                    raise errors.kitchen_has_begun()
                case WithdrawStatus.PICKED_UP:
                    raise errors.already_picked_up()
        arguments = (order_id, visible_to(person), self._clock.now(), telemetry.traceparent())
        return await self._repository.cancel_confirmed(*arguments, withdrawn=True)

    def _cancelled_already(self, order: Order) -> Answer:
        """A pending order that could not be claimed is being undone already."""
        if order.state is State.CANCELLED or (order.state, order.reason) == (State.REJECTED, CANCELLED.code):
            return Answer(200, order)
        if order.state is State.PENDING or (order.state is State.CONFIRMED and order.cancel_requested_at is not None):
            return Answer(202, order)
        if order.food is not None and order.state is State.FULFILLED:
            raise errors.already_picked_up()
        raise errors.illegal_transition(IllegalTransition(order.state, State.CANCELLED))

    async def move(self, order_id: UUID, person: Principal, after: State) -> Order:
        """Mark an order as fulfilled or delivered; Problem 409 ``illegal_transition`` from any other state.

        An order whose payment was refunded in full is not fulfilled: Problem 409 ``order_refunded``. Food is moved by
        its delivery alone, 409 ``moved_by_delivery``, unless the shop's food was turned off.
        """
        kinds: tuple[domain.Kind, ...] = ("retail", "food") if self._participants.food is None else ("retail",)
        if after is State.FULFILLED:
            order = await self.get(order_id, person)
            if order.kind not in kinds:
                raise errors.moved_by_delivery()
            can_be_fulfilled = order.state is State.CONFIRMED and order.cancel_requested_at is None
            if can_be_fulfilled and await self._participants.refunded_in_full(order.id):
                raise errors.refunded_in_full()
        before = next(state for state, following in domain.TRANSITIONS.items() if after in following)
        moved = await self._repository.move(
            order_id, before, after, self._clock.now(), telemetry.trace_id(), messages.moved, kinds
        )
        if moved is not None:
            metrics.count(moved)
            log_state(moved, admin_id=person.user_id)
            return moved
        order = await self.get(order_id, person)
        if order.kind not in kinds:
            raise errors.moved_by_delivery()
        if order.state is before:
            raise errors.being_cancelled()
        raise errors.illegal_transition(IllegalTransition(order.state, after))


def food_participants(settings: Settings, clients: Clients) -> FoodParticipants | None:
    """None in a shop without food."""
    if not (settings.restaurant_url and settings.delivery_url):
        return None
    return FoodParticipants(
        clients.get("restaurant", settings.restaurant_url), clients.get("delivery", settings.delivery_url)
    )


def visible_to(person: Principal) -> UUID | None:
    """Whose orders the person may see; None: those of all users."""
    return None if person.role == "admin" else person.user_id


def as_first_answered(stored: Stored) -> Order:
    """The order as it was when its saga ended: later changes do not change the answer to the first request."""
    order = stored.order
    if order.state in (State.PENDING, State.REJECTED) or stored.ended_at is None:
        return order
    changes: dict[str, Any] = {"cancel_requested_at": None, "reason": None, "version": 2, "refunded": 0}
    changes["food"] = order.food and order.food.as_confirmed()
    return replace(order, state=State.CONFIRMED, updated_at=stored.ended_at, **changes)
