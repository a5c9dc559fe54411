"""Boards over time: seasons, archives, boards that go and come back, players who hide, and who came first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from services.leaderboard.tests.boards_by_hand import NOON, PATH, Boards, cancelled, changed, confirmed, deleted, scored
from services.leaderboard.tests.conftest import Start
from shop.kit.clock import FixedClock
from shop.kit.ids import new_id
from shop.leaderboard import archive
from shop.leaderboard.archive import Archive
from shop.leaderboard.board_repository import SeasonKey
from shop.leaderboard.boards import BoardsError
from shop.leaderboard.cache import BoardCache
from shop.leaderboard.standing_repository import Entry

BERLIN_DAILY = """
- {board: daily, title: Daily, source: stack, operator: best, reset: daily, time_zone: Europe/Berlin, size: 2}
- {board: always, title: Always, source: stack, operator: best}
"""
GOLF = "- {{board: golf, title: Golf, source: golf, operator: {operator}, order: {order}, reset: {reset}}}\n"
OTHER = "- {board: other, title: Other, source: golf, operator: best}\n"
WRITERS = 6


def archive_of(boards: Boards) -> Archive:
    by_id = {one.id: one for one in boards.service.boards}
    return Archive(by_id, boards.service._repository, boards.service._clock)


async def test_scores_belong_to_the_season_in_which_they_were_made(start: Start, clock: FixedClock) -> None:
    """On the day that has 25 hours, also when they arrive after its end."""
    clock.at = datetime.fromisoformat("2026-10-26T08:00:00Z")
    async with start(boards=BERLIN_DAILY) as boards:
        players = [await boards.player() for _ in range(4)]
        for number, at in enumerate(("24T21:59:59.999", "24T22:00:00", "25T22:59:59.999", "25T23:00:00")):
            await boards.take(scored(players[number], 10, datetime.fromisoformat(f"2026-10-{at}+00:00")))
        assert await boards.rows("daily", season="2026-10-24") == [(1, players[0], 10)]
        assert await boards.rows("daily", season="2026-10-25") == [(1, players[1], 10), (2, players[2], 10)]
        assert await boards.rows("daily") == [(1, players[3], 10)]
        assert [rank for rank, _, _ in await boards.rows("always")] == [1, 2, 3, 4]
        listed = (await boards.client.get(f"{PATH}/daily/seasons?limit=2")).json()
        assert [one["season"] for one in listed["items"]] == ["2026-10-26", "2026-10-25"]
        rest = (await boards.client.get(f"{PATH}/daily/seasons?cursor={listed['next_cursor']}")).json()
        assert [one["season"] for one in rest["items"]] == ["2026-10-24"]


async def test_a_players_changes_are_cached_in_recent_seasons_alone(
    start: Start, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the others is in the cache; the database has the change."""
    apply, written = BoardCache.apply, set[str]()

    async def noted(cache: BoardCache, entries: Sequence[Entry]) -> set[SeasonKey]:
        written.update(one.key.season for one in entries)
        return await apply(cache, entries)

    async with start(boards=BERLIN_DAILY) as boards:
        player = await boards.player()
        for _ in range(4):
            await boards.take(scored(player, 5, clock.now()))
            clock.advance(86_400)
        monkeypatch.setattr(BoardCache, "apply", noted)
        await boards.take(changed(player, "Bo", 2))
        assert written == {"all", "2026-12-01", "2026-12-02"}
        for season in ("2026-11-29", "2026-12-02"):
            document = await boards.board("daily", season=season)
            assert [one["player"]["name"] for one in document["items"]] == ["Bo"]


