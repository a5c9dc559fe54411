"""The SQL that changes players, scores and entries.

Every transaction locks in the same order: the digests of deleted users (a deletion excludes all others), players by
id, scores by board and cause, entries by operator, board, season and player. So none waits for another in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from shop.kit.db import Connection
from shop.kit.deleted_users import DeletedUsers
from shop.leaderboard.domain import MAX_SCORE, Operator, Scored

DELETED_USERS = DeletedUsers()

ADD_PLAYERS = f"""
INSERT INTO players (player_id) SELECT id FROM unnest($1::uuid[]) AS new (id)
WHERE NOT {DELETED_USERS.holds("id")} ORDER BY id ON CONFLICT DO NOTHING"""  # noqa: S608 - constants
LOCK_PLAYERS = """
SELECT player_id, NOT private AND version > 0 AS public FROM players WHERE player_id = ANY($1::uuid[])
ORDER BY player_id FOR SHARE"""
ADD_SCORES = """
WITH new AS (
    SELECT * FROM unnest($1::int[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::timestamptz[],
        $7::timestamptz[], $8::timestamptz[])
        AS new (board_id, cause, season, player_id, score, at, starts_at, ends_at)
), season AS (
    INSERT INTO seasons (board_id, season, starts_at, ends_at)
    SELECT DISTINCT board_id, season, starts_at, ends_at FROM new ORDER BY board_id, season ON CONFLICT DO NOTHING
)
INSERT INTO scores (board_id, cause, season, player_id, score, at)
SELECT board_id, cause, season, player_id, score, at FROM new ORDER BY board_id, cause
ON CONFLICT DO NOTHING RETURNING board_id, cause"""
UPSERT = """
INSERT INTO entries AS e (board_id, season, player_id, score, sort_key, at, position, total, scores, listed)
SELECT * FROM unnest($1::int[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::bigint[],
    $8::numeric[], $9::bigint[], $10::boolean[]) ORDER BY 1, 2, 3
ON CONFLICT (board_id, season, player_id) DO UPDATE SET """
CHANGES = {
    # Of equal scores the one that was made first counts, whichever arrives first.
    Operator.BEST: """
    score = excluded.score, sort_key = excluded.sort_key, at = excluded.at, seq = excluded.seq,
    total = excluded.total, listed = excluded.listed, revision = e.revision + 1
WHERE (excluded.sort_key, excluded.at) < (e.sort_key, e.at)""",
    # The same score again keeps the moment when it was reached.
    Operator.LAST: """
    score = excluded.score, sort_key = excluded.sort_key, total = excluded.total, position = excluded.position,
    at = CASE WHEN excluded.score = e.score THEN e.at ELSE excluded.at END,
    seq = CASE WHEN excluded.score = e.score THEN e.seq ELSE excluded.seq END,
    listed = excluded.listed, revision = e.revision + 1
WHERE excluded.position > e.position""",
    Operator.SUM: f"""
    total = e.total + excluded.total, scores = e.scores + excluded.scores,
    score = LEAST(e.total + excluded.total, {MAX_SCORE}),
    sort_key = LEAST(e.total + excluded.total, {MAX_SCORE})
        * (SELECT CASE direction WHEN 'desc' THEN -1 ELSE 1 END FROM boards WHERE id = e.board_id),
    at = CASE WHEN e.scores = 0 THEN excluded.at WHEN excluded.total = 0 THEN e.at
        ELSE GREATEST(e.at, excluded.at) END,
    seq = CASE WHEN excluded.total = 0 AND e.scores > 0 THEN e.seq ELSE excluded.seq END,
    listed = excluded.listed, revision = e.revision + 1""",  # noqa: S608 - a constant
}
CANCEL_SCORES = """
INSERT INTO scores AS s (board_id, cause, season, player_id, score, at, cancelled)
SELECT board_id, cause, '', player_id, 0, at, true
FROM unnest($1::int[], $2::text[], $3::uuid[], $4::timestamptz[]) AS new (board_id, cause, player_id, at)
ORDER BY board_id, cause
ON CONFLICT (board_id, cause) DO UPDATE SET cancelled = true WHERE NOT s.cancelled
RETURNING s.board_id, s.season, s.player_id, s.score"""
LOCK_ENTRIES = """
SELECT FROM entries e JOIN boards b ON b.id = e.board_id WHERE e.player_id = ANY($1::uuid[])
ORDER BY b.operator, e.board_id, e.season, e.player_id FOR UPDATE OF e"""
TAKE_BACK = f"""
UPDATE entries e SET total = e.total - taken.total, scores = e.scores - taken.scores,
    score = LEAST(e.total - taken.total, {MAX_SCORE}),
    sort_key = LEAST(e.total - taken.total, {MAX_SCORE})
        * (SELECT CASE direction WHEN 'desc' THEN -1 ELSE 1 END FROM boards WHERE id = e.board_id),
    at = COALESCE(
        (SELECT max(s.at) FROM scores s WHERE s.player_id = e.player_id AND s.board_id = e.board_id
            AND s.season = e.season AND NOT s.cancelled AND s.score > 0),
        (SELECT min(s.at) FROM scores s WHERE s.player_id = e.player_id AND s.board_id = e.board_id
            AND s.season = e.season AND NOT s.cancelled),
        e.at),
    seq = nextval('entry_seq'), listed = e.listed AND e.scores > taken.scores, revision = e.revision + 1
FROM unnest($1::int[], $2::text[], $3::uuid[], $4::numeric[], $5::bigint[])
    AS taken (board_id, season, player_id, total, scores)
WHERE (e.board_id, e.season, e.player_id) = (taken.board_id, taken.season, taken.player_id)"""  # noqa: S608
CHANGE_PLAYERS = f"""
INSERT INTO players AS p (player_id, name, private, version)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::bigint[]) AS new (id, name, private, version)
WHERE NOT {DELETED_USERS.holds("id")} ORDER BY id
ON CONFLICT (player_id) DO UPDATE
SET name = excluded.name, private = excluded.private, version = excluded.version
WHERE p.version < excluded.version RETURNING player_id"""  # noqa: S608
# A new name is a new revision, too, because the cache has the names of those who are listed.
LIST = """
UPDATE entries e SET listed = NOT p.private AND e.scores > 0, revision = e.revision + 1
FROM players p WHERE p.player_id = e.player_id AND p.player_id = ANY($1::uuid[])
    AND (e.listed OR NOT p.private AND e.scores > 0)"""
DELETE = [
    "DELETE FROM players WHERE player_id = ANY($1::uuid[])",
    "DELETE FROM entries WHERE player_id = ANY($1::uuid[])",
    "DELETE FROM scores WHERE player_id = ANY($1::uuid[])",
]


class Player(NamedTuple):
    player_id: UUID
    name: str
    private: bool
    version: int


class Cancelled(NamedTuple):
    board_id: int
    cause: str
    player_id: UUID
    at: datetime


async def record(connection: Connection, scored: Sequence[Scored]) -> int:
    """Take each score once by board and cause, except those of deleted users; the number of those that are new."""
    public = await _lock_players(connection, {one.player_id for one in scored})
    mine = {(one.board.id, one.cause): one for one in scored if one.player_id in public}
    if not mine:
        return 0
    rows = [
        (one.board.id, one.cause, one.season.name, one.player_id, one.score, one.at, *one.season[1:])
        for one in mine.values()
    ]
    added = [mine[row["board_id"], row["cause"]] for row in await connection.fetch(ADD_SCORES, *_columns(rows))]
    for operator in Operator:
        for group in _rounds(operator, [one for one in added if one.board.operator is operator]):
            rows = [_entry(total, count, one, public[one.player_id]) for one, total, count in group]
            await connection.execute(UPSERT + CHANGES[operator], *_columns(rows))
    return len(added)


async def take_back(connection: Connection, cancelled: Sequence[Cancelled]) -> None:
    """The scores of these causes do not count, whether they are known already or arrive later."""
    players = {one.player_id for one in cancelled}
    known = await _lock_players(connection, players)
    unique = {(one.board_id, one.cause): one for one in cancelled if one.player_id in known}
    if not unique:
        return
    taken: dict[tuple[int, str, UUID], tuple[int, int]] = {}
    for row in await connection.fetch(CANCEL_SCORES, *_columns(list(unique.values()))):
        if row["season"]:
            key = (row["board_id"], row["season"], row["player_id"])
            total, count = taken.get(key, (0, 0))
            taken[key] = (total + row["score"], count + 1)
    if taken:
        await connection.execute(LOCK_ENTRIES, list({player_id for _, _, player_id in taken}))
        rows = [(*key, total, count) for key, (total, count) in taken.items()]
        await connection.execute(TAKE_BACK, *_columns(rows))


async def lock_entries(connection: Connection, player_ids: Iterable[UUID]) -> None:
    """For a transaction that takes scores and takes some back, before the first of them."""
    await _lock_players(connection, set(player_ids))
    await connection.execute(LOCK_ENTRIES, list(player_ids))


async def change_players(connection: Connection, players: Sequence[Player]) -> None:
    """The newest version of each counts; who is private leaves the boards, and comes back to the same place."""
    newest: dict[UUID, Player] = {}
    for one in players:
        if one.player_id not in newest or newest[one.player_id].version < one.version:
            newest[one.player_id] = one
    changed = await connection.fetch(CHANGE_PLAYERS, *_columns(list(newest.values())))
    if changed:
        player_ids = [row["player_id"] for row in changed]
        await connection.execute(LOCK_ENTRIES, player_ids)
        await connection.execute(LIST, player_ids)


async def delete_players(connection: Connection, player_ids: Sequence[UUID]) -> None:
    for statement in DELETE:
        await connection.execute(statement, list(player_ids))


async def _lock_players(connection: Connection, player_ids: set[UUID]) -> dict[UUID, bool]:
    """Whether each is listed, of those that are not deleted; neither changes until the transaction ends."""
    await connection.execute(ADD_PLAYERS, list(player_ids))
    rows = await connection.fetch(LOCK_PLAYERS, list(player_ids))
    return {row["player_id"]: row["public"] for row in rows}


def _rounds(operator: Operator, added: list[Scored]) -> list[list[tuple[Scored, int, int]]]:
    """Groups that have each entry once, with the total and the number of its scores.

    The best and the sum of several scores are one change. The newest are one after the other, because a score in
    between decides since when the newest one has been held.
    """
    by_entry: dict[tuple[int, str, UUID], list[Scored]] = {}
    for one in added:
        by_entry.setdefault((one.board.id, one.season.name, one.player_id), []).append(one)
    groups = list(by_entry.values())
    if operator is Operator.LAST:
        for group in groups:
            group.sort(key=lambda one: one.position)
        longest = max((len(group) for group in groups), default=0)
        return [[(group[turn], 0, 1) for group in groups if turn < len(group)] for turn in range(longest)]
    if not groups:
        return []
    if operator is Operator.BEST:
        return [[(min(group, key=_best), 0, 1) for group in groups]]
    return [[(max(group, key=_newest), sum(one.score for one in group), len(group)) for group in groups]]


def _best(one: Scored) -> tuple[int, datetime]:
    return (one.board.sort_key(one.score), one.at)


def _newest(one: Scored) -> tuple[bool, datetime]:
    return (one.score > 0, one.at)


def _entry(total: int, count: int, one: Scored, listed: bool) -> tuple[Any, ...]:
    score = min(total, MAX_SCORE) if one.board.operator is Operator.SUM else one.score
    return (
        one.board.id,
        one.season.name,
        one.player_id,
        score,
        one.board.sort_key(score),
        one.at,
        one.position,
        total or score,
        count,
        listed,
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
