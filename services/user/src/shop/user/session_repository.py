"""The SQL of sessions: failed sign-ins, refresh tokens and signing keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from shop.kit.db import Connection
from shop.user.domain import DELETED_USERS_S, Account, RefreshState, SigningKey
from shop.user.repository import user_of

KEYS_LOCK = 0x53484F50_4B455953
"""Advisory lock: one replica at a time changes signing keys."""

DELETE_BATCH = 1_000


async def sign_in_state(db: Connection, email: str) -> tuple[Account | None, datetime | None]:
    """The account of ``email``, and until when it is or was locked."""
    row = await db.fetchrow(
        """
        SELECT u.id, u.email, u.name, u.role, u.created_at, u.password_hash, f.locked_until
        FROM (SELECT $1::text AS email) input
        LEFT JOIN users u ON u.email = input.email
        LEFT JOIN sign_in_failures f ON f.email = input.email
        """,
        email,
    )
    if row is None:
        return None, None
    account = Account(user_of(row), row["password_hash"]) if row["id"] else None
    return account, row["locked_until"]


async def count_failure(db: Connection, email: str, now: datetime, forget_before: datetime) -> int:
    """Count one failed sign-in and return the number of consecutive ones since ``forget_before``."""
    count: int = await db.fetchval(
        """
        INSERT INTO sign_in_failures AS f (email, failures, last_failure_at, locked_until) VALUES ($1, 1, $2, $2)
        ON CONFLICT (email) DO UPDATE SET
            failures = CASE WHEN f.last_failure_at < $3 THEN 1 ELSE f.failures + 1 END,
            last_failure_at = $2
        RETURNING failures
        """,
        email,
        now,
        forget_before,
    )
    return count


async def lock_sign_in(db: Connection, email: str, until: datetime) -> None:
    await db.execute("UPDATE sign_in_failures SET locked_until = $2 WHERE email = $1", email, until)


async def locked_until(db: Connection, email: str) -> datetime | None:
    until: datetime | None = await db.fetchval("SELECT locked_until FROM sign_in_failures WHERE email = $1", email)
    return until


async def open_family(
    db: Connection, account: Account, family_id: UUID, first_hash: bytes, now: datetime, expires_at: datetime
) -> bool:
    """Store a session and delete the failures of its address.

    False, and nothing stored, if the password was changed since it was checked or the address was locked meanwhile:
    concurrent guesses cannot bypass the lock.
    """
    stored = await db.fetchval(
        """
        WITH forgotten AS (
            DELETE FROM sign_in_failures WHERE email = $2 AND locked_until <= $6
        ), family AS (
            INSERT INTO token_families (id, user_id, created_at, expires_at)
            SELECT $4, u.id, $6, $7 FROM users u
            WHERE u.id = $1 AND u.password_hash = $3
              AND NOT EXISTS (SELECT FROM sign_in_failures WHERE email = $2 AND locked_until > $6)
            RETURNING id
        )
        INSERT INTO refresh_tokens (token_hash, family_id, created_at)
        SELECT $5, family.id, $6 FROM family RETURNING true
        """,
        account.user.id,
        account.user.email,
        account.password_hash,
        family_id,
        first_hash,
        now,
        expires_at,
    )
    return bool(stored)


async def lock_refresh_token(db: Connection, token_hash: bytes) -> RefreshState | None:
    """The state of a token; it and its family stay locked until the transaction ends, which serializes refreshes."""
    row = await db.fetchrow(
        """
        SELECT t.used_at, f.id AS family_id, f.expires_at, f.revoked_at IS NOT NULL AS revoked,
               EXISTS (SELECT FROM refresh_tokens s
                       WHERE s.token_hash = t.successor_hash AND s.used_at IS NOT NULL) AS successor_used,
               u.id, u.email, u.name, u.role, u.created_at
        FROM refresh_tokens t JOIN token_families f ON f.id = t.family_id JOIN users u ON u.id = f.user_id
        WHERE t.token_hash = $1
        FOR UPDATE OF t, f
        """,
        token_hash,
    )
    if row is None:
        return None
    return RefreshState(
        row["family_id"], row["expires_at"], row["revoked"], row["used_at"], row["successor_used"], user_of(row)
    )


async def rotate_refresh_token(db: Connection, old: bytes, new: bytes, family_id: UUID, now: datetime) -> None:
    await db.execute(
        """
        WITH used AS (UPDATE refresh_tokens SET used_at = $4, successor_hash = $2 WHERE token_hash = $1)
        INSERT INTO refresh_tokens (token_hash, family_id, created_at) VALUES ($2, $3, $4)
        """,
        old,
        new,
        family_id,
        now,
    )


async def revoke_family(db: Connection, family_id: UUID, now: datetime) -> None:
    await db.execute("UPDATE token_families SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL", family_id, now)


async def revoke_own_family(db: Connection, user_id: UUID, family_id: UUID, now: datetime) -> None:
    await db.execute(
        "UPDATE token_families SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL",
        family_id,
        user_id,
        now,
    )


async def revoke_families_except(db: Connection, user_id: UUID, kept: UUID | None, now: datetime) -> None:
    await db.execute(
        """
        UPDATE token_families SET revoked_at = $3
        WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND revoked_at IS NULL
        """,
        user_id,
        kept,
        now,
    )


async def delete_stale(db: Connection, now: datetime, failures_before: datetime) -> int:
    """Delete a batch of expired sessions and old failures; returns the number of rows."""
    deleted: int = await db.fetchval(
        """
        WITH families AS (
            DELETE FROM token_families
            WHERE id IN (SELECT id FROM token_families WHERE expires_at < $1 LIMIT $3) RETURNING 1
        ), failures AS (
            DELETE FROM sign_in_failures WHERE email IN (
                SELECT email FROM sign_in_failures WHERE last_failure_at < $2 AND locked_until < $1 LIMIT $3
            ) RETURNING 1
        ), deleted AS (
            DELETE FROM deleted_users WHERE user_id IN (
                SELECT user_id FROM deleted_users WHERE deleted_at < $4 LIMIT $3
            ) RETURNING 1
        )
        SELECT (SELECT count(*) FROM families) + (SELECT count(*) FROM failures) + (SELECT count(*) FROM deleted)
        """,
        now,
        failures_before,
        DELETE_BATCH,
        now - timedelta(seconds=DELETED_USERS_S),
    )
    return deleted


async def lock_keys(db: Connection) -> None:
    await db.execute("SELECT pg_advisory_xact_lock($1)", KEYS_LOCK)


async def signing_keys(db: Connection) -> list[SigningKey]:
    rows = await db.fetch("SELECT kid, private_key, public_key, created_at, activates_at FROM signing_keys")
    return [SigningKey(*row.values()) for row in rows]


async def insert_key(db: Connection, key: SigningKey) -> None:
    await db.execute(
        """
        INSERT INTO signing_keys (kid, private_key, public_key, created_at, activates_at)
        VALUES ($1, $2, $3, $4, $5)
        """,
        key.kid,
        key.private_key,
        key.public_key,
        key.created_at,
        key.activates_at,
    )


async def delete_keys(db: Connection, kids: list[str]) -> None:
    await db.execute("DELETE FROM signing_keys WHERE kid = ANY($1::text[])", kids)
