"""Boards in Valkey: written after each commit, read instead of the database; see ADR 0053 and 0054.

The database is the truth. What is cached of a board counts only if it has the board's epoch in the database and was
written to the server that answers: a server that was restarted may have lost its last second of writes. Each process
has scripts of its own (their first line differs), which a restarted server does not know: so a process notices a
restart with its first call and asks which server it is, at no cost for other calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import NoScriptError, RedisError

from shop.kit.errors import Unavailable
from shop.kit.ids import new_id
from shop.kit.valkey import open_valkey
from shop.kit.valkey_pipeline import ValkeyPipeline
from shop.leaderboard import metrics
from shop.leaderboard.board_repository import SeasonKey
from shop.leaderboard.cache_scripts import GONE_KEY, HIDING_KEY, SCRIPTS
from shop.leaderboard.domain import Ranked, read_member
from shop.leaderboard.standing_repository import Entry

log = logging.getLogger(__name__)

TIMEOUT_S = 1.0
CONNECTIONS = 32
AWAY_S = 1.0
"""After a failure the server is not asked for so long, so that requests do not wait for it one after the other."""
APPLIED_AT_ONCE = 500
"""Entries of one script: it takes about a millisecond, in which the server does nothing else."""
GONE_S = 3_600
"""Far longer than any process takes from reading an entry to writing it to the cache."""
HIDING_S = 600
"""Longer than the broker takes to deliver an event again whose process ended."""
ERRORS = (RedisError, OSError, TimeoutError)


class Answer(NamedTuple):
    """What the cache says; it counts only if ``epoch`` is the board's in the database.

    ``names`` are those of ``items``; one that is empty is of a player who is being hidden.
    """

    epoch: int
    total: int
    items: list[Ranked]
    names: list[str]


class Hidden(NamedTuple):
    """A player who is hidden or deleted, and the event that says so."""

    player_id: UUID
    event_id: UUID


class Stored(NamedTuple):
    """For comparing: ``revisions`` of the asked players, None for one who is not there or not ranked; some players."""

    epoch: int
    total: int
    revisions: list[int | None]
    some_players: list[UUID]


class BoardCache:
    """Every method raises Unavailable("cache") when the server does not carry it out."""

    def __init__(self, valkey: Redis, reads: ValkeyPipeline) -> None:
        self._valkey: Any = valkey
        self._reads = reads
        mark = f"-- {new_id()}\n"
        self._scripts = {name: mark + text for name, text in SCRIPTS.items()}
        self._digests = {name: _sha1(text) for name, text in self._scripts.items()}
        self._server = ""
        self._away_until = 0.0

    @classmethod
    def open(cls, url: str) -> BoardCache:
        # A connection that a restarted server closed; whatever is sent here may be sent twice.
        again = Retry(NoBackoff(), 1, supported_errors=(ValkeyConnectionError,))
        valkey = open_valkey(url, connections=CONNECTIONS, timeout_s=TIMEOUT_S, retry=again)
        return cls(valkey, ValkeyPipeline(url, timeout_s=TIMEOUT_S))

    async def close(self) -> None:
        await self._reads.close()
        await self._valkey.aclose()

    async def apply(self, entries: Sequence[Entry]) -> set[SeasonKey]:
        """Write each entry unless a newer revision is there; the seasons that are not cached."""
        by_season: dict[SeasonKey, list[Entry]] = {}
        for one in entries:
            by_season.setdefault(one.key, []).append(one)
        calls = [(key, part) for key, group in by_season.items() for part in _parts(group)]
        done = await self._run_all("apply", [(_name(key), _arguments(part)) for key, part in calls])
        return {key for (key, _), cached in zip(calls, done, strict=True) if not cached}

    async def remove(self, keys: Sequence[SeasonKey], player_ids: Sequence[UUID]) -> None:
        """Deleted players leave these seasons, and no process that read them before can write them again."""
        async with self._available():
            pipe = self._valkey.pipeline(transaction=False)
            for one in player_ids:
                pipe.set(GONE_KEY.encode() + one.bytes, b"1", ex=GONE_S)
            await pipe.execute()
        ids = [one.bytes for one in player_ids]
        for part in _parts(keys):
            await self._run_all("remove", [(_name(key), ids) for key in part])

    async def hide(self, hidden: Sequence[Hidden]) -> None:
        """Before the commit of the events that hide these players: none of them is listed until `show`."""
        await self._of_players("hide", hidden)

    async def show(self, hidden: Sequence[Hidden]) -> None:
        """After that change is cached; whom another event hides stays hidden."""
        await self._of_players("show", hidden)

    async def top(self, key: SeasonKey, after: bytes, limit: int) -> Answer | None:
        """The members after one; None when the season is not cached."""
        found = await self._read("top", key, after, limit)
        return None if found is None else _answer(found)

    async def around(self, key: SeasonKey, player_id: UUID, neighbours: int) -> Answer | None:
        """The player and the neighbours on each side."""
        found = await self._read("around", key, player_id.bytes, neighbours)
        return None if found is None else _answer(found)

    async def among(self, key: SeasonKey, player_ids: Sequence[UUID]) -> Answer | None:
        """Those of the players who are listed."""
        found = await self._read("among", key, *(one.bytes for one in player_ids))
        if found is None:
            return None
        epoch, total, ranks, members, names = found
        listed = sorted(
            (_ranked(rank, content), name.decode()) for rank, content, name in zip(ranks, members, names, strict=True)
        )
        return Answer(int(epoch), int(total), [one for one, _ in listed], [name for _, name in listed])

    async def stored(self, key: SeasonKey, player_ids: Sequence[UUID]) -> Stored | None:
        found = await self._read("stored", key, *(one.bytes for one in player_ids))
        if found is None:
            return None
        epoch, total, some, values = found
        revisions = [int(value.split(b",", 1)[0]) if b"," in value else None for value in values]
        return Stored(int(epoch), int(total), revisions, [UUID(bytes=one) for one in some if len(one) == 16])

    async def begin(self, key: SeasonKey, generation: str, epoch: int) -> None:
        await self._write("begin", key, generation, epoch)

    async def fill(self, key: SeasonKey, generation: str, entries: Sequence[Entry]) -> bool:
        """Write a page of the generation; False when another process began one."""
        for part in _parts(entries):
            if not await self._write("fill", key, generation, *_arguments(part)):
                return False
        return True

    async def switch(self, key: SeasonKey, generation: str, server: str, expires_at: datetime | None) -> bool:
        """Read the generation from now on; False when another process began one."""
        expires = 0 if expires_at is None else int(expires_at.timestamp())
        return bool(await self._write("switch", key, generation, server, expires))

    async def server(self) -> str:
        """Which server answers; another one after a restart."""
        await self._load()
        return self._server

    async def lock(self, name: str, seconds: float) -> bool:
        """Whether this process may do the work ``name``, which nobody else does for so long."""
        async with self._available():
            return bool(await self._valkey.set(_lock_name(name), b"1", nx=True, px=int(seconds * 1_000)))

    async def keep_lock(self, name: str, seconds: float) -> None:
        async with self._available():
            await self._valkey.pexpire(_lock_name(name), int(seconds * 1_000))

    async def unlock(self, name: str) -> None:
        async with self._available():
            await self._valkey.delete(_lock_name(name))

    async def _load(self) -> None:
        """The scripts come first: if the server restarts before it says who it is, the next call notices that."""
        async with self._available():
            for text in self._scripts.values():
                await self._valkey.script_load(text)
            self._server = str((await self._valkey.info("server"))["run_id"])

    async def _read(self, script: str, key: SeasonKey, *arguments: Any) -> Any:
        """A script whose first argument is the server that the cached data must have been written to."""
        if not self._server:
            await self._load()
        return await self._loaded(lambda: self._evaluate_read(script, _name(key), arguments))

    async def _evaluate_read(self, script: str, name: bytes, arguments: Sequence[Any]) -> Any:
        async with self._available():
            return await self._reads.execute("EVALSHA", self._digests[script], 1, name, self._server, *arguments)

    async def _write(self, script: str, key: SeasonKey, *arguments: Any) -> Any:
        return await self._loaded(lambda: self._evaluate(script, [_name(key)], *arguments))

    async def _of_players(self, script: str, hidden: Sequence[Hidden]) -> None:
        for part in _parts(hidden):
            names = [HIDING_KEY.encode() + one.player_id.bytes for one in part]
            values = [one.event_id.bytes for one in part]
            await self._loaded(partial(self._evaluate, script, names, HIDING_S, *values))

    async def _evaluate(self, script: str, names: Sequence[bytes], *arguments: Any) -> Any:
        async with self._available():
            return await self._valkey.evalsha(self._digests[script], len(names), *names, *arguments)

    async def _run_all(self, script: str, calls: Sequence[tuple[bytes, Sequence[Any]]]) -> list[Any]:
        """One call for each key, with one round trip."""

        async def run() -> list[Any]:
            async with self._available():
                pipe = self._valkey.pipeline(transaction=False)
                for name, arguments in calls:
                    pipe.evalsha(self._digests[script], 1, name, *arguments)
                return list(await pipe.execute())

        return await self._loaded(run)

    async def _loaded[T](self, call: Callable[[], Awaitable[T]]) -> T:
        """Scripts are lost with a restart of the server; what they do may be repeated."""
        with contextlib.suppress(NoScriptError):
            return await call()
        await self._load()
        try:
            return await call()
        except NoScriptError as error:
            raise Unavailable("cache", "the server keeps no scripts") from error

    @contextlib.asynccontextmanager
    async def _available(self) -> AsyncIterator[None]:
        now = asyncio.get_running_loop().time()
        if now < self._away_until:
            raise Unavailable("cache")
        try:
            yield
        except NoScriptError:
            raise
        except ERRORS as error:
            self._away_until = asyncio.get_running_loop().time() + AWAY_S
            metrics.CACHE_FAILURES.inc()
            log.warning("the cache does not answer: %s", error, extra={"event": "cache_unavailable"})
            raise Unavailable("cache", str(error)) from error


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _name(key: SeasonKey) -> bytes:
    return f"leaderboard:{{{key.board_id}:{key.season}}}".encode()


def _lock_name(name: str) -> str:
    return f"leaderboard:lock:{name}"


def _parts[T](items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + APPLIED_AT_ONCE] for start in range(0, len(items), APPLIED_AT_ONCE))


def _arguments(entries: Iterable[Entry]) -> list[Any]:
    return [part for one in entries for part in (one.player_id.bytes, one.revision, *_stored(one))]


def _stored(entry: Entry) -> tuple[bytes, str]:
    """Place and name."""
    return (entry.place.encode(), entry.name) if entry.listed else (b"", "")


def _ranked(rank: int, content: bytes) -> Ranked:
    place, player_id = read_member(content)
    return Ranked(rank, player_id, place)


def _answer(found: Sequence[Any]) -> Answer:
    epoch, total, first, members, names = found
    items = [_ranked(first + index, content) for index, content in enumerate(members)]
    return Answer(int(epoch), total, items, [name.decode() for name in names])
