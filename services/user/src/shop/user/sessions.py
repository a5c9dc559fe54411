"""Sign-in, refresh and sign-out."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shop.kit.clock import Clock
from shop.kit.db import Database
from shop.kit.errors import Problem, Unavailable
from shop.kit.ids import new_id
from shop.kit.logging import decision
from shop.user import domain, errors
from shop.user import repository as users
from shop.user import session_repository as repository
from shop.user.domain import Account, RefreshDecision, RefreshState
from shop.user.keys import Keyring
from shop.user.metrics import SIGN_INS
from shop.user.passwords import Passwords
from shop.user.secret import Secrets, new_refresh_token, token_hash

CLEANING_PAUSE_S = 600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TokenPair:
    access_token: str
    refresh_token: str
    expires_in: int


def _log_refusal(reason: str, account: Account | None = None) -> None:
    """The address is not logged: a user may have typed the password there."""
    user_id = account.user.id if account else None
    decision(log, "sign_in_refused", "sign-in refused: %s", reason, reason=reason, user_id=user_id)


class Sessions:
    def __init__(
        self,
        database: Database,
        keys: Keyring,
        passwords: Passwords,
        secrets: Secrets,
        clock: Clock,
        lifetime: timedelta,
    ) -> None:
        self._database = database
        self._keys = keys
        self._passwords = passwords
        self._secrets = secrets
        self._clock = clock
        self._lifetime = lifetime

    async def sign_in(self, email: str, password: str) -> TokenPair:
        """Tokens for the correct password; the same work and problem for a wrong one and an unknown address."""
        try:
            tokens = await self._sign_in(email, password)
        except Problem:
            SIGN_INS.labels("refused").inc()
            raise
        SIGN_INS.labels("done").inc()
        return tokens

    async def _sign_in(self, email: str, password: str) -> TokenPair:
        account, locked_until = await repository.sign_in_state(self._database, email)
        self._refuse_while_locked(locked_until)
        matches = await self._passwords.verify(account.password_hash if account else None, password)
        if account is None or not matches:
            await self.record_failure(email)
            _log_refusal("unknown_address" if account is None else "wrong_password", account)
            raise errors.invalid_credentials()
        account = await self._rehashed(account, password)
        return await self._start(account)

    async def check_password(self, account: Account, password: str) -> bool:
        """The same check, with the same lock, for a signed-in user."""
        self._refuse_while_locked(await repository.locked_until(self._database, account.user.email))
        if await self._passwords.verify(account.password_hash, password):
            return True
        await self.record_failure(account.user.email)
        _log_refusal("wrong_password", account)
        return False

    async def refresh(self, refresh_token: str) -> TokenPair:
        """The next pair of tokens; a token that was stolen, and so is used twice, ends the whole sign-in."""
        now = self._clock.now()
        shown = token_hash(refresh_token)
        successor = self._secrets.successor(refresh_token)
        async with self._database.transaction() as db:
            token = await repository.lock_refresh_token(db, shown)
            verdict = domain.decide_refresh(token, now) if token else RefreshDecision.INVALID
            if token and verdict is RefreshDecision.ROTATE:
                await repository.rotate_refresh_token(db, shown, token_hash(successor), token.family_id, now)
            elif token and verdict is RefreshDecision.REUSED:
                await repository.revoke_family(db, token.family_id, now)
        return self._answer(token, verdict, successor)

    def _answer(self, token: RefreshState | None, verdict: RefreshDecision, successor: str) -> TokenPair:
        if token is None or verdict is RefreshDecision.INVALID:
            raise errors.invalid_refresh_token()
        if verdict is RefreshDecision.REUSED:
            about: dict[str, Any] = {"user_id": token.user.id, "family_id": token.family_id}
            decision(log, "refresh_token_reused", "refresh token reused", level=logging.WARNING, **about)
            raise errors.refresh_token_reused()
        access = self._keys.access_token(token.user, token.family_id)
        return TokenPair(access, successor, domain.ACCESS_TOKEN_TTL_S)

    async def sign_out(self, user_id: UUID, family_id: UUID | None) -> None:
        """End one session; its access token expires within ACCESS_TOKEN_TTL_S."""
        if family_id:
            await repository.revoke_own_family(self._database, user_id, family_id, self._clock.now())

    def _refuse_while_locked(self, locked_until: datetime | None) -> None:
        if locked_until is None:
            return
        wait_s = (locked_until - self._clock.now()).total_seconds()
        if wait_s > 0:
            _log_refusal("locked")
            raise errors.too_many_attempts(wait_s)

    async def record_failure(self, email: str) -> None:
        """Count a failed attempt; after FREE_FAILURES consecutive ones the address is locked for a while."""
        now = self._clock.now()
        forget_before = now - timedelta(seconds=domain.FAILURE_MEMORY_S)
        async with self._database.transaction() as db:
            lock_s = domain.lock_s(await repository.count_failure(db, email, now, forget_before))
            if lock_s:
                await repository.lock_sign_in(db, email, now + timedelta(seconds=lock_s))

    async def _rehashed(self, account: Account, password: str) -> Account:
        """The account with a hash of the current parameters."""
        if not self._passwords.outdated(account.password_hash):
            return account
        fresh = await self._passwords.hash(password)
        now = self._clock.now()
        stored = await users.replace_password_hash(self._database, account.user.id, account.password_hash, fresh, now)
        return Account(account.user, fresh) if stored else account

    async def _start(self, account: Account) -> TokenPair:
        now, family_id, first = self._clock.now(), new_id(), new_refresh_token()
        expires_at = now + self._lifetime
        opened = await repository.open_family(self._database, account, family_id, token_hash(first), now, expires_at)
        if not opened:
            self._refuse_while_locked(await repository.locked_until(self._database, account.user.email))
            raise errors.invalid_credentials()
        return TokenPair(self._keys.access_token(account.user, family_id), first, domain.ACCESS_TOKEN_TTL_S)

    async def delete_expired(self) -> int:
        """Delete a batch of expired rows; returns their number."""
        now = self._clock.now()
        return await repository.delete_stale(self._database, now, now - timedelta(seconds=domain.FAILURE_MEMORY_S))

    async def run(self) -> None:
        """Delete expired rows until cancelled."""
        while True:
            try:
                while await self.delete_expired():
                    pass
            except Unavailable:
                log.warning(
                    "expired sessions not deleted: the database is unavailable", extra={"event": "sessions_not_deleted"}
                )
            await asyncio.sleep(CLEANING_PAUSE_S)
