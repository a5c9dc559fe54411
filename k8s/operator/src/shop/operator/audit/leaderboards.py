"""The oracle about leaderboards: entries are what follows from the scores, and scores from results, orders and XP."""

from collections import defaultdict

from shop.kit.currencies import exponent
from shop.operator.audit.arcade import LEADERBOARD, PLAYER, check_deleted, consumed, deleted_users, has_arcade
from shop.operator.audit.model import SOLD, Audit, Finding, Row

MAX_SCORE = 2**63 - 1
SCORED, GAINED = "player.scored.v1", "player.gained.v1"
ORDER_EVENTS = ("order.confirmed.v1", "order.cancelled.v1")
ORDERS, XP = "orders", "xp"
# What scores give, as one statement so that scores and entries are of one moment. Where the last score counts and two
# are of the same time, either may. Archived seasons have lost entries on purpose.
WRONG_ENTRIES = """
WITH present AS (
    SELECT b.*, s.season FROM boards b JOIN seasons s ON s.board_id = b.id
    WHERE b.removed_at IS NULL AND s.archived_at IS NULL
), expected AS (
    SELECT b.id AS board_id, b.season, s.player_id,
        CASE b.operator WHEN 'sum' THEN least(sum(s.score), $1)
            WHEN 'last' THEN (array_agg(s.score ORDER BY
                CASE WHEN b.source = 'xp' THEN split_part(s.cause, ':', 3)::bigint END DESC, s.at DESC))[1]
            ELSE CASE b.direction WHEN 'desc' THEN max(s.score) ELSE min(s.score) END END AS score,
        (array_agg(s.at ORDER BY CASE b.direction WHEN 'desc' THEN -s.score::numeric ELSE s.score END, s.at))[1] AS at,
        sum(s.score) AS total, count(*) AS scores
    FROM present b JOIN scores s ON s.board_id = b.id AND s.season = b.season AND NOT s.cancelled
    GROUP BY b.id, b.operator, b.direction, b.season, s.player_id
), stored AS (
    SELECT e.*, coalesce(p.version > 0 AND NOT p.private, false) AS public
    FROM entries e JOIN present b ON b.id = e.board_id AND b.season = e.season LEFT JOIN players p USING (player_id)
)
SELECT b.board || ' ' || b.season || ' ' || coalesce(e.player_id, x.player_id) AS id, e.score, x.score AS right_score,
    e.listed, e.public, e.at, x.at AS right_at
FROM stored e FULL JOIN expected x ON (e.board_id, e.season, e.player_id) = (x.board_id, x.season, x.player_id)
JOIN present b ON b.id = coalesce(e.board_id, x.board_id) AND b.season = coalesce(e.season, x.season)
WHERE CASE WHEN x.player_id IS NULL THEN e.listed OR e.score <> 0
      ELSE e.player_id IS NULL OR e.score <> x.score OR e.listed <> e.public
        OR (b.operator = 'best' AND e.at <> x.at)
        OR (b.operator = 'sum' AND (e.total, e.scores) <> (x.total, x.scores)) END"""
SCORES = """
SELECT b.board, b.source, s.cause, s.player_id::text AS player, s.score, s.cancelled
FROM scores s JOIN boards b ON b.id = s.board_id
WHERE b.removed_at IS NULL AND (s.cause LIKE 'result:%' OR s.cause LIKE 'order:%')"""
BOARDS = "SELECT board, source, created_at FROM boards WHERE removed_at IS NULL"
RESULTS = """
SELECT id::text AS id, player_id::text AS player, game AS source, score FROM results
UNION ALL SELECT id::text, player_id::text, source, score FROM posted_scores"""
GAMES = "SELECT DISTINCT game FROM results"
XP_ENTRIES = """
SELECT b.board, e.player_id::text AS player, e.score, e.position FROM entries e JOIN boards b ON b.id = e.board_id
WHERE b.removed_at IS NULL AND b.source = 'xp' AND b.operator = 'last' AND b.reset = 'never'"""
PLAYERS = "SELECT id::text AS id, xp, ledger_version AS version FROM players"
STORED = """
SELECT player_id AS id FROM players WHERE player_id = ANY ($1::uuid[])
UNION SELECT player_id FROM scores WHERE player_id = ANY ($1::uuid[])
UNION SELECT player_id FROM entries WHERE player_id = ANY ($1::uuid[])"""


