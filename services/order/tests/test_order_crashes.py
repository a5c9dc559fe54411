"""Processes that die or lose their lease: another one completes their sagas, once."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.order.tests import conftest
from services.order.tests.conftest import Shop, Start
from services.order.tests.scripted_services import CHARGE, QUOTE, RELEASE, RESERVE, VOID, ScriptedServices
from shop.devkit.testing import wait_until
from shop.kit.errors import Unavailable
from shop.kit.ids import new_id
from shop.kit.saga.engine import Outcome
from shop.kit.saga.recovery import SagaRecovery
from shop.kit.saga.runner import LeaseLost, SagaRun
from shop.order import repository

DYING: dict[str, Any] = {"inline_lease_s": 0.3, "recovery_lease_s": 0.6, "recovery": False}
"""Of a process whose sagas others soon take over. It does not take over its own: it may be slower than its lease."""


class DyingDatabase:
    """Loses the database, permanently or ``once``, at its ``at``-th statement, before that is carried out or after.

    Only what stores an order or a decision is counted: the loops send statements at any time.
    """

    def __init__(self, real: Any, at: int, when: str, once: bool) -> None:
        self._once = once
        self._real = real
        self._at = at
        self._when = when
        self._count = 0
        self.dead = False

    @property
    def quick(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        async def statement(sql: str, *args: Any) -> Any:
            counted = sql in (repository.INSERT, repository.SAGAS.save, repository.CANCEL_CONFIRMED)
            self._count += counted
            last = counted and self._count == self._at
            if self.dead or (last and self._when == "before"):
                self.dead = True
                raise Unavailable("database")
            result = await method(sql, *args)
            if last:
                self.dead = not self._once
                raise Unavailable("database")
            return result

        return statement


def kill(shop: Shop, at: int, when: str, *, once: bool = False) -> None:
    orders: Any = shop.service._repository
    orders._database = orders.sagas._database = DyingDatabase(orders._database, at, when, once)


CASES = [
    ("confirmed", 1, {}, {}),
    ("confirmed", 2, {}, {}),
    ("rejected", 2, {"payment": {"token": "tok_declined"}}, {}),
    ("rejected", 3, {"payment": {"token": "tok_declined"}}, {}),
    ("confirmed", 2, {}, {QUOTE: ["503"]}),
    ("confirmed", 2, {}, {CHARGE: ["lost"]}),
    ("rejected", 2, {}, {CHARGE: ["lost", "reject"]}),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("state", "at", "changed", "faults"), CASES)
async def test_an_order_ends_whichever_statement_its_process_dies_at(
    start: Start,
    services: ScriptedServices,
    state: str,
    at: int,
    changed: dict[str, Any],
    faults: dict[str, list[str]],
    when: str,
) -> None:
    for path, scripted in faults.items():
        services.faults[path].extend(scripted)
    async with start(**DYING) as dying:
        kill(dying, at, when)
        first = await dying.place("key", coupon="SAVE1", **changed)
        async with start() as shop:
            shop.user_id, shop.headers = dying.user_id, dying.headers
            if at == 1:
                assert (first.status_code, first.json()["code"]) == (503, "database_unavailable")
            if at == 1 and when == "before":
                assert await shop.sql("SELECT FROM orders") == []
                return
            (row,) = await shop.sql("SELECT id FROM orders")
            order = await shop.until(str(row["id"]), state)
            if state == "confirmed":
                services.assert_reserved_and_charged(order)
            else:
                services.assert_no_effect_left(order["id"])
            again = await shop.place("key", coupon="SAVE1", **changed)
            assert again.status_code == (201 if state == "confirmed" else 402)
            assert len(await shop.sql("SELECT FROM orders")) == 1
            assert (await shop.events(order["id"]))[-1] == f"order.{state}.v1"
            assert (await shop.events(order["id"])).count(f"order.{state}.v1") == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2])
async def test_a_cancellation_ends_whichever_statement_its_process_dies_at(start: Start, at: int, when: str) -> None:
    async with start(**DYING) as dying:
        order = (await dying.place(coupon="SAVE1")).json()
        kill(dying, at, when)
        answer = await dying.post(order["id"], "cancel")
        assert answer.status_code in (202, 503)
        async with start() as shop:
            if at == 1 and when == "before":
                assert "cancel_requested_at" not in await shop.order(order["id"])
                shop.services.assert_reserved_and_charged(await shop.until(order["id"], "confirmed"))
                return
            await shop.until(order["id"], "cancelled")
            shop.services.assert_no_effect_left(order["id"])
            assert await shop.events(order["id"]) == ["order.confirmed.v1", "order.cancelled.v1"]


async def test_a_process_that_vanished_counts_as_having_done_every_step(
    start: Start, services: ScriptedServices
) -> None:
    """How far it came is unknown, so all of it is undone when the order is rejected later."""
    async with start(**DYING) as dying:
        kill(dying, 2, "before")
        order_id = (await dying.place(coupon="SAVE1")).json()["id"]
    services.faults[RESERVE].append("reject")
    async with start() as shop:
        await shop.until(order_id, "rejected")
        services.assert_no_effect_left(order_id)
        assert services.refunded[order_id] == services.captured[order_id]


async def waiting_order(shop: Shop) -> str:
    """A pending order that is due at once and that no worker holds."""
    shop.services.faults[CHARGE].append("pending")
    order_id: str = (await shop.place()).json()["id"]
    await shop.sql("UPDATE sagas SET due_at = now() - interval '1 second' WHERE order_id = $1", UUID(order_id))
    return order_id


async def test_recoveries_that_race_share_the_work(start: Start) -> None:
    async with start(recovery=False) as one, start(recovery=False) as two:
        order_ids = [await waiting_order(one) for _ in range(8)]
        before = one.services.calls_of(CHARGE)
        racers: list[SagaRecovery[Any]] = [shop.service.recovery for shop in (one, two, one, two)]
        claimed = await asyncio.gather(*(racer.claim_once() for racer in racers))
        for racer in racers:
            await racer.drain()
        assert sum(claimed) == len(order_ids)
        assert one.services.calls_of(CHARGE) - before == len(order_ids)
        for order_id in order_ids:
            assert (await one.order(order_id))["state"] == "confirmed"
            assert (await one.saga(order_id))["attempts"] == 2


async def test_a_claim_does_not_wait_for_another(start: Start) -> None:
    async with start(recovery=False) as shop:
        taken = await waiting_order(shop)
        connection = await asyncpg.connect(shop.database_url)
        async with connection.transaction():
            assert len(await connection.fetch(repository.SAGAS.claim, "other", 30.0, 10)) == 1
            left = await waiting_order(shop)
            claimed = await asyncio.wait_for(shop.service._repository.sagas.claim(10, 30.0), 5)
            assert [str(lease.saga_id) for lease in claimed] == [left]
        await connection.close()
        assert (await shop.saga(taken))["lease_owner"] == "other"


@pytest.mark.parametrize(("at", "status", "changed"), [(2, 201, {}), (3, 402, {"payment": {"token": "tok_declined"}})])
async def test_an_end_whose_answer_was_lost_is_found_and_answered(
    start: Start, at: int, status: int, changed: dict[str, Any]
) -> None:
    """The statement was carried out, only its answer is lost; releasing the saga must not start it again."""
    async with start(recovery=False) as shop:
        kill(shop, at, "after", once=True)
        answer = await shop.place("key", **changed)
        assert answer.status_code == status
        order_id = answer.json().get("id") or answer.json()["order_id"]
        assert (await shop.saga(order_id))["status"] == "done"
        assert len(await shop.events(order_id)) == 1


async def test_a_worker_that_lost_its_lease_changes_nothing(start: Start) -> None:
    async with start(recovery=False, recovery_lease_s=0.01) as shop:
        order_id = await waiting_order(shop)
        sagas, runner = shop.service._repository.sagas, shop.service._runner
        (slow,) = await sagas.claim(1, 0.01)
        await shop.sql("UPDATE sagas SET due_at = now(), deadline_at = now() WHERE order_id = $1", UUID(order_id))
        (quick,) = await sagas.claim(1, 30.0)
        assert quick.fence == slow.fence + 1
        await runner.drive(SagaRun.resume(quick))
        assert (await shop.order(order_id))["state"] == "rejected"
        before = await shop.saga(order_id)
        with pytest.raises(LeaseLost):
            await runner.drive(SagaRun.resume(slow))
        assert await shop.saga(order_id) == before
        assert (await shop.order(order_id))["state"] == "rejected"
        shop.services.assert_no_effect_left(order_id)
        assert (await shop.events(order_id)).count("order.rejected.v1") == 1
        assert "order.confirmed.v1" not in await shop.events(order_id)


@pytest.mark.parametrize("finding", ["confirmed", "refused", "waiting"])
async def test_a_worker_without_its_lease_stores_nothing_while_another_works(start: Start, finding: str) -> None:
    """Its result is right for what it knows, but it does not know what the other has done since."""
    async with start(recovery=False) as shop:
        order_id = await waiting_order(shop)
        sagas, runner = shop.service._repository.sagas, shop.service._runner
        (slow,) = await sagas.claim(1, 0.0)
        (quick,) = await sagas.claim(1, 30.0)
        assert (quick.saga_id, quick.outcome_uncertain, slow.outcome_uncertain) == (slow.saga_id, True, False)
        scripted = {"confirmed": {}, "refused": {RESERVE: ["reject"]}, "waiting": {CHARGE: ["pending"]}}[finding]
        for path, faults in scripted.items():
            shop.services.faults[path].extend(faults)
        before = await shop.saga(order_id)
        with pytest.raises(LeaseLost):
            await runner.drive(SagaRun.resume(slow))
        assert await shop.saga(order_id) == before
        assert await shop.events(order_id) == ["order.pending.v1"]
        await runner.drive(SagaRun.resume(quick))
        shop.services.assert_reserved_and_charged(await shop.until(order_id, "confirmed"))


@pytest.mark.parametrize("late", [RESERVE, CHARGE])
async def test_a_request_that_arrives_after_the_order_was_rejected_has_no_effect(start: Start, late: str) -> None:
    """One worker hangs before its request arrives; another rejects the order meanwhile."""
    async with start(recovery=False) as shop:
        shop.services.faults[RESERVE].append("lost")
        order_id = (await shop.place()).json()["id"]
        sagas, runner = shop.service._repository.sagas, shop.service._runner
        await shop.sql("UPDATE sagas SET due_at = now()")
        (slow,) = await sagas.claim(1, 30.0)
        shop.services.gates[late] = asyncio.Event()
        hanging = asyncio.create_task(runner.drive(SagaRun.resume(slow)))
        calls = shop.services.calls_of(late)
        await wait_until(
            lambda: shop.services.calls_of(late) > calls or (late == RESERVE and calls), what="the request"
        )
        await shop.sql("UPDATE sagas SET due_at = now(), deadline_at = now()")
        (quick,) = await sagas.claim(1, 30.0)
        await runner.drive(SagaRun.resume(quick))
        shop.services.gates[late].set()
        with pytest.raises(LeaseLost):
            await hanging
        assert (await shop.order(order_id))["state"] == "rejected"
        shop.services.assert_no_effect_left(order_id)


async def test_an_order_that_another_worker_confirms_is_confirmed_once(
    start: Start, services: ScriptedServices
) -> None:
    """The customer's own request lost its lease; it answers how far the other worker is."""
    services.gates[CHARGE] = asyncio.Event()
    async with start(recovery=False) as shop:
        placing = asyncio.create_task(shop.place())
        await wait_until(lambda: services.calls_of(CHARGE), what="the charge")
        await shop.sql("UPDATE sagas SET due_at = now()")
        (other,) = await shop.service._repository.sagas.claim(1, 30.0)
        assert other.outcome_uncertain
        driving = asyncio.create_task(shop.service._runner.drive(SagaRun.resume(other)))
        await wait_until(lambda: services.calls_of(RESERVE) == 2, what="the other worker's first step")
        services.gates[CHARGE].set()
        await driving
        answer = await placing
        order = await shop.order(other.saga_id.hex)
        assert order["state"] == "confirmed"
        assert (answer.status_code, answer.json()["state"]) in ((201, "confirmed"), (202, "pending"))
        services.assert_reserved_and_charged(order)
        assert await shop.events(order["id"]) == ["order.confirmed.v1"]


