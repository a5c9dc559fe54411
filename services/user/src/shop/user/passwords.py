"""Password hashing with argon2id, in a bounded thread pool.

A hash takes about 20 ms of one core and 19 MiB, by design. Threads keep that off the event loop (argon2 releases the
GIL); the bound limits the memory and the latency that a burst of sign-ins causes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from shop.kit import text
from shop.user import errors
from shop.user.settings import Settings

MAX_WAITING = 128
"""Passwords being hashed or queued; at 20 ms each and two threads the last waits about 1.3 s."""


class Passwords:
    def __init__(self, hasher: PasswordHasher, threads: int) -> None:
        self._hasher = hasher
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._waiting = 0
        self._decoy = hasher.hash("the password of nobody")

    @classmethod
    def build(cls, settings: Settings) -> Passwords:
        hasher = PasswordHasher(
            time_cost=settings.argon2_passes,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_lanes,
        )
        return cls(hasher, settings.password_threads)

    async def hash(self, password: str) -> str:
        """The encoded argon2id hash of the normalized password, with salt and parameters."""
        return await self._run(lambda: self._hasher.hash(text.password(password)))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether ``password`` belongs to the hash. None, for an unknown account, does the same work and is False.

        The password as typed is tried too: the hash may be older than the normalization.
        """
        candidates = tuple(dict.fromkeys((text.password(password), password)))
        matches = await self._run(lambda: self._matches(password_hash or self._decoy, candidates))
        return matches and password_hash is not None

    def outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than the current ones."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password_hash: str, candidates: Sequence[str]) -> bool:
        for password in candidates:
            with contextlib.suppress(Argon2Error, InvalidHashError):
                return self._hasher.verify(password_hash, password)
        return False

    async def _run[R](self, work: Callable[[], R]) -> R:
        if self._waiting >= MAX_WAITING:
            raise errors.overloaded()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
