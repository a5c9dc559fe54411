"""The oracle about achievements: each is unlocked once and earned, and what is known of a player is what happened."""

from shop.operator.audit.arcade import (
    ACHIEVEMENT,
    PLAYER,
    check_deleted,
    check_published_once,
    consumed,
    deleted_users,
    has_arcade,
)
from shop.operator.audit.model import Audit, Finding

UNLOCKED = "achievement.unlocked.v1"
MAX_XP = 10_000
"""What a ledger takes of one achievement."""
# Without the rules of then: each row has what its rule needed, and a fact never had more than its peak.
UNEARNED = """
SELECT u.player_id || ' ' || u.code AS id, e ->> 'fact' AS fact, e ->> 'need' AS need, coalesce(f.peak, 0) AS peak
FROM unlocked u LEFT JOIN jsonb_array_elements(u.evidence) AS e ON true
LEFT JOIN facts f ON f.player_id = u.player_id AND f.fact = e ->> 'fact'
WHERE NOT u.external AND (e IS NULL OR coalesce(f.peak, 0) < (e ->> 'need')::numeric)"""
WRONG_NUMBERS = """
SELECT p.player_id AS id, p.unlocks, count(u.code) AS rows, coalesce(max(u.number), 0) AS newest
FROM players p LEFT JOIN unlocked u USING (player_id)
GROUP BY p.player_id HAVING p.unlocks <> count(u.code) OR p.unlocks <> coalesce(max(u.number), 0)"""
WRONG_ORDERS = """
SELECT coalesce(f.player_id, o.player_id) || ' ' || coalesce(f.fact, o.fact) AS id, coalesce(f.value, 0) AS value,
       coalesce(o.value, 0) AS orders
FROM (SELECT * FROM facts WHERE fact = 'orders' OR fact LIKE 'spent:%') f
FULL JOIN (
    SELECT player_id, 'orders' AS fact, count(*)::numeric AS value FROM orders WHERE confirmed AND NOT cancelled
    GROUP BY player_id
    UNION ALL
    SELECT player_id, 'spent:' || currency, sum(total) FROM orders WHERE confirmed AND NOT cancelled
    GROUP BY player_id, currency
) o ON o.player_id = f.player_id AND o.fact = f.fact
WHERE coalesce(f.value, 0) <> coalesce(o.value, 0)"""
ROUNDS = """
SELECT player_id::text AS player, game, count(*) AS rounds, max(score) AS best, sum(score) AS points FROM results
WHERE $1::timestamptz IS NULL OR created_at < $1 GROUP BY player_id, game"""
FACTS = """
SELECT player_id::text AS player, split_part(fact, ':', 2) AS game, split_part(fact, ':', 1) AS fact, value FROM facts
WHERE fact LIKE 'rounds:%' OR fact LIKE 'score:%' OR fact LIKE 'score_sum:%'"""
COLUMNS = {"rounds": "rounds", "score": "best", "score_sum": "points"}
"""By kind of fact, what of a player's rounds it is."""
CAUSES = """
SELECT player_id || ' ' || substr(cause, 13) AS id, xp FROM ledger WHERE cause LIKE 'achievement:%'"""
REWARDED = "SELECT player_id || ' ' || code AS id, player_id::text AS player, xp, unlocked_at FROM unlocked"
PRESENT = "SELECT player_id::text AS id FROM players WHERE player_id = ANY ($1::uuid[])"
PLAYERS = "SELECT id::text AS id FROM players"
"""Of the player service."""


async def achievements_are_earned_once(audit: Audit) -> Finding:
    """Each achievement is unlocked once and earned by facts that are what happened, and gives its XP once.

    Nothing is checked in a shop without an arcade.
    """
    finding = Finding()
    if not has_arcade(audit):
        return finding
    finding.checked = await audit.count(ACHIEVEMENT, "unlocked") + await audit.count(ACHIEVEMENT, "facts")
    unearned = await audit.fetch(ACHIEVEMENT, UNEARNED)
    finding.add(unearned, "is unlocked, and {fact} was never more than {peak} of {need}")
    numbers = await audit.fetch(ACHIEVEMENT, WRONG_NUMBERS)
    finding.add(numbers, "counts {unlocks} achievements, and has {rows}, the newest with number {newest}")
    finding.add(await audit.fetch(ACHIEVEMENT, WRONG_ORDERS), "is {value}, and the orders give {orders}")
    await _check_rounds(audit, finding)
    await _check_rewards(audit, finding)
    await check_published_once(audit, ACHIEVEMENT, UNLOCKED, "code", finding)
    await check_deleted(audit, ACHIEVEMENT, PRESENT, finding)
    return finding


async def _check_rounds(audit: Audit, finding: Finding) -> None:
    """Facts are at least what the rounds before the cutoff give, and at most what all give that were played by now."""
    settled = {(row["player"], row["game"]): row for row in await audit.fetch(PLAYER, ROUNDS, audit.cutoff)}
    facts = {(row["player"], row["game"], row["fact"]): row["value"] for row in await audit.fetch(ACHIEVEMENT, FACTS)}
    played = {(row["player"], row["game"]): row for row in await audit.fetch(PLAYER, ROUNDS, None)}
    finding.checked += len(played)
    deleted = await deleted_users(audit, ACHIEVEMENT, {player for player, _ in played})
    for (player, game), upper in played.items():
        if player in deleted:
            continue
        lower = settled.get((player, game))
        for fact, column in COLUMNS.items():
            least, most, value = lower[column] if lower else 0, upper[column], facts.get((player, game, fact), 0)
            if not least <= value <= most:
                finding.violations[f"{player} {fact}:{game}"] = f"is {value}, and the rounds give {most}"


async def _check_rewards(audit: Audit, finding: Finding) -> None:
    """The player's ledger has each achievement that the player service has consumed, and no other."""
    before = {row["id"]: row["xp"] for row in await audit.fetch(PLAYER, CAUSES)}
    unlocked = {row["id"]: row for row in await audit.fetch(ACHIEVEMENT, REWARDED)}
    events = await consumed(audit, ACHIEVEMENT, [UNLOCKED], PLAYER)
    announced = {f"{row['subject_id']} {row['code']}" for row in events}
    players = {row["id"] for row in await audit.fetch(PLAYER, PLAYERS)}
    given = {row["id"]: row["xp"] for row in await audit.fetch(PLAYER, CAUSES)}
    for key in before.keys() - unlocked.keys():
        finding.violations[key] = "gave XP, and is not unlocked"
    for key, row in unlocked.items():
        xp = min(row["xp"], MAX_XP)
        expected = row["player"] in players and key in announced
        if (expected and key not in given) or given.get(key, xp) != xp:
            finding.violations[key] = f"is worth {xp} XP, and the player's ledger has {given.get(key, 0)}"
