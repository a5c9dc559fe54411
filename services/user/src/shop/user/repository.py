"""The SQL of accounts and addresses. Functions take a connection: the caller defines the transaction."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from shop.kit.db import Connection, Record
from shop.user.domain import MAX_DELETED_USERS, Account, Address, User

ACCOUNT = "SELECT id, email, name, role, created_at, password_hash FROM users"


def user_of(row: Record) -> User:
    return User(row["id"], row["email"], row["name"], row["role"], row["created_at"])


async def insert_user(db: Connection, user: User, password_hash: str) -> bool:
    """False, and nothing stored, when the email address is taken."""
    status = await db.execute(
        """
        INSERT INTO users (id, email, name, role, password_hash, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (email) DO NOTHING
        """,
        user.id,
        user.email,
        user.name,
        user.role,
        password_hash,
        user.created_at,
    )
    return status == "INSERT 0 1"


async def find_user(db: Connection, user_id: UUID) -> User | None:
    row = await db.fetchrow("SELECT id, email, name, role, created_at FROM users WHERE id = $1", user_id)
    return user_of(row) if row else None


async def find_account(db: Connection, user_id: UUID) -> Account | None:
    row = await db.fetchrow(f"{ACCOUNT} WHERE id = $1", user_id)
    return Account(user_of(row), row["password_hash"]) if row else None


async def find_account_by_email(db: Connection, email: str) -> Account | None:
    row = await db.fetchrow(f"{ACCOUNT} WHERE email = $1", email)
    return Account(user_of(row), row["password_hash"]) if row else None


async def rename(db: Connection, user_id: UUID, name: str, now: datetime) -> User | None:
    row = await db.fetchrow(
        """
        UPDATE users SET name = $2, updated_at = $3 WHERE id = $1
        RETURNING id, email, name, role, created_at
        """,
        user_id,
        name,
        now,
    )
    return user_of(row) if row else None


async def replace_password_hash(db: Connection, user_id: UUID, old: str, new: str, now: datetime) -> bool:
    """False if the password was changed concurrently."""
    status = await db.execute(
        "UPDATE users SET password_hash = $3, updated_at = $4 WHERE id = $1 AND password_hash = $2",
        user_id,
        old,
        new,
        now,
    )
    return status == "UPDATE 1"


async def make_admin(db: Connection, user_id: UUID, password_hash: str, now: datetime) -> None:
    await db.execute(
        "UPDATE users SET role = 'admin', password_hash = $2, updated_at = $3 WHERE id = $1",
        user_id,
        password_hash,
        now,
    )


async def lock_admins(db: Connection) -> list[UUID]:
    """The administrators, locked until the transaction ends, so that two cannot both find the other one left."""
    return [row["id"] for row in await db.fetch("SELECT id FROM users WHERE role = 'admin' ORDER BY id FOR UPDATE")]


async def deleted_users(db: Connection, since: datetime) -> list[UUID]:
    sql = "SELECT user_id FROM deleted_users WHERE deleted_at > $1 ORDER BY deleted_at DESC LIMIT $2"
    return [row["user_id"] for row in await db.fetch(sql, since, MAX_DELETED_USERS)]


async def delete_user(db: Connection, account: Account, now: datetime) -> bool:
    """Delete the account with its addresses, sessions, tokens and failed sign-ins.

    False, and nothing deleted, if there is none any more or its password was changed since it was checked.
    """
    deleted = await db.fetchval(
        """
        WITH deleted AS (
            DELETE FROM users WHERE id = $1 AND password_hash = $2 RETURNING id, email
        ), remembered AS (
            INSERT INTO deleted_users (user_id, deleted_at) SELECT id, $3 FROM deleted
        ), forgotten AS (
            DELETE FROM sign_in_failures f USING deleted WHERE f.email = deleted.email
        )
        SELECT true FROM deleted
        """,
        account.user.id,
        account.password_hash,
        now,
    )
    return bool(deleted)


async def lock_user(db: Connection, user_id: UUID) -> bool:
    """Lock the account until the transaction ends; False if there is none."""
    return bool(await db.fetchval("SELECT true FROM users WHERE id = $1 FOR UPDATE", user_id))


async def addresses(db: Connection, user_id: UUID) -> list[Address]:
    rows = await db.fetch(
        """
        SELECT id, name, street, city, postal_code, country, region FROM addresses
        WHERE user_id = $1 ORDER BY created_at, id
        """,
        user_id,
    )
    return [Address(**dict(row)) for row in rows]


async def insert_address(db: Connection, user_id: UUID, address: Address, now: datetime, limit: int) -> bool:
    """False if the user has ``limit`` addresses already; the caller holds ``lock_user``."""
    status = await db.execute(
        """
        INSERT INTO addresses (id, user_id, name, street, city, postal_code, country, created_at, region)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $10
        WHERE (SELECT count(*) FROM addresses WHERE user_id = $2) < $9
        """,
        address.id,
        user_id,
        address.name,
        address.street,
        address.city,
        address.postal_code,
        address.country,
        now,
        limit,
        address.region,
    )
    return status == "INSERT 0 1"


async def replace_address(db: Connection, user_id: UUID, address: Address) -> bool:
    """False if ``user_id`` has no such address."""
    status = await db.execute(
        """
        UPDATE addresses SET name = $3, street = $4, city = $5, postal_code = $6, country = $7, region = $8
        WHERE id = $1 AND user_id = $2
        """,
        address.id,
        user_id,
        address.name,
        address.street,
        address.city,
        address.postal_code,
        address.country,
        address.region,
    )
    return status == "UPDATE 1"


async def delete_address(db: Connection, user_id: UUID, address_id: UUID) -> bool:
    status = await db.execute("DELETE FROM addresses WHERE id = $1 AND user_id = $2", address_id, user_id)
    return status == "DELETE 1"
