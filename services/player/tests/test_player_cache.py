"""Cached profiles: no read returns what was there before a write that was answered, and none fails without Valkey."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.player.tests.conftest import PATIENT_S, Start
from services.player.tests.player_service import RunningService, Someone, confirmed, deleted, received, unlocked
from shop.devkit import embedded
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id
from shop.kit.valkey import open_valkey
from shop.player import cache as cached
from shop.player.cache import CONNECTIONS, ProfileCache
from shop.player.consumers import consumers

WRITES = 12
FLUSHED_EVERY = 4
READERS = 2


async def name_of(service: RunningService, who: Someone) -> str:
    answer = await service.client.get(who.path)
    assert answer.status_code == 200, answer.text
    name: str = answer.json()["name"]
    return name


connect = partial(open_valkey, connections=CONNECTIONS, timeout_s=PATIENT_S)
"""As the service connects in tests."""


async def is_cached(valkey: Redis, who: Someone) -> bool:
    found = cast(bytes | None, await valkey.get(f"{cached.KEY_PREFIX}{who.id}"))
    return found is not None and found.startswith(cached.DOCUMENT_START)


@pytest.fixture
async def valkey(valkey_url: str) -> Any:
    client = connect(valkey_url)
    yield client
    await client.aclose()


async def test_a_profile_is_cached_for_an_hour_at_most(service: RunningService, valkey: Redis) -> None:
    who = await service.player()
    first = (await service.client.get(who.path)).json()
    assert await is_cached(valkey, who)
    await service.database.execute("UPDATE players SET name = 'Behind the back' WHERE id = $1", who.id)
    assert (await service.client.get(who.path)).json() == first
    assert 0 < await valkey.ttl(f"{cached.KEY_PREFIX}{who.id}") <= 3_600
    await service.change(who, private=True)
    assert (await service.client.get(who.path)).json()["name"] == "Private player"


async def test_no_read_is_older_than_an_answered_write(start: Start, service: RunningService) -> None:
    """Writes in one replica race reads in both; FLUSHALL comes in between."""
    who = await service.player()
    answered = 0
    reads = dict.fromkeys(range(2 * READERS), 0)
    stop = asyncio.Event()

    async def write(valkey: Redis) -> None:
        nonlocal answered
        for number in range(1, WRITES + 1):
            answer = await service.change(who, name=f"Name {number}")
            assert answer.status_code == 200
            answered = number
            if number % FLUSHED_EVERY == 0:
                await valkey.flushall()
        stop.set()

    async def read(number: int) -> None:
        at = replica if number % 2 else service
        while not stop.is_set():
            known = answered
            seen = await name_of(at, who)
            assert known == 0 or int(seen.split()[1]) >= known, f"{seen} after {known} was answered"
            reads[number] += 1

    async with start(url=service.context.settings.database_url) as replica:
        valkey = connect(service.context.settings.valkey_url)
        await asyncio.gather(write(valkey), *(read(number) for number in reads))
        assert await name_of(replica, who) == await name_of(service, who) == f"Name {WRITES}"
        assert min(reads.values()) > 0
        assert await is_cached(valkey, who)
        await valkey.aclose()


class Loading:
    """A database that answers when it is let."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.begun, self.let = asyncio.Event(), asyncio.Event()

    async def __call__(self, _: UUID) -> Mapping[str, Any]:
        found = self.document
        self.begun.set()
        await self.let.wait()
        return found


