"""Nothing stays of a deleted user, in whatever order things happen."""

from __future__ import annotations

import asyncio
import itertools

from services.player.tests.player_service import (
    PLAYERS,
    RunningService,
    Someone,
    confirmed,
    deleted,
    received,
    registered,
    unlocked,
)
from shop.contracts.events import UserDeleted
from shop.devkit.testing import wait_until
from shop.kit.db import Connection
from shop.player.consumers import consumers

TABLES = ("players", "ledger", "days", "results", "game_totals", "rewards", "friends", "posted_scores")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def rows(service: RunningService) -> dict[str, int]:
    """The number of rows of each table that has some."""
    counted = {table: await service.database.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}
    return {table: count for table, count in counted.items() if count}


async def delete_in(connection: Connection, service: RunningService, who: Someone) -> None:
    [consumer] = [one for one in consumers(service.service) if UserDeleted in one.types]
    await consumer.handle(connection, [received(deleted(who))])


async def test_everything_of_the_player_leaves_and_the_profile_with_it(service: RunningService) -> None:
    who, friend = await service.player(), await service.player()
    await service.play(who)
    await service.take(unlocked(who, "many", 3_000))
    await service.take(confirmed_order := confirmed(who))
    for one, other in ((who, friend), (friend, who)):
        await service.client.put(f"{PLAYERS}/me/friends/{other.id}", headers=one.headers)
    headers = service.tokens.headers("admin") | {"Idempotency-Key": "1"}
    posted = await service.client.post(f"{who.path}/scores", json={"board": "quiz", "score": 5}, headers=headers)
    assert posted.status_code == 201
    assert set(await rows(service)) == set(TABLES)
    assert (await service.client.get(who.path)).status_code == 200
    await service.take(deleted(who))
    assert await rows(service) == {"players": 1}
    gone = await service.client.get(who.path)
    assert (gone.status_code, gone.json()["code"]) == (404, "unknown_player")
    assert confirmed_order.user_id == who.id


async def test_no_order_of_events_leaves_anything(service: RunningService) -> None:
    for order_of in itertools.permutations(["registered", "confirmed", "unlocked", "deleted"]):
        who = service.someone()
        made = {
            "registered": registered(who),
            "confirmed": confirmed(who),
            "unlocked": unlocked(who, "x", 5),
            "deleted": deleted(who),
        }
        for name in order_of:
            await service.take(made[name])
        assert await rows(service) == {}, order_of


async def test_a_batch_keeps_what_is_of_others(service: RunningService) -> None:
    who, other = service.someone(), service.someone()
    await service.take(deleted(who))
    await service.take(confirmed(who), confirmed(other))
    assert await rows(service) == {"players": 1, "ledger": 1, "days": 1}
    assert await service.ledger(other)


async def test_a_deleted_user_is_not_created_again_by_a_token_that_is_still_good(service: RunningService) -> None:
    who = await service.player()
    session = await service.open(who)
    await service.take(deleted(who))
    requests = [
        service.client.get(f"{PLAYERS}/me", headers=who.headers),
        service.change(who, name="Back again"),
        service.finish(who, session, [0]),
        service.client.get(f"{PLAYERS}/me/ledger", headers=who.headers),
        service.client.post("/api/v1/games/stack/sessions", headers=who.headers),
    ]
    for request in requests:
        answer = await request
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_player")
    assert await rows(service) == {}


async def test_a_first_request_and_a_deletion_at_the_same_time_see_each_other(service: RunningService) -> None:
    who = service.someone()
    async with service.database.transaction() as connection:
        await delete_in(connection, service, who)
        asking = asyncio.ensure_future(service.client.get(f"{PLAYERS}/me", headers=who.headers))
        await wait_until(lambda: asking.done() or service.database.fetchval(WAITING))
    assert (await asking).status_code == 404
    assert await rows(service) == {}


async def test_an_order_and_a_deletion_at_the_same_time_see_each_other(service: RunningService) -> None:
    for first in ("order", "deletion"):
        who = await service.player()
        async with service.database.transaction() as connection:
            if first == "order":
                await service.service.ledger.add_orders(connection, [confirmed(who)], [])
                second = asyncio.ensure_future(service.take(deleted(who)))
            else:
                await delete_in(connection, service, who)
                second = asyncio.ensure_future(service.take(confirmed(who)))
            await wait_until(lambda done=second: done.done() or service.database.fetchval(WAITING))  # type: ignore[misc]
        await second
        assert await rows(service) == {}, first


async def test_orders_and_deletions_of_many_end(service: RunningService) -> None:
    people = [await service.player() for _ in range(6)]
    orders = [service.take(*(confirmed(who) for who in group)) for group in itertools.permutations(people, 2)]
    await asyncio.gather(*orders, *(service.take(deleted(who)) for who in people[:3]))
    assert (await rows(service))["players"] == 3


async def test_a_deletion_by_the_broker(service: RunningService) -> None:
    who = await service.player()
    await wait_until(lambda: service.context.bus.connected)
    await service.send("user", deleted(who))
    await wait_until(lambda: service.database.fetchval("SELECT count(*) = 0 FROM players"))