async def entries_follow_scores(audit: Audit) -> Finding:
    """A board's entries are what follows from its scores, which are the results, orders and XP of players.

    Nothing is checked in a shop without an arcade.
    """
    finding = Finding()
    if not has_arcade(audit):
        return finding
    finding.checked = await audit.count(LEADERBOARD, "entries") + await audit.count(LEADERBOARD, "scores")
    wrong = await audit.fetch(LEADERBOARD, WRONG_ENTRIES, MAX_SCORE)
    finding.add(wrong, "has {score} since {at} (listed: {listed}), and the scores give {right_score} since {right_at}")
    scores = Scores(await audit.fetch(LEADERBOARD, BOARDS), await audit.fetch(LEADERBOARD, SCORES))
    await _check_results(audit, scores, finding)
    await _check_orders(audit, scores, finding)
    await _check_xp(audit, finding)
    await check_deleted(audit, LEADERBOARD, STORED, finding)
    return finding


class Scores:
    """The scores of all boards, by cause."""

    def __init__(self, boards: list[Row], rows: list[Row]) -> None:
        self._boards = boards
        self.by_cause: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            self.by_cause[row["cause"]].append(row)

    def missing(self, cause: str, source: str, event: Row) -> str:
        """The boards of the source that existed when the event happened and do not have the score, or ""."""
        due = {one["board"] for one in self._boards if one["source"] == source and one["created_at"] < event["at"]}
        return ", ".join(sorted(due - {row["board"] for row in self.by_cause[cause]}))


async def _check_results(audit: Audit, scores: Scores, finding: Finding) -> None:
    """Each result counts once on each board of its source, and nothing counts that was not played."""
    events = {row["result_id"]: row for row in await consumed(audit, PLAYER, [SCORED], LEADERBOARD)}
    results = {f"result:{row['id']}": row for row in await audit.fetch(PLAYER, RESULTS)}
    players = {row["id"] for row in await audit.fetch(PLAYER, PLAYERS)}
    games = {row["game"] for row in await audit.fetch(PLAYER, GAMES)}
    deleted = await deleted_users(audit, LEADERBOARD, {row["player"] for row in results.values()})
    for key, event in events.items():
        result = results.get(cause := f"result:{key}")
        if result and result["player"] not in deleted and (missing := scores.missing(cause, result["source"], event)):
            finding.violations[cause] = f"does not count on {missing}"
    for cause, rows in scores.by_cause.items():
        result = results.get(cause)
        for row in rows if cause.startswith("result:") else ():
            if result is None and row["source"] in games and row["player"] in players:
                finding.violations[cause] = f"counts on {row['board']}, and no such round was played"
            elif result and (row["player"], row["score"]) != (result["player"], result["score"]):
                finding.violations[cause] = f"counts {row['score']} on {row['board']}, and was {result['score']}"


async def _check_orders(audit: Audit, scores: Scores, finding: Finding) -> None:
    """A sold order counts its whole units of the currency for its customer, a cancelled one nothing."""
    events = {row["subject_id"]: row for row in await consumed(audit, "order", ORDER_EVENTS, LEADERBOARD)}
    settled = await audit.unchanged_orders(*SOLD, "cancelled")
    orders = {key: settled[key] for key in events.keys() & settled.keys()}
    deleted = await deleted_users(audit, LEADERBOARD, {order["user_id"] for order in orders.values()})
    for key, order in orders.items():
        player, cause = str(order["user_id"]), f"order:{key}"
        right = (player, order["total"] // 10 ** exponent(order["currency"])) if order["state"] in SOLD else None
        for row in scores.by_cause[cause]:
            if not row["cancelled"] and (row["player"], row["score"]) != right:
                finding.violations[cause] = f"is {order['state']}, and counts {row['score']} on {row['board']}"
        if right and player not in deleted and (missing := scores.missing(cause, ORDERS, events[key])):
            finding.violations[cause] = f"is {order['state']}, and does not count on {missing}"


async def _check_xp(audit: Audit, finding: Finding) -> None:
    """A board of XP has the newest total that the service has consumed."""
    known: dict[str, int] = {}
    for event in await consumed(audit, PLAYER, [GAINED], LEADERBOARD):
        known[event["subject_id"]] = max(known.get(event["subject_id"], 0), int(event["version"]))
    entries = await audit.fetch(LEADERBOARD, XP_ENTRIES)
    players = {row["id"]: row for row in await audit.fetch(PLAYER, PLAYERS)}
    for row in entries:
        if (player := players.get(row["player"])) is None:
            continue
        outside = not known.get(row["player"], 0) <= row["position"] <= player["version"]
        if outside or (row["position"] == player["version"] and row["score"] != player["xp"]):
            what = f"is {row['score']} of version {row['position']}, and the player has {player['xp']}"
            finding.violations[f"{row['board']} {row['player']}"] = what