async def at_once(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return document


@pytest.mark.parametrize("moment", ["before the mark", "between mark and unmark"])
async def test_a_read_that_began_before_the_commit_is_not_kept(valkey: Redis, moment: str) -> None:
    profiles, player = ProfileCache(valkey), new_id()
    loading = Loading({"version": 1})
    mark = b""
    if moment != "before the mark":
        mark = await profiles.mark([player])
    reading = asyncio.create_task(profiles.read(player, loading))
    await loading.begun.wait()
    if moment == "before the mark":
        mark = await profiles.mark([player])
    await profiles.unmark([player], mark)
    loading.let.set()
    assert await reading == {"version": 1}
    assert await profiles.read(player, lambda _: at_once({"version": 2})) == {"version": 2}


async def test_a_read_whose_token_was_flushed_is_not_kept(valkey: Redis) -> None:
    profiles, player = ProfileCache(valkey), new_id()
    loading = Loading({"version": 1})
    reading = asyncio.create_task(profiles.read(player, loading))
    await loading.begun.wait()
    await valkey.flushall()
    loading.let.set()
    await reading
    assert await profiles.read(player, lambda _: at_once({"version": 2})) == {"version": 2}


async def test_what_was_kept_after_a_flushed_mark_is_removed(valkey: Redis) -> None:
    profiles, player = ProfileCache(valkey), new_id()
    mark = await profiles.mark([player])
    await valkey.flushall()
    assert await profiles.read(player, lambda _: at_once({"version": 1})) == {"version": 1}
    await profiles.unmark([player], mark)
    assert await profiles.read(player, lambda _: at_once({"version": 2})) == {"version": 2}


async def test_the_mark_of_another_write_stays(valkey: Redis) -> None:
    profiles, player = ProfileCache(valkey), new_id()
    first = await profiles.mark([player])
    await profiles.mark([player])
    await profiles.unmark([player], first)
    for version in (1, 2):
        found = await profiles.read(player, lambda _, version=version: at_once({"version": version}))  # type: ignore[misc]
        assert found == {"version": version}, "nothing is kept while a write is not committed"


async def test_an_event_makes_a_profile_new_also_when_its_mark_is_lost(service: RunningService, valkey: Redis) -> None:
    who = await service.player()
    assert (await service.client.get(who.path)).json()["xp"] == 0
    await service.take(confirmed(who))
    assert (await service.client.get(who.path)).json()["xp"] == 62
    for event in (confirmed(who), unlocked(who, "x", 5), deleted(who)):
        [consumer] = [one for one in consumers(service.service) if type(event) in one.types]
        assert consumer.after_commit is not None
        before = (await service.client.get(who.path)).json()
        async with service.database.transaction() as connection:
            await consumer.handle(connection, [received(event)])
            await valkey.flushall()
            assert (await service.client.get(who.path)).json() == before
        await consumer.after_commit([received(event)])
        assert (await service.client.get(who.path)).json() != before


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[embedded.Server]:
    server = embedded.start_valkey(tmp_path / "valkey")
    yield server
    server.stop()


async def test_without_valkey_everything_works_and_nothing_old_comes_back(
    start: Start, own_valkey: embedded.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "PAUSE_S", 0.1)
    async with start(valkey_url=own_valkey.url) as service:
        who, other = await service.player(), await service.player()
        assert await name_of(service, who) == await name_of(service, who)
        own_valkey.stop()
        answer = await service.change(who, name="Written without")
        assert answer.status_code == 200
        assert await name_of(service, who) == "Written without"
        assert (await service.play(other))["xp"] > 0
        await service.take(confirmed(who))
        own_valkey.start()
        assert await name_of(service, who) == "Written without"
        client = connect(own_valkey.url)
        await wait_until(lambda: not service.service._cache._unmarked)
        assert await name_of(service, who) == "Written without"
        await client.delete(*(f"{cached.KEY_PREFIX}{one.id}" for one in (who, other)))

        async def kept() -> bool:
            await name_of(service, who)
            return await is_cached(client, who)

        await wait_until(kept, what="profiles to be cached again")
        await client.aclose()


async def test_a_write_that_valkey_missed_is_never_undone_by_what_it_kept(
    monkeypatch: pytest.MonkeyPatch, own_valkey: embedded.Server
) -> None:
    """As soon as it answers again: before the mark is set, after it, and when there were too many marks to keep."""
    monkeypatch.setattr(cached, "MAX_UNMARKED", 2)
    monkeypatch.setattr(cached, "PAUSE_S", 0.0)
    client = connect(own_valkey.url)
    profiles, players = ProfileCache(client), [new_id() for _ in range(3)]

    async def read(player: UUID, version: int) -> Any:
        found = await profiles.read(player, lambda _: at_once({"version": version}))
        return found and found["version"]

    async def answers() -> bool:
        with contextlib.suppress(RedisError, OSError):
            return bool(await client.ping())
        return False

    async def miss(missed: Sequence[UUID]) -> None:
        own_valkey.stop()
        for player in missed:
            await profiles.mark([player])
        own_valkey.start()
        await wait_until(answers)

    assert [await read(player, 1) for player in players] == [await read(player, 2) for player in players] == [1, 1, 1]
    await miss(players[:1])
    assert [await read(player, 3) for player in players] == [3, 1, 1]
    await profiles.retry()
    assert [await read(player, 4) for player in players] == [4, 1, 1]
    await miss(players)
    assert [await read(player, 5) for player in players] == [5, 5, 5]
    await profiles.retry()
    assert profiles._usable(players[0])
    assert [await read(player, 6) for player in players] == [6, 6, 6]
    await client.aclose()