async def test_attempts_are_interrupted_and_released_at_shutdown(
    start: Start, services: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "CALL_TIMEOUT_S", 2.0)  # the end waits for the call
    async with start() as shop:
        services.gates[CHARGE] = asyncio.Event()
        services.faults[RESERVE].append("503")
        order_id = (await shop.place()).json()["id"]
        await wait_until(lambda: services.calls_of(CHARGE), what="the charge")
    services.gates[CHARGE].set()
    async with start() as shop:
        saga = await shop.saga(order_id)
        assert not saga["doubtful"]
        assert Outcome.UNKNOWN in saga["history"]
        await shop.until(order_id, "confirmed")
        assert services.calls_of(VOID) + services.calls_of(RELEASE) == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [("pending", "cancelled"), ("pending", "fulfilled"), ("confirmed", "rejected"), ("confirmed", "confirmed")],
)
async def test_the_database_itself_refuses_an_illegal_transition(shop: Shop, before: str, after: str) -> None:
    order_id = new_id()
    await shop.sql(
        "INSERT INTO orders (id, user_id, email, customer_name, kind, lines, currency, address, country, "
        "idempotency_key, body_hash, created_at, updated_at) "
        "VALUES ($1, $1, '', '', 'retail', '[]', 'EUR', '{}', 'GB', 'k', '', now(), now())",
        order_id,
    )
    if before == "confirmed":
        await shop.sql(
            "UPDATE orders SET state = 'confirmed', version = 2, subtotal = 0, discount = 0, tax = 0, shipping = 0, "
            "total = 0 WHERE id = $1",
            order_id,
        )
    with pytest.raises(Exception, match="cannot go from"):
        await shop.sql("UPDATE orders SET state = $2, version = version + 1 WHERE id = $1", order_id, after)
