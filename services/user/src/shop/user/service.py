"""Accounts and addresses; sessions and keys are in modules of their own."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any
from uuid import UUID

from shop.contracts.events import UserDeleted, UserRegistered
from shop.kit.app import Context
from shop.kit.clock import Clock
from shop.kit.db import Database
from shop.kit.errors import Unavailable
from shop.kit.ids import new_id
from shop.kit.outbox import publish
from shop.kit.text import email_address
from shop.user import domain, errors, repository, session_repository
from shop.user.domain import Address, User
from shop.user.keys import Keyring
from shop.user.metrics import REGISTRATIONS
from shop.user.passwords import Passwords
from shop.user.secret import Secrets
from shop.user.sessions import Sessions
from shop.user.settings import Settings

ADMIN_NAME = "Administrator"
KEY_SET_TIMEOUT_S = 0.5
"""The longest that the key set waits for the database: services that start need the keys."""


class UserService:
    def __init__(self, database: Database, keys: Keyring, sessions: Sessions, passwords: Passwords, clock: Clock):
        self.keys = keys
        self.sessions = sessions
        self._database = database
        self._passwords = passwords
        self._clock = clock
        self._deleted_users: list[UUID] = []

    @classmethod
    async def build(cls, context: Context) -> UserService:
        """The service, with keys loaded, administrator created and background loops started."""
        settings: Settings = context.settings
        database, clock = context.database, context.clock
        secrets = Secrets.build(settings)
        passwords = Passwords.build(settings)
        keys = Keyring(database, secrets, clock, timedelta(days=settings.key_rotation_days))
        lifetime = timedelta(days=settings.refresh_token_days)
        sessions = Sessions(database, keys, passwords, secrets, clock, lifetime)
        service = cls(database, keys, sessions, passwords, clock)
        await keys.refresh()
        context.authenticator.use(keys)
        if settings.admin_email and settings.admin_password:
            await service.ensure_admin(email_address(settings.admin_email), settings.admin_password)
        context.tasks.start("signing-keys", keys.run)
        context.tasks.start("expired-sign-ins", sessions.run)
        return service

    async def close(self) -> None:
        self._passwords.close()

    async def register(self, email: str, password: str, name: str) -> User:
        """Create a customer and publish UserRegistered; 409 if the address is taken, also concurrently."""
        password_hash = await self._passwords.hash(password)
        user = User(new_id(), email, name, "customer", self._clock.now())
        event = UserRegistered(user_id=user.id, email=email, name=name, occurred_at=user.created_at)
        async with self._database.transaction() as db:
            if not await repository.insert_user(db, user, password_hash):
                raise errors.email_taken()
            await publish(db, event)
        REGISTRATIONS.inc()
        return user

    async def ensure_admin(self, email: str, password: str) -> None:
        """Make ``email`` an administrator with this password; no change if it is one already."""
        account = await repository.find_account_by_email(self._database, email)
        if account is None:
            admin = User(new_id(), email, ADMIN_NAME, "admin", self._clock.now())
            if await repository.insert_user(self._database, admin, await self._passwords.hash(password)):
                return
            account = await repository.find_account_by_email(self._database, email)
        if account is None:
            return
        if account.user.role == "admin" and await self._passwords.verify(account.password_hash, password):
            return
        password_hash, now = await self._passwords.hash(password), self._clock.now()
        async with self._database.transaction() as db:
            await repository.make_admin(db, account.user.id, password_hash, now)
            await session_repository.revoke_families_except(db, account.user.id, None, now)

    async def find(self, user_id: UUID) -> User:
        user = await repository.find_user(self._database, user_id)
        if user is None:
            raise errors.unknown_user()
        return user

    async def find_by_email(self, email: str) -> list[User]:
        """At most one account."""
        account = await repository.find_account_by_email(self._database, email)
        return [] if account is None else [account.user]

    async def rename(self, user_id: UUID, name: str) -> User:
        user = await repository.rename(self._database, user_id, name, self._clock.now())
        if user is None:
            raise errors.unknown_user()
        return user

    async def change_password(self, user_id: UUID, current: str, new: str, kept_family: UUID | None) -> None:
        """Replace the password and end all other sessions."""
        account = await repository.find_account(self._database, user_id)
        if account is None:
            raise errors.unknown_user()
        if not await self.sessions.check_password(account, current):
            raise errors.wrong_password()
        fresh, now = await self._passwords.hash(new), self._clock.now()
        async with self._database.transaction() as db:
            if not await repository.replace_password_hash(db, user_id, account.password_hash, fresh, now):
                raise errors.wrong_password()
            await session_repository.revoke_families_except(db, user_id, kept_family, now)

    async def delete(self, user_id: UUID, password: str) -> None:
        """Delete the account and publish UserDeleted; 403 for a wrong password, 409 for the only administrator."""
        account = await repository.find_account(self._database, user_id)
        if account is None:
            raise errors.unknown_user()
        if not await self.sessions.check_password(account, password):
            raise errors.wrong_password()
        now = self._clock.now()
        async with self._database.transaction() as db:
            if account.user.role == "admin" and await repository.lock_admins(db) == [user_id]:
                raise errors.last_admin()
            if not await repository.delete_user(db, account, now):
                raise errors.wrong_password()
            await publish(db, UserDeleted(user_id=user_id, occurred_at=now))

    async def key_set(self) -> dict[str, Any]:
        """The keys of access tokens, and the users whose tokens are no longer valid although they have not expired.

        While the database is unavailable these are the users as last read.
        """
        since = self._clock.now() - timedelta(seconds=domain.DELETED_USERS_S)
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(KEY_SET_TIMEOUT_S):
                self._deleted_users = await repository.deleted_users(self._database, since)
        return self.keys.jwks() | {"deleted_users": [str(user_id) for user_id in self._deleted_users]}

    async def addresses(self, user_id: UUID) -> list[Address]:
        return await repository.addresses(self._database, user_id)

    async def add_address(self, user_id: UUID, address: Address) -> Address:
        """Save an address; 409 beyond MAX_ADDRESSES, also concurrently."""
        async with self._database.transaction() as db:
            if not await repository.lock_user(db, user_id):
                raise errors.unknown_user()
            if not await repository.insert_address(db, user_id, address, self._clock.now(), domain.MAX_ADDRESSES):
                raise errors.too_many_addresses(domain.MAX_ADDRESSES)
        return address

    async def replace_address(self, user_id: UUID, address: Address) -> Address:
        if not await repository.replace_address(self._database, user_id, address):
            raise errors.unknown_address()
        return address

    async def delete_address(self, user_id: UUID, address_id: UUID) -> None:
        if not await repository.delete_address(self._database, user_id, address_id):
            raise errors.unknown_address()
