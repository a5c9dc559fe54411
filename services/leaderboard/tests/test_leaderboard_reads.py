"""Reads without a statement: exact whatever is written, hidden, deleted or missed by the cache meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from services.leaderboard.tests.boards_by_hand import NOON, PATH, Boards, changed, deleted, scored
from services.leaderboard.tests.conftest import Start
from shop.devkit.testing import wait_until
from shop.kit.errors import Unavailable
from shop.kit.events import EventData, Received
from shop.kit.ids import new_id
from shop.leaderboard import epochs
from shop.leaderboard.board_repository import BoardRepository
from shop.leaderboard.cache import BoardCache, Hidden

PLAYERS = 4


async def filled(boards: Boards) -> list[UUID]:
    """So many players, the first one with the highest score; the boards are cached."""
    made = [new_id() for _ in range(PLAYERS)]
    await boards.take_batch([changed(player) for player in made])
    await boards.take_batch([scored(player, 100 - number) for number, player in enumerate(made)])
    await boards.wait_cached("stack")
    return made


async def names(boards: Boards) -> list[str]:
    return [one["player"]["name"] for one in (await boards.board("stack"))["items"]]


async def listed(boards: Boards) -> list[UUID]:
    return [player for _, player, _ in await boards.rows("stack")]


async def away(*_: Any) -> Any:
    raise Unavailable("cache")


async def crash(*_: Any) -> Any:
    raise asyncio.CancelledError


async def test_reads_from_the_cache_need_no_statement(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> None:
    players = await filled(boards)
    monkeypatch.setattr(epochs, "HOLDS_S", 60.0)
    monkeypatch.setattr(epochs, "READ_AGAIN_S", 60.0)
    await boards.board("stack")
    monkeypatch.setattr(boards.service, "_standings", None)
    monkeypatch.setattr(boards.service._epochs, "_repository", None)
    for rank, player in enumerate(players, 1):
        assert (await boards.rank("stack", player))["rank"] == rank
    assert await listed(boards) == players
    friends = ",".join(str(one) for one in players[:2])
    assert len((await boards.board("stack", players=friends))["items"]) == 2


async def test_a_new_name_is_read_from_the_cache(boards: Boards) -> None:
    players = await filled(boards)
    await boards.take(changed(players[1], "Bo, the: second", 2))
    assert await boards.cached("stack")
    assert await names(boards) == ["Ada", "Bo, the: second", "Ada", "Ada"]
    neighbours = (await boards.rank("stack", players[0], neighbours=1))["neighbours"]
    assert [one["player"]["name"] for one in neighbours] == ["Ada", "Bo, the: second"]
    assert await boards.service.keeper.compare_season(boards.key("stack"))


async def test_a_change_that_the_cache_missed_is_seen_by_every_replica(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is answered when no replica holds the epoch of before: also one that has just read it."""
    monkeypatch.setattr(epochs, "HOLDS_S", 0.5)
    monkeypatch.setattr(epochs, "READ_AGAIN_S", 0.5)
    monkeypatch.setattr(epochs, "WAIT_S", 0.55)
    async with start() as first, start() as second:
        players = await filled(first)
        await second.wait_cached("stack")
        events: list[EventData] = [scored(players[3], 500), changed(players[1], "Bo", 2), deleted(players[0])]
        for event in events:
            await second.wait_cached("stack")
            second.service._epochs._read_at = float("-inf")
            with monkeypatch.context() as patch:
                patch.setattr(BoardCache, "apply", away)
                patch.setattr(BoardCache, "remove", away)
                patch.setattr(BoardCache, "hide", away)
                await asyncio.gather(first.take(event), second.board("stack"))
            assert await second.rows("stack") == await first.rows("stack")
            assert await names(second) == await names(first)
        assert await second.rows("stack") == [(1, players[3], 500), (2, players[1], 99), (3, players[2], 98)]
        assert await names(second) == ["Ada", "Bo", "Ada"]


async def test_an_epoch_holds_for_a_moment_only(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it cannot be read in the background: who asks then asks the database itself."""
    held, key = boards.service._epochs, boards.key("stack")
    known = await held.of(key.board_id)
    await boards.service._repository.raise_epochs([key.board_id])
    held._read_at -= epochs.HOLDS_S
    assert await held.of(key.board_id) == known + 1
    await boards.service._repository.raise_epochs([key.board_id])
    held._read_at -= epochs.HOLDS_S
    monkeypatch.setattr(BoardRepository, "epochs", away)
    assert await held.of(key.board_id) == known + 2


@pytest.mark.parametrize("marked", [True, False], ids=["hidden", "hidden while the cache is away"])
async def test_a_crash_after_the_commit_lists_nobody_who_is_hidden_or_deleted(
    boards: Boards, monkeypatch: pytest.MonkeyPatch, marked: bool
) -> None:
    players = await filled(boards)
    for number, event in enumerate((deleted(players[0]), changed(players[1], "Ada", 2, private=True))):
        await boards.wait_cached("stack")
        received = [Received(new_id(), event.TYPE, NOON, "", "", event)]
        with monkeypatch.context() as patch:
            patch.setattr(BoardCache, "apply", crash)
            patch.setattr(BoardCache, "remove", crash)
            if not marked:
                patch.setattr(BoardCache, "hide", away)
            with pytest.raises(asyncio.CancelledError):
                await boards.inbox.process(boards.consumer_of(event), received)
        boards.service._epochs._read_at = float("-inf")
        assert await listed(boards) == players[1 + number :]
        assert (await boards.client.get(f"{PATH}/stack/players/{players[number]}")).status_code == 404
        await boards.inbox.process(boards.consumer_of(event), received)
    await boards.wait_cached("stack")
    await boards.take(changed(players[1], "Ada", 3))
    assert await boards.cached("stack")
    assert await boards.rows("stack") == [(1, players[1], 99), (2, players[2], 98), (3, players[3], 97)]


async def test_a_player_whom_another_event_hides_stays_hidden(boards: Boards) -> None:
    players, cache, key = await filled(boards), boards.service._cache, boards.key("stack")
    first, second = (Hidden(players[0], new_id()) for _ in range(2))
    await cache.hide([first])
    await cache.hide([second])
    await cache.show([first])
    assert not await boards.cached("stack")
    assert await listed(boards) == players
    await cache.show([second])
    assert await boards.cached("stack")
    answer = await cache.top(key, b"", PLAYERS)
    assert answer is not None
    assert answer.names == ["Ada"] * PLAYERS


async def test_what_an_earlier_release_cached_is_not_read(boards: Boards) -> None:
    """`<revision>:<place>` without a name."""
    players, cache, key = await filled(boards), boards.service._cache, boards.key("stack")
    (entry,) = await boards.service._standings.exact([(key, players[2])])
    [name] = await cache._valkey.keys(f"leaderboard:{{{key.board_id}:{key.season}}}:*:players")
    await cache._valkey.hset(name, players[2].bytes, b"9:" + entry.place.encode())
    stored = await cache.stored(key, players)
    assert stored is not None
    assert stored.revisions[2] is None
    assert await listed(boards) == players

    async def is_written_anew() -> bool:
        answer = await cache.top(key, b"", PLAYERS)
        return answer is not None and answer.names == ["Ada"] * PLAYERS

    await wait_until(is_written_anew)
    assert (await boards.rank("stack", players[2]))["rank"] == 3
