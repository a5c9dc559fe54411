"""Nothing stays of a deleted user, in whatever order things happen."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import pytest

from services.achievement.tests.achievement_service import (
    NOON,
    RunningService,
    cancelled,
    changed,
    confirmed,
    deleted,
    gained,
    received,
    scored,
    send,
)
from shop.contracts.events import UserDeleted
from shop.devkit.testing import wait_until
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.ids import new_id

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
ROWS = """
SELECT (SELECT count(*) FROM players WHERE player_id = $1) + (SELECT count(*) FROM facts WHERE player_id = $1)
    + (SELECT count(*) FROM orders WHERE player_id = $1) + (SELECT count(*) FROM unlocked WHERE player_id = $1)"""

Step = Callable[[RunningService, UUID], Awaitable[object]]


async def order(service: RunningService, player: UUID) -> None:
    one = confirmed(player, "tea")
    await service.take(one, cancelled(one))


STEPS: dict[str, Step] = {
    "profile": lambda service, player: service.take(changed(player, 1, "ada@example.com")),
    "round": lambda service, player: service.take(scored(player, 10), gained(player, level=3)),
    "call": lambda service, player: service.evaluate(scored(player, 10), new_id()),
    "order": order,
    "server": lambda service, player: service.unlock(player, "tournament"),
    "delete": lambda service, player: service.take(deleted(player)),
}


@pytest.mark.parametrize("last", [0, 2, 5])
async def test_nothing_stays_and_nothing_comes_back(service: RunningService, last: int) -> None:
    """The deletion first, in the middle, and at the end; and everything once more after it."""
    ada, bob = new_id(), new_id()
    names = [name for name in STEPS if name != "delete"]
    names.insert(last, "delete")
    for name in itertools.chain(names, STEPS):
        await STEPS[name](service, ada)
        if name != "delete":
            await STEPS[name](service, bob)
    assert await service.database.fetchval(ROWS, ada) == 0
    unlocked = {"score-10", "sum-25", "rounds-3", "level-3", "order", "both", "tournament"}
    assert set(await service.unlocked(bob)) == unlocked


async def test_a_deleted_user_unlocks_nothing_that_others_hear_of(service: RunningService) -> None:
    ada = new_id()
    await service.take(deleted(ada), changed(ada, 1, "ada@example.com"))
    assert await service.evaluate(scored(ada, 30, seconds=5), new_id()) == []
    answer = await service.unlock(ada, "tournament")
    assert (answer["problem"], answer["achievement"]["unlocked_at"]) == (None, None)
    assert await service.announced() == []


async def delete_in(connection: Connection, service: RunningService, events: Sequence[Received]) -> None:
    await service.consumer(UserDeleted).handle(connection, events)


@pytest.mark.parametrize("step", ["profile", "round", "call", "server"])
async def test_a_change_waits_for_a_deletion_and_then_stores_nothing(service: RunningService, step: str) -> None:
    ada = new_id()
    async with service.database.transaction() as connection:
        await delete_in(connection, service, [received(deleted(ada))])
        second = asyncio.ensure_future(STEPS[step](service, ada))
        await wait_until(lambda: second.done() or service.database.fetchval(WAITING))
    await second
    assert await service.database.fetchval(ROWS, ada) == 0


@pytest.mark.parametrize("known", [False, True])
async def test_a_deletion_waits_for_a_change_and_takes_what_it_stored(service: RunningService, known: bool) -> None:
    ada = new_id()
    if known:
        await service.take(scored(ada, 1))
    async with service.database.transaction() as connection:
        await service.service.facts.handle(connection, [received(scored(ada, 10))])
        second = asyncio.ensure_future(service.take(deleted(ada)))
        await wait_until(lambda: second.done() or service.database.fetchval(WAITING))
        assert not second.done()
    await second
    assert await service.database.fetchval(ROWS, ada) == 0


async def test_deletions_come_by_the_broker(service: RunningService) -> None:
    ada, bob = new_id(), new_id()
    await service.take(scored(ada, 10), scored(bob, 10))
    await wait_until(lambda: service.context.bus.connected)
    await send(service, "user", received(deleted(ada)))
    await wait_until(lambda: service.database.fetchval("SELECT count(*) = 1 FROM players"))
    assert (await service.database.fetchval(ROWS, ada), await service.unlocked(bob)) == (0, ["score-10"])
    digests = await service.database.fetchval("SELECT count(*) FROM deleted_user_digest WHERE deleted_at = $1", NOON)
    assert digests == 1
