"""The model: trained by one replica at a time, stored, and the same on every replica."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from services.recommendation.tests.recommending import Replica, Shop, confirmed, ids
from shop.devkit.testing import WAIT_TIMEOUT_S, Logged, wait_until
from shop.kit.clock import FixedClock
from shop.kit.ids import new_id
from shop.recommendation import trainer
from shop.recommendation.model_repository import ModelRepository, NewModel
from shop.recommendation.repository import Order
from shop.recommendation.trainer import Models
from shop.recommendation.training import train


async def some_orders(shop: Shop, user: UUID) -> list[UUID]:
    books = await shop.products.add_many(8)
    await shop.catalogue_is_read()
    orders = [confirmed(new_id(), *books[start : start + 3]) for start in range(5) for _ in range(2)]
    await shop.learn(*orders, confirmed(user, books[0], books[5]))
    return books


async def answers(replica: Replica, user: UUID, product: UUID) -> list[bytes]:
    found = [await replica.recommend(user), await replica.similar(product), await replica.together([product])]
    return [one.SerializeToString(deterministic=True) for part in found for one in part]


async def test_two_replicas_give_the_same_bytes(shop: Shop, user: UUID) -> None:
    await shop.start()
    books = await some_orders(shop, user)
    first, second = shop.replicas
    assert first.service.loaded.version == second.service.loaded.version > 0
    assert first.service.loaded.model.to_bytes() == second.service.loaded.model.to_bytes()
    expected = await answers(first, user, books[1])
    assert len(expected) == 6 + 7 + 7
    assert await answers(second, user, books[1]) == expected


async def test_model_is_there_at_once_after_a_restart(stopped_shop: Shop, user: UUID) -> None:
    await stopped_shop.start()
    books = await some_orders(stopped_shop, user)
    expected, version = await answers(stopped_shop.replica, user, books[1]), stopped_shop.replica.service.loaded.version
    await stopped_shop.stop()
    await stopped_shop.start()
    assert stopped_shop.replica.service.loaded.version == version
    assert await answers(stopped_shop.replica, user, books[1]) == expected


async def test_new_order_is_learned_without_a_restart(shop: Shop, user: UUID) -> None:
    books = await some_orders(shop, user)
    before = shop.replica.service.loaded.version
    await shop.learn(*(confirmed(new_id(), books[0], books[7]) for _ in range(9)))
    assert shop.replica.service.loaded.version > before
    assert ids(await shop.replica.together([books[0]]))[0] == books[7]


async def test_unchanged_purchases_are_not_trained_again(shop: Shop, user: UUID, logged: Logged) -> None:
    await some_orders(shop, user)
    trained = len(logged(event="model_trained"))
    assert trained >= 1
    for _ in range(3):
        assert not await shop.replica.service.models.step(0)
    assert len(logged(event="model_trained")) == trained


def trainer_of(shop: Shop, clock: FixedClock | None = None) -> Models:
    """Another replica's, which is driven by the test."""
    database = shop.replica.context.database
    repository = ModelRepository(database)
    return Models(repository, clock or shop.replica.service.clock, lambda: None)


async def test_one_replica_trains_at_a_time(shop: Shop, user: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    other = trainer_of(shop)
    began, proceed = asyncio.Event(), asyncio.Event()
    trained: list[float] = []
    original = train

    def slow(*arguments: object) -> object:
        trained.append(1)
        loop.call_soon_threadsafe(began.set)
        asyncio.run_coroutine_threadsafe(proceed.wait(), loop).result()
        return original(*arguments)  # type: ignore[arg-type]

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(trainer, "train", slow)
    await shop.publish(confirmed(user, new_id()))
    await began.wait()
    async with asyncio.timeout(WAIT_TIMEOUT_S):
        assert not await other.step(0)
    assert trained == [1]
    proceed.set()
    await shop.replica.up_to_date()


async def test_trainer_whose_lease_was_lost_stores_nothing(shop: Shop, user: UUID) -> None:
    await some_orders(shop, user)
    repository = ModelRepository(shop.replica.context.database)
    stored = await repository.newest()
    assert stored is not None
    fence = await wait_until(lambda: repository.lease(new_id(), 0.0))
    assert await wait_until(lambda: repository.lease(new_id(), 60.0)) == fence + 1
    old = NewModel(0, stored.trained_at, 0.1, 1, b"from a trainer that was away")
    assert not await repository.renew(fence, 60.0)
    assert not await repository.store(fence, old)
    newest = await repository.newest()
    assert newest == stored
    assert await repository.store(fence + 1, old)


async def test_training_pauses_unless_the_pause_is_over(shop: Shop, user: UUID) -> None:
    await some_orders(shop, user)
    await shop.replica.context.tasks.stop()
    newest = await ModelRepository(shop.replica.context.database).newest()
    assert newest is not None
    clock = FixedClock(newest.trained_at)
    other = trainer_of(shop, clock)
    database, purchases = shop.replica.context.database, shop.replica.service.purchases
    await database.execute("UPDATE training SET leased_until = now()")  # the replica may have stopped while it trained
    async with database.transaction() as connection:
        await purchases.take_turn(connection, clock.now())
        await purchases.add(connection, [Order(new_id(), user, clock.now(), [new_id()])])
    assert not await other.step(5.0)
    clock.advance(60.0)
    assert await other.step(5.0)
    assert other.current.orders == 12


async def test_only_the_newest_models_are_kept(shop: Shop, user: UUID) -> None:
    for _ in range(4):
        await shop.buy(user, new_id())
    assert await shop.rows("models") == 2


async def test_model_that_cannot_be_read_leaves_the_one_in_use(shop: Shop, user: UUID, logged: Logged) -> None:
    books = await some_orders(shop, user)
    version, expected = shop.replica.service.loaded.version, await answers(shop.replica, user, books[1])
    database = shop.replica.context.database
    await database.execute(
        "INSERT INTO models (revision, trained_at, training_seconds, orders, content)"
        " SELECT revision, trained_at, 0, 1, 'of another release' FROM models ORDER BY version DESC LIMIT 1"
    )
    await wait_until(lambda: [line for line in logged() if "cannot be read" in line["message"]])
    assert shop.replica.service.loaded.version == version
    assert await answers(shop.replica, user, books[1]) == expected


async def test_digests_of_deleted_customers_are_forgotten_after_a_month(shop: Shop) -> None:
    database = shop.replica.context.database
    now = shop.replica.service.clock.now()
    for age_days, digest in ((31, b"old"), (29, b"new")):
        await database.execute(
            "INSERT INTO deleted_customers (digest, deleted_at) VALUES ($1, $2)", digest, now - timedelta(days=age_days)
        )
    await shop.start()
    digests = "SELECT array_agg(digest) FROM deleted_customers"

    async def forgotten() -> bool:
        return bool(await database.fetchval(digests) == [b"new"])

    await wait_until(forgotten)
