"""What the oracles about the arcade share: which events a service has consumed, and whose data it has deleted."""

from collections.abc import Collection

from shop.operator.audit.model import Audit, Finding, Row

PLAYER, ACHIEVEMENT, LEADERBOARD = "player", "achievement", "leaderboard"
DELETED = "user.deleted.v1"
PUBLISHED = """
SELECT event_id, type, subject_id, created_at AS at, payload::jsonb #>> '{data,code}' AS code,
       payload::jsonb #>> '{data,result_id}' AS result_id, payload::jsonb #>> '{data,version}' AS version
FROM outbox WHERE type = ANY ($1) AND published_at < $2 ORDER BY id"""
REMEMBERED = """
SELECT users.id AS id FROM unnest($1::text[]) AS users (id)
WHERE EXISTS (SELECT FROM deleted_user_digest WHERE digest = sha256(uuid_send(users.id::uuid)))"""
CONSUMED = "SELECT DISTINCT event_id FROM inbox WHERE event_id = ANY ($1::uuid[])"
PUBLISHED_TWICE = """
SELECT subject_id || ' ' || key AS id, count(*) AS times
FROM (SELECT subject_id, payload::jsonb -> 'data' ->> $2 AS key FROM outbox WHERE type = $1) AS events
GROUP BY subject_id, key HAVING count(*) > 1"""


def has_arcade(audit: Audit) -> bool:
    return {PLAYER, ACHIEVEMENT, LEADERBOARD} <= audit.connections.keys()


async def consumed(audit: Audit, publisher: str, types: Collection[str], noun: str) -> list[Row]:
    """The events of ``publisher`` that ``noun`` has consumed, as long as both services remember them."""
    published = await audit.fetch(publisher, PUBLISHED, list(types), audit.cutoff)
    ids = [row["event_id"] for row in published]
    known = {row["event_id"] for row in await audit.fetch(noun, CONSUMED, ids)}
    return [row for row in published if row["event_id"] in known]


async def deleted_users(audit: Audit, noun: str, users: Collection[object]) -> set[str]:
    """Those of the users of whom ``noun`` remembers that they were deleted: their events have no effect there."""
    return {row["id"] for row in await audit.fetch(noun, REMEMBERED, [str(user) for user in users])}


async def check_deleted(audit: Audit, noun: str, sql: str, finding: Finding) -> None:
    """``sql`` selects the ids among $1 of whom ``noun`` stores something: none of a deleted user."""
    deleted = [row["subject_id"] for row in await consumed(audit, "user", [DELETED], noun)]
    finding.checked += len(deleted)
    finding.add(await audit.fetch(noun, sql, deleted), f"is a deleted user of whom {noun} still stores something")


async def check_published_once(audit: Audit, noun: str, event: str, key: str, finding: Finding) -> None:
    """Of each subject and value of ``key`` among the event's data there is one event in the outbox."""
    twice = await audit.fetch(noun, PUBLISHED_TWICE, event, key)
    finding.add(twice, f"{noun} published {event} for this {key} {{times}} times")