async def test_an_ended_season_keeps_its_first_entries(
    start: Start, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches; a score that arrives when it is archived is not taken."""
    monkeypatch.setattr(archive, "BATCH_ROWS", 2)
    async with start(boards=BERLIN_DAILY) as boards:
        players = [await boards.player() for _ in range(5)]
        for number, player in enumerate(players):
            await boards.take(scored(player, number))
        clock.advance(89 * 86_400)
        late = await boards.player()
        await boards.take(scored(late, 1, NOON))
        await archive_of(boards).prune()
        assert len(await boards.rows("daily", season="2026-11-29")) == 6
        clock.advance(4 * 86_400)
        await boards.service._cache._valkey.flushall()  # the season's keys have expired long ago
        await boards.take(scored(late, 99, NOON))
        await archive_of(boards).prune()
        assert await boards.rows("daily", season="2026-11-29") == [(1, players[4], 4), (2, players[3], 3)]
        assert len(await boards.rows("always")) == 6
        left = "SELECT count(*) FROM scores WHERE board_id = $1"
        assert await boards.context.database.fetchval(left, boards.key("daily").board_id) == 0


async def test_a_board_that_comes_back_inherits_nothing(start: Start, clock: FixedClock) -> None:
    golf = GOLF.format(operator="best", order="asc", reset="never")
    async with start(boards=golf + OTHER) as boards:
        player = await boards.player()
        await boards.take(scored(player, 72, source="golf"))
        assert await boards.rows("golf") == [(1, player, 72)]
    async with start(boards=OTHER) as boards:
        assert (await boards.client.get(f"{PATH}/golf")).status_code == 404
        assert await boards.rows("other") == [(1, player, 72)]
        clock.advance(2 * 86_400)
    async with start(boards=golf + OTHER) as boards:
        assert await boards.rows("golf") == []
        await boards.take(scored(player, 80, source="golf"))
        assert await boards.rows("golf") == [(1, player, 80)]
        await archive_of(boards).prune()
        rows = "SELECT count(DISTINCT board_id) FROM entries"
        assert await boards.context.database.fetchval(rows) == 2
        assert await boards.rows("golf") == [(1, player, 80)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"operator": "last"}, "operator of the board golf was best and cannot become last"),
        ({"order": "desc"}, "order of the board golf was asc and cannot become desc"),
        ({"reset": "daily"}, "reset of the board golf was never and cannot become daily"),
    ],
)
async def test_what_scores_mean_cannot_change(start: Start, changes: dict[str, str], says: str) -> None:
    fields = {"operator": "best", "order": "asc", "reset": "never"}
    async with start(boards=GOLF.format(**fields)):
        pass
    with pytest.raises(BoardsError, match=says):
        async with start(boards=GOLF.format(**(fields | changes))):
            pass


async def test_who_came_first_stays_first(boards: Boards) -> None:
    """By the moment of the score, whatever arrives first, and after refreshes, other names, hiding and rebuilds."""
    first, second, third = [await boards.player(name) for name in ("Cy", "Bo", "Ada")]
    await boards.take(scored(third, 7, NOON), scored(second, 7, NOON), scored(first, 7, NOON - timedelta(seconds=1)))
    expected = [(1, first, 7), (2, third, 7), (3, second, 7)]
    assert await boards.rows("stack") == expected
    await boards.take(scored(third, 7, NOON + timedelta(hours=1)), scored(first, 7, NOON + timedelta(hours=1)))
    assert await boards.rows("stack") == expected
    await boards.take(changed(first, "Dee", 2), changed(third, "Eve", 2, private=True))
    assert await boards.rows("stack") == [(1, first, 7), (2, second, 7)]
    await boards.take(changed(third, "Eve", 3))
    await boards.service.keeper.rebuild(boards.key("stack"))
    assert await boards.rows("stack") == expected
    names = [one["player"]["name"] for one in (await boards.board("stack"))["items"]]
    assert names == ["Dee", "Eve", "Bo"]
    await boards.take(scored(second, 7, NOON - timedelta(seconds=2)))
    assert [player for _, player, _ in await boards.rows("stack")] == [second, first, third]


async def test_private_players_are_not_listed_and_ranks_close_up(boards: Boards) -> None:
    players = [await boards.player() for _ in range(3)]
    await boards.take(*(scored(player, 10 - number) for number, player in enumerate(players)))
    await boards.wait_cached("stack")
    await boards.take(changed(players[0], "Ada", 2, private=True))
    assert await boards.cached("stack")
    assert await boards.rows("stack") == [(1, players[1], 9), (2, players[2], 8)]
    assert (await boards.client.get(f"{PATH}/stack/players/{players[0]}")).status_code == 404
    standings = await boards.record(scored(players[0], 50))
    assert [(one["score"], one["rank"]) for one in standings] == [(50, None)] * 3
    await boards.take(changed(players[0], "Ada", 1))
    assert (await boards.rows("stack"))[0] == (1, players[1], 9)
    await boards.take(changed(players[0], "Ada", 3))
    assert (await boards.rows("stack"))[0] == (1, players[0], 50)


async def test_a_score_before_the_profile_is_listed_once_that_arrives(boards: Boards) -> None:
    player = new_id()
    assert [one["rank"] for one in await boards.record(scored(player, 5))] == [None] * 3
    assert await boards.rows("stack") == []
    await boards.take(changed(player))
    assert await boards.rows("stack") == [(1, player, 5)]


async def test_nothing_of_a_deleted_player_stays_or_comes_back(boards: Boards) -> None:
    player, other, order = await boards.player(), await boards.player(), new_id()
    await boards.take(scored(player, 5), scored(other, 4), confirmed(player, 9_00))
    await boards.wait_cached("stack", "buyers")
    await boards.take(deleted(player))
    assert [await boards.rows("stack"), await boards.rows("buyers")] == [[(1, other, 4)], []]
    late = [scored(player, 99), confirmed(player, 1_00, order), cancelled(player, order), changed(player, "Ada", 9)]
    await boards.take(*late)
    assert [one["rank"] for one in await boards.record(scored(player, 99))] == []
    assert [await boards.rows("stack"), await boards.rows("buyers")] == [[(1, other, 4)], []]
    for table in ("players", "scores", "entries"):
        count = f"SELECT count(*) FROM {table} WHERE player_id = $1"
        assert await boards.context.database.fetchval(count, player) == 0


async def test_scores_of_one_player_at_once_add_up(start: Start) -> None:
    """By two replicas, while orders are cancelled and the profile is hidden and shown."""
    async with start() as first, start() as second:
        players = [await first.player() for _ in range(2)]
        orders = [[new_id() for _ in range(WRITERS)] for _ in players]

        async def buy(boards: Boards, number: int) -> None:
            for player, ids in zip(players, orders, strict=True):
                await boards.take(confirmed(player, 2_00, ids[number]), scored(player, number))
                if number % 3 == 0:
                    await boards.take(cancelled(player, ids[number]))

        async def hide(boards: Boards) -> None:
            for version in range(2, 8):
                await boards.take_batch(
                    [changed(player, "Ada", version, private=version % 2 == 0) for player in players]
                )

        writers = [buy(boards, number) for boards in (first, second) for number in range(WRITERS)]
        await asyncio.gather(*writers, hide(first), hide(second))
        for boards in (first, second):
            assert [row[1:] for row in await boards.rows("buyers")] == [
                (player, 2 * (WRITERS - 2)) for player in [row[1] for row in await boards.rows("buyers")]
            ]
            assert {row[1:] for row in await boards.rows("stack")} == {(player, WRITERS - 1) for player in players}
            assert {row[1] for row in await boards.rows("buyers")} == set(players)
            assert await boards.service.keeper.compare_season(boards.key("buyers"))
        assert await first.context.database.fetchval("SELECT count(*) FROM entries WHERE season = 'all'") == 4


async def test_one_event_by_many_calls_at_once_is_one_score(start: Start) -> None:
    async with start() as first, start() as second:
        event, event_id = scored(await first.player(), 5), new_id()
        answers = await asyncio.gather(*(boards.record(event, event_id) for boards in (first, second) * 6))
        assert all([one["rank"] for one in answer] == [1, 1, 1] for answer in answers)
        assert await first.context.database.fetchval("SELECT count(*) FROM scores") == 3
        assert await first.context.database.fetchval("SELECT count(*) FROM inbox WHERE consumer = 'scores'") == 1
