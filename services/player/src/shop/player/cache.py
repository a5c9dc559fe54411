"""Profiles in Valkey, with exact invalidation: after a write was answered no read returns what was there before.

A reader that finds nothing puts a token of its own under the key, reads PostgreSQL, and stores the profile only if its
token is still there. A writer that holds the row's lock puts a mark there before it commits, which replaces any token
or profile and keeps readers from storing one; after the commit it removes its own mark. If it cannot, the mark
expires. What was evicted or flushed has no token, so nothing old is stored; what was stored because a mark was lost is
removed after the commit, too.

Without Valkey every read goes to PostgreSQL. A mark that could not be set is set as soon as Valkey answers again; until
then this process does not read that profile from it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, cast
from uuid import UUID

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shop.player.metrics import PROFILES

log = logging.getLogger(__name__)

CONNECTIONS = 16
TIMEOUT_S = 0.2
"""For a connection and for each reply."""
PAUSE_S = 1.0
"""After a failure, how long Valkey is not asked for profiles."""
PROFILE_TTL_S = 600
TOKEN_TTL_S = 5
MARK_TTL_S = 60
"""Longer than the transaction of a write takes."""
RETRY_EVERY_S = 0.1
MAX_UNMARKED = 10_000
"""Marks that wait for Valkey; with more, this process reads no profile from it until they are set."""
SCAN_KEYS = 1_000
KEY_PREFIX = "player:profile:"
MARK_PREFIX = b"w:"
NO_MARK = b""
TOKEN_PREFIX = b"r:"
TOKEN_BYTES = 12
DOCUMENT_START = b"{"

STORE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end"""
UNMARK = """
for _, key in ipairs(KEYS) do
    local found = redis.call('GET', key)
    if found and (found == ARGV[1] or string.sub(found, 1, 2) ~= 'w:') then redis.call('DEL', key) end
end"""

Document = Mapping[str, Any]


class ProfileCache:
    def __init__(self, valkey: Redis) -> None:
        self._valkey = valkey
        self._store = valkey.register_script(STORE)
        self._unmark = valkey.register_script(UNMARK)
        self._unmarked: dict[UUID, None] = {}
        self._overflow = False
        self._failed_at = float("-inf")

    async def read(self, player_id: UUID, load: Callable[[UUID], Awaitable[Document | None]]) -> Document | None:
        """The profile, from Valkey or by ``load``."""
        if not self._usable(player_id):
            PROFILES.labels("database").inc()
            return await load(player_id)
        token = TOKEN_PREFIX + secrets.token_bytes(TOKEN_BYTES)
        try:
            found = await self._find(player_id, token)
        except (RedisError, OSError) as error:
            self._failed(error)
            found = None
        if found is not None and found.startswith(DOCUMENT_START):
            PROFILES.labels("cache").inc()
            document: Document = orjson.loads(found)
            return document
        PROFILES.labels("database").inc()
        loaded = await load(player_id)
        if loaded is not None and found == token:
            await self._keep(player_id, token, loaded)
        return loaded

    def _usable(self, player_id: UUID) -> bool:
        waiting = self._overflow or player_id in self._unmarked
        return not waiting and time.monotonic() - self._failed_at >= PAUSE_S

    async def _find(self, player_id: UUID, token: bytes) -> bytes | None:
        """The profile or another one's token or mark; ``token`` itself if nothing was there."""
        found = cast(bytes | None, await self._valkey.get(_key(player_id)))
        if found is None and await self._valkey.set(_key(player_id), token, nx=True, ex=TOKEN_TTL_S):
            return token
        return found

    async def _keep(self, player_id: UUID, token: bytes, document: Document) -> None:
        try:
            content = orjson.dumps(document, default=str)
            await self._store(keys=[_key(player_id)], args=[token, content, PROFILE_TTL_S])
        except (RedisError, OSError) as error:
            self._failed(error)

    async def mark(self, player_ids: Collection[UUID]) -> bytes:
        """Before the commit of a write that holds the players' locks; returns the mark, for `unmark`."""
        mark = _new_mark()
        try:
            await self._set(player_ids, mark)
        except (RedisError, OSError) as error:
            self._failed(error)
            self._wait(player_ids)
        return mark

    async def unmark(self, player_ids: Collection[UUID], mark: bytes) -> None:
        """After the commit. Another write's mark stays."""
        try:
            if player_ids:
                await self._unmark(keys=[_key(player_id) for player_id in player_ids], args=[mark])
        except (RedisError, OSError) as error:
            self._failed(error)
            self._wait(player_ids)

    async def forget(self, player_ids: Collection[UUID]) -> None:
        """After a commit: remove the profiles; marks stay until they expire."""
        await self.unmark(player_ids, NO_MARK)

    async def _set(self, player_ids: Collection[UUID], mark: bytes) -> None:
        async with self._valkey.pipeline(transaction=False) as pipeline:
            for player_id in player_ids:
                pipeline.set(_key(player_id), mark, ex=MARK_TTL_S)
            await pipeline.execute()

    def _wait(self, player_ids: Collection[UUID]) -> None:
        self._unmarked.update(dict.fromkeys(player_ids))
        if len(self._unmarked) > MAX_UNMARKED:
            self._unmarked.clear()
            self._overflow = True

    def _failed(self, error: Exception) -> None:
        self._failed_at = time.monotonic()
        log.warning("profiles are read from the database: %r", error, extra={"event": "cache_unavailable"})

    async def run(self) -> None:
        """Set the marks that wait for Valkey, until cancelled."""
        while True:
            await self.retry()
            await asyncio.sleep(RETRY_EVERY_S)

    async def retry(self) -> None:
        """Set the marks that wait; after more than MAX_UNMARKED, remove every profile instead."""
        try:
            if self._overflow:
                await self._remove_all()
                self._overflow = False
            if waiting := list(self._unmarked):
                await self._set(waiting, _new_mark())
                for player_id in waiting:
                    self._unmarked.pop(player_id, None)
        except (RedisError, OSError) as error:
            self._failed(error)

    async def _remove_all(self) -> None:
        """Every profile; marks of writes stay."""
        async for key in self._valkey.scan_iter(match=f"{KEY_PREFIX}*", count=SCAN_KEYS):
            await self._unmark(keys=[key], args=[NO_MARK])

    async def close(self) -> None:
        await self._valkey.aclose()


def _new_mark() -> bytes:
    return MARK_PREFIX + secrets.token_bytes(TOKEN_BYTES)


def _key(player_id: UUID) -> str:
    return f"{KEY_PREFIX}{player_id}"
