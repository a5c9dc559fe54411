"""The cache: lost, wrong, late or away, the answers are right, and it is written anew while it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from services.leaderboard.tests.boards_by_hand import NOON, Boards, cancelled, changed, confirmed, deleted, scored
from services.leaderboard.tests.conftest import Start
from shop.devkit import embedded
from shop.devkit.testing import wait_until
from shop.kit.errors import Unavailable
from shop.kit.events import EventData, Received
from shop.kit.ids import new_id
from shop.leaderboard import epochs, keeper
from shop.leaderboard.cache import BoardCache
from shop.leaderboard.standing_repository import Entry

PLAYERS = 12
ROUNDS = 8


async def keys(boards: Boards) -> list[bytes]:
    return sorted(await boards.service._cache._valkey.keys("leaderboard:*"))


async def filled(boards: Boards, players: int = PLAYERS) -> list[UUID]:
    """So many players, the last one with the highest score."""
    made = [new_id() for _ in range(players)]
    await boards.take_batch([changed(player) for player in made])
    await boards.take_batch([scored(player, number) for number, player in enumerate(made, 1)])
    await boards.wait_cached("stack", "stack-daily", "stack-weekly")
    return made


def standing(players: Sequence[UUID]) -> list[tuple[int, UUID, int]]:
    count = len(players)
    return [(rank, player, count + 1 - rank) for rank, player in enumerate(reversed(players), 1)]


async def test_answers_are_right_while_everything_is_flushed(boards: Boards) -> None:
    """Each read is from a time after the write that was answered before."""
    players = await filled(boards)
    flush = boards.service._cache._valkey.flushall
    flushes = 0

    async def lose() -> None:
        nonlocal flushes
        for _ in range(ROUNDS):
            await flush()
            flushes += 1
            await asyncio.sleep(0)

    async def write_and_read(index: int) -> None:
        for number in range(ROUNDS):
            score = 1_000 * (number + 1) + index
            standings = await boards.record(scored(players[index], score))
            assert standings[0]["score"] == score
            found = await boards.rank("stack", players[index])
            assert found["score"] == score
            rows = await boards.rows("stack")
            assert sorted(rows, key=lambda row: -row[2]) == rows
            assert len(rows) == PLAYERS

    await asyncio.gather(lose(), *(write_and_read(index) for index in range(4)))
    assert flushes == ROUNDS
    await boards.wait_cached("stack")
    expected = [(players[index], 1_000 * ROUNDS + index) for index in (3, 2, 1, 0)]
    assert [(player, score) for _, player, score in (await boards.rows("stack"))[:4]] == expected


async def test_a_crash_between_commit_and_cache_is_repaired_by_the_redelivery(
    boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    player, other = await filled(boards, 2)
    order = new_id()
    events: list[EventData] = [scored(player, 50), confirmed(player, 9_00), confirmed(player, 5_00, order)]
    events += [cancelled(player, order), changed(other, "Bo", 2, private=True)]
    await boards.wait_cached("buyers")

    async def crash(_: BoardCache, __: Sequence[Entry]) -> set[Any]:
        raise asyncio.CancelledError

    for event in events:
        received = [Received(new_id(), event.TYPE, NOON, "", "", event)]
        with monkeypatch.context() as patch:
            patch.setattr(BoardCache, "apply", crash)
            with pytest.raises(asyncio.CancelledError):
                await boards.inbox.process(boards.consumer_of(event), received)
        assert await boards.inbox.process(boards.consumer_of(event), received) == 0
    assert [await boards.cached("stack"), await boards.cached("buyers")] == [True, True]
    assert await boards.rows("stack") == [(1, player, 50)]
    assert await boards.rows("buyers") == [(1, player, 9)]


async def test_a_crash_before_a_deleted_player_left_the_cache_is_repaired(
    boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    players = await filled(boards)
    event = deleted(players[0])
    received = [Received(new_id(), event.TYPE, event.occurred_at, "", "", event)]

    async def crash(*_: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(BoardCache, "remove", crash)
        with pytest.raises(asyncio.CancelledError):
            await boards.inbox.process(boards.consumer_of(event), received)
    assert players[0] not in [player for _, player, _ in await boards.rows("stack")]
    await boards.inbox.process(boards.consumer_of(event), received)
    key = boards.key("stack")
    stored = await boards.service._cache.stored(key, [players[0]])
    assert stored is not None
    assert (stored.total, stored.revisions) == (PLAYERS - 1, [None])


async def test_a_change_that_the_cache_did_not_take_is_seen(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> None:
    players = await filled(boards)

    async def away(*_: Any) -> set[Any]:
        raise Unavailable("cache")

    with monkeypatch.context() as patch:
        patch.setattr(BoardCache, "apply", away)
        await boards.take(scored(players[0], 100))
    assert (await boards.rows("stack"))[0] == (1, players[0], 100)
    await boards.wait_cached("stack")
    assert (await boards.rows("stack"))[0] == (1, players[0], 100)


async def test_a_late_write_of_an_old_revision_changes_nothing(boards: Boards) -> None:
    players = await filled(boards)
    key = boards.key("stack")
    (old,) = await boards.service._standings.exact([(key, players[0])])
    await boards.take(scored(players[0], 100))
    await boards.service._cache.apply([old])
    assert (await boards.rows("stack"))[0] == (1, players[0], 100)
    await boards.take(changed(players[0], "Ada", 2, private=True))
    await boards.service._cache.apply([old])
    await boards.take(deleted(players[1]))
    await boards.service._cache.apply([old._replace(player_id=players[1], revision=99)])
    expected = [(rank, player, score) for rank, player, score in standing(players) if player in players[2:]]
    assert await boards.rows("stack") == expected
    assert await boards.cached("stack")
    stored = await boards.service._cache.stored(key, players[:2])
    assert stored is not None
    assert stored.total == len(expected)


async def test_changes_during_a_rebuild_are_in_what_it_writes(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of players before and after the page that is being read; one is deleted, one becomes private."""
    monkeypatch.setattr(keeper, "PAGE_ENTRIES", 2)
    players = await filled(boards)
    by_id = sorted(players)
    fill = BoardCache.fill
    steps = [
        lambda: boards.take(scored(by_id[0], 500)),
        lambda: boards.take(scored(by_id[-1], 400)),
        lambda: boards.take(deleted(by_id[5])),
        lambda: boards.take(changed(by_id[7], "Ada", 2, private=True)),
    ]

    async def fill_after_a_change(self: BoardCache, *arguments: Any) -> bool:
        if steps:
            await steps.pop(0)()
        return await fill(self, *arguments)

    await boards.service.keeper._epochs.raise_all([boards.key("stack").board_id])
    monkeypatch.setattr(BoardCache, "fill", fill_after_a_change)
    assert await boards.service.keeper.rebuild(boards.key("stack"))
    assert not steps
    assert await boards.cached("stack")
    rows = await boards.rows("stack")
    assert rows[:2] == [(1, by_id[0], 500), (2, by_id[-1], 400)]
    assert {player for _, player, _ in rows} == set(players) - {by_id[5], by_id[7]}
    assert await boards.service.keeper.compare_season(boards.key("stack"))


