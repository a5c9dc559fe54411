"""The repository alone: batches, and bad rows in them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest

from services.order.tests.conftest import ADDRESS, Shop
from shop.kit.batch import one_by_one_on_error
from shop.kit.ids import new_id
from shop.order.domain import Line, Order, State
from shop.order.repository import LIST_PENDING, OrderRepository
from shop.order.rows import NewOrder, OrderFilter

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new(key: str, **changed: object) -> NewOrder:
    line = Line(new_id(), 1)
    order = Order(new_id(), new_id(), "a@b", "Ada", [line], "EUR", ADDRESS, NOW, NOW, payment_token="tok")
    traceparent = f"00-{'ab' * 16}-{'cd' * 8}-00"
    return NewOrder(replace(order, **changed), key, b"hash", traceparent, 900.0)  # type: ignore[arg-type]


def repository_of(shop: Shop) -> OrderRepository:
    return shop.service._repository


async def test_a_row_that_the_database_refuses_fails_alone(shop: Shop) -> None:
    orders = repository_of(shop)
    good, bad, other = new("1"), new("2", kind="unknown"), new("3")
    results = await asyncio.gather(*(orders.insert(item) for item in (good, bad, other)), return_exceptions=True)
    assert isinstance(results[1], asyncpg.CheckViolationError)
    assert results[::2] == [True, True]
    stored = [await orders.get(item.order.id, None) for item in (good, bad, other)]
    assert [found is not None for found in stored] == [True, False, True]


async def test_of_two_equal_keys_in_one_batch_one_is_taken(shop: Shop) -> None:
    orders = repository_of(shop)
    user_id = new_id()
    batch = [new("same", user_id=user_id) for _ in range(10)]
    assert sorted(await asyncio.gather(*(orders.insert(item) for item in batch))) == [False] * 9 + [True]
    assert len(await shop.sql("SELECT FROM sagas JOIN orders ON id = order_id WHERE user_id = $1", user_id)) == 1


async def test_batches_with_the_same_keys_in_other_orders_do_not_deadlock(shop: Shop) -> None:
    orders = repository_of(shop)
    for _ in range(5):
        users = [new_id() for _ in range(60)]
        forward = [new("k", user_id=user_id) for user_id in users]
        backward = [new("k", user_id=user_id) for user_id in reversed(users)]
        one, other = await asyncio.gather(orders._insert(forward), orders._insert(backward))
        assert sum(one) + sum(other) == len(users)


async def test_an_error_of_a_single_row_is_raised() -> None:
    async def refuse(batch: Sequence[int]) -> list[bool]:
        raise ValueError(batch)

    with pytest.raises(ValueError, match="7"):
        await one_by_one_on_error(refuse)([7])


async def test_pending_orders_are_found_by_their_sagas_however_many_others_there_are(shop: Shop) -> None:
    orders, pending = repository_of(shop), [new("1"), new("2"), new("3")]
    for one in pending:
        await orders.insert(one)
    await shop.place()
    last, *older = [one.order.id for one in reversed(pending)]
    only = OrderFilter(State.PENDING)
    assert [order.id for order in await orders.page(None, only, None, 2)] == [last, older[0]]
    assert [order.id for order in await orders.page(None, only, last, 2)] == older
    connection = await asyncpg.connect(shop.database_url)
    await connection.execute("SET enable_seqscan = off")
    plan = await connection.fetch(f"EXPLAIN {LIST_PENDING}", None, 2)
    await connection.close()
    assert "sagas_due" in "\n".join(row[0] for row in plan)


async def test_waiting_sagas_are_counted(shop: Shop) -> None:
    orders = repository_of(shop)
    before = (await orders.sagas.waiting()).get("place", (0, 0.0))[0]
    await orders.insert(new("1"))
    count, oldest_s = (await orders.sagas.waiting())["place"]
    assert count == before + 1
    assert oldest_s >= 0
