"""The oracle about players: experience, levels, rewards and streaks are what the ledger, results and orders say."""

from collections import defaultdict

from shop.kit.currencies import exponent
from shop.operator.audit.arcade import PLAYER, check_deleted, check_published_once, consumed, deleted_users, has_arcade
from shop.operator.audit.model import SOLD, Audit, Finding, Row

ORDER_EVENTS = ("order.confirmed.v1", "order.cancelled.v1")
ORDER_BONUS_XP, ORDER_MAX_XP = 20, 500
RESULT_MAX_XP, DAY_MAX_XP, POINTS_PER_XP = 100, 1_000, 10
REWARDS = {5: 10, 10: 15, 15: 20, 20: 25}
"""By level, the percentage of its coupon."""

WRONG_SUM = """
SELECT p.id, p.xp, coalesce(sum(l.xp), 0)::bigint AS ledger FROM players p LEFT JOIN ledger l ON l.player_id = p.id
GROUP BY p.id HAVING p.xp <> coalesce(sum(l.xp), 0)"""
WRONG_LEVEL = """
SELECT id, xp, level, level_reached FROM players
WHERE xp < 50 * level::bigint * (level - 1) OR xp >= 50 * level::bigint * (level + 1) OR level_reached < level"""
WRONG_RESULT = """
SELECT r.id, r.score, r.xp, coalesce(l.xp, 0) AS given
FROM (
    SELECT *, sum(xp) OVER (PARTITION BY player_id, day) AS of_day, least($1, score / $2) AS earned FROM results
) r LEFT JOIN ledger l ON l.player_id = r.player_id AND l.cause = 'result:' || r.id
WHERE coalesce(l.xp, 0) <> r.xp OR r.xp > r.earned OR r.of_day > $3 OR (r.xp < r.earned AND r.of_day < $3)"""
WITHOUT_RESULT = """
SELECT player_id || ' ' || cause AS id FROM ledger l WHERE cause LIKE 'result:%' AND NOT EXISTS (
    SELECT FROM results r WHERE r.player_id = l.player_id AND 'result:' || r.id = l.cause)"""
WRONG_REWARD = """
SELECT coalesce(r.player_id, p.id) || ' level ' || coalesce(r.level, due.level) AS id, p.level_reached, r.percent
FROM players p CROSS JOIN unnest($1::int[], $2::int[]) AS due (level, percent)
FULL JOIN rewards r ON r.player_id = p.id AND r.level = due.level
WHERE CASE WHEN r.level IS NULL THEN p.level_reached >= due.level
      ELSE p.id IS NULL OR p.level_reached < r.level OR r.percent <> due.percent END"""
WRONG_STREAK = """
WITH numbered AS (
    SELECT player_id, day, row_number() OVER (PARTITION BY player_id ORDER BY day) AS number FROM days
), runs AS (
    SELECT player_id, count(*) AS days, max(day) AS until FROM numbered GROUP BY player_id, day - number::int
), newest AS (SELECT DISTINCT ON (player_id) * FROM runs ORDER BY player_id, until DESC)
SELECT p.id, p.streak_days, p.streak_on, coalesce(n.days, 0) AS days, n.until
FROM players p LEFT JOIN newest n ON n.player_id = p.id
WHERE p.streak_days <> coalesce(n.days, 0) OR p.streak_on IS DISTINCT FROM n.until
   OR p.best_streak < (SELECT coalesce(max(r.days), 0) FROM runs r WHERE r.player_id = p.id)"""
ORDERS_XP = """
SELECT player_id::text AS player, split_part(cause, ':', 2) AS order_id, sum(xp)::bigint AS xp FROM ledger
WHERE cause LIKE 'order:%' OR cause LIKE 'order\\_cancelled:%' GROUP BY 1, 2"""
PRESENT = "SELECT id::text AS id FROM players WHERE id = ANY ($1::uuid[])"


async def experience_follows_ledger(audit: Audit) -> Finding:
    """Experience is the sum of the ledger, the level follows from it, and each entry has its result or order.

    Nothing is checked in a shop without an arcade.
    """
    finding = Finding()
    if not has_arcade(audit):
        return finding
    finding.checked = await audit.count(PLAYER, "players") + await audit.count(PLAYER, "ledger")
    finding.add(await audit.fetch(PLAYER, WRONG_SUM), "has {xp} XP, and the ledger sums to {ledger}")
    finding.add(await audit.fetch(PLAYER, WRONG_LEVEL), "is at level {level} (highest {level_reached}) with {xp} XP")
    wrong = await audit.fetch(PLAYER, WRONG_RESULT, RESULT_MAX_XP, POINTS_PER_XP, DAY_MAX_XP)
    finding.add(wrong, "is a result of {score} points for {xp} XP, and the ledger has {given}")
    finding.add(await audit.fetch(PLAYER, WITHOUT_RESULT), "is an entry of the ledger for a result that does not exist")
    rewards = await audit.fetch(PLAYER, WRONG_REWARD, list(REWARDS), list(REWARDS.values()))
    finding.add(rewards, "is a reward that is missing, too early or wrong: highest level {level_reached}, {percent} %")
    streaks = await audit.fetch(PLAYER, WRONG_STREAK)
    finding.add(streaks, "has a streak of {streak_days} until {streak_on}, and its days give {days} until {until}")
    await _check_orders(audit, finding)
    for event, key in PUBLISHED_ONCE.items():
        await check_published_once(audit, PLAYER, event, key, finding)
    await check_deleted(audit, PLAYER, PRESENT, finding)
    return finding


PUBLISHED_ONCE = {
    "player.gained.v1": "version",
    "player.scored.v1": "result_id",
    "player.level_reached.v1": "level",
    "player.changed.v1": "version",
}
"""By event, what tells two of a player apart."""


async def _check_orders(audit: Audit, finding: Finding) -> None:
    """Each order gives its customer what it is worth while it is sold, and nothing once it is cancelled."""
    events = await consumed(audit, "order", ORDER_EVENTS, PLAYER)
    given: dict[str, dict[str, int]] = defaultdict(dict)
    for row in await audit.fetch(PLAYER, ORDERS_XP):
        given[row["order_id"]][row["player"]] = row["xp"]
    orders, settled = await audit.orders(), await audit.unchanged_orders(*SOLD, "cancelled")
    consumed_orders = {row["subject_id"] for row in events} & settled.keys()
    deleted = await deleted_users(audit, PLAYER, [settled[key]["user_id"] for key in consumed_orders])
    finding.checked += len(given)
    for key, by_player in given.items():
        if key not in orders or set(by_player) != {str(orders[key]["user_id"])}:
            finding.violations[key] = "gives XP, and is not an order of that player"
    for key in consumed_orders:
        order, player = settled[key], str(settled[key]["user_id"])
        if player not in deleted and (xp := given[key].get(player, 0)) != worth(order):
            finding.violations[key] = f"is {order['state']} and gives {xp} XP instead of {worth(order)}"


def worth(order: Row) -> int:
    """Experience points of an order: one for each whole unit of the currency up to a limit, and a fixed bonus."""
    if order["state"] not in SOLD:
        return 0
    whole: int = order["total"] // 10 ** exponent(order["currency"])
    return min(whole, ORDER_MAX_XP) + ORDER_BONUS_XP