async def test_two_rebuilds_at_once_leave_one_right_board_and_no_other_keys(boards: Boards) -> None:
    players = await filled(boards)
    key = boards.key("stack")
    board = f"{{{key.board_id}:{key.season}}}".encode()
    before = [name for name in await keys(boards) if board in name]
    done = await asyncio.gather(*(boards.service.keeper.rebuild(key) for _ in range(4)))
    assert sorted(done) == [False, False, False, True]
    assert await boards.rows("stack") == standing(players)
    assert len([name for name in await keys(boards) if board in name]) == len(before)


async def test_a_process_that_was_overtaken_does_not_switch(boards: Boards) -> None:
    players = await filled(boards)
    cache, key = boards.service._cache, boards.key("stack")
    server = await cache.server()
    await cache.begin(key, "slow", 1)
    entries = await boards.service._standings.page(key, keeper.NO_PLAYER, 100)
    assert await cache.fill(key, "slow", entries[:3])
    await cache.begin(key, "fast", 1)
    assert not await cache.fill(key, "slow", entries[3:])
    assert not await cache.switch(key, "slow", server, None)
    assert await boards.rows("stack") == standing(players)


@pytest.mark.parametrize("wrong", ["missing", "extra", "old"])
async def test_a_wrong_cache_is_found_and_written_anew(
    boards: Boards, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(keeper, "COMPARE_AGAIN_S", 0.0)
    monkeypatch.setattr(epochs, "WAIT_S", 0.0)
    players = await filled(boards)
    key, cache = boards.key("stack"), boards.service._cache
    assert await boards.service.keeper.compare_season(key)
    (entry,) = await boards.service._standings.exact([(key, players[0])])
    if wrong == "missing":
        await cache.remove([key], [players[0]])
        await cache._valkey.delete(*await cache._valkey.keys("leaderboard:gone:*"))
    elif wrong == "extra":
        await cache.apply([entry._replace(player_id=new_id())])
    else:
        await cache.apply([entry._replace(place=entry.place._replace(sort_key=-99), revision=2)])
        changed_back = "UPDATE entries SET revision = 3 WHERE board_id = $1 AND player_id = $2"
        await boards.context.database.execute(changed_back, key.board_id, players[0])
    assert not await boards.service.keeper.compare_season(key)
    await boards.wait_cached("stack")
    assert await boards.rows("stack") == standing(players)
    assert await boards.service.keeper.compare_season(key)


async def test_a_restarted_server_is_not_believed(start: Start, valkey_server: embedded.Server) -> None:
    """It may have lost what it had said to have."""
    async with start() as first, start() as second:
        players = await filled(first)
        await second.wait_cached("stack")
        server = await first.service._cache.server()
        valkey_server.stop()
        await first.take(scored(players[0], 70))
        assert (await second.rows("stack"))[0] == (1, players[0], 70)
        valkey_server.start()
        for boards in (first, second):
            assert (await boards.rows("stack"))[0] == (1, players[0], 70)
        await first.wait_cached("stack")
        await second.wait_cached("stack")
        assert await second.service._cache.server() != server
        assert (await second.rows("stack"))[0] == (1, players[0], 70)


async def test_scores_are_taken_while_the_cache_is_away(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "WAIT_S", 0.0)
    nowhere = f"redis://127.0.0.1:{embedded.free_port()}/0"
    async with start(valkey_url=nowhere) as boards:
        player = await boards.player()
        await boards.publish(scored(player, 7))
        await wait_until(lambda: boards.rows("stack"))
        assert await boards.rows("stack") == [(1, player, 7)]
        assert [one["rank"] for one in await boards.record(scored(player, 9))] == [1, 1, 1]
        await boards.take(deleted(player))
        assert await boards.rows("stack") == []


async def test_keys_of_an_ended_season_expire(boards: Boards) -> None:
    """A day after its end; those of a board that never resets do not."""
    players = await filled(boards)
    await boards.take(scored(players[0], 99))
    valkey = boards.service._cache._valkey
    ends_at = boards.service.present_season(boards.service.board("stack-daily")).ends_at
    assert ends_at is not None
    for board, expected in (("stack-daily", int(ends_at.timestamp()) + 86_400), ("stack", -1)):
        key = boards.key(board)
        found = await valkey.keys(f"leaderboard:{{{key.board_id}:{key.season}}}*")
        assert [await valkey.expiretime(one) for one in found] == [expected] * 3
