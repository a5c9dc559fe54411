"""What the API server has of one kind, kept up to date by a watch: no change is missed, and little memory is used.

A list (in pages) gives the start, a watch everything after it. A cut watch goes on from the last bookmark; when the
server no longer knows that point, the list is read again and compared, so that what vanished meanwhile is told too. So
it is when a watch says nothing for long: the list shows whether there was nothing to say.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections.abc import Callable
from contextlib import aclosing

from shop.operator.engine.kube.api_errors import ApiError, Gone, NotFound, WatchIdleTimeout
from shop.operator.engine.kube.client import PAGE, WATCH_S, Kube
from shop.operator.engine.kube.kinds import Kind
from shop.operator.engine.kube.objects import NamespacedName, Object
from shop.operator.engine.metrics import WATCH_RESTARTS

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 10.0
ABSENT_PAUSE_S = 30.0
"""Until the next look at a kind that nobody has installed."""
MAX_PENDING = 10_000
"""Answers to writes that the watch has not caught up with; beyond it the oldest are left to the watch."""
SHORT_S = 5.0
"""A watch that ends sooner and brought nothing is none."""
LOGGED_FAILURE = 3
SPREAD = 0.2
"""Watches end at different times, so that not all begin anew at once."""

logger = logging.getLogger(__name__)


class Informer[T]:
    """`keep` says what of an object is remembered (None: nothing), `changed` is told the old and the new.

    `changed` is called for every event that the watch brings, also when what is kept of the object stays the same.
    """

    def __init__(
        self,
        kube: Kube,
        kind: Kind,
        namespace: str | None,
        labels: str,
        keep: Callable[[Object], T | None],
        changed: Callable[[NamespacedName, T | None, T | None], None],
        *,
        page: int = PAGE,
    ) -> None:
        self.items: dict[NamespacedName, T] = {}
        self.synced = asyncio.Event()
        self.last_contact = time.monotonic()
        self.refusal = ""
        """What went wrong since then."""
        self.kind = kind
        self._kube, self._namespace, self._labels = kube, namespace, labels
        self._keep, self._changed, self._page = keep, changed, page
        self._version = ""
        self._pending: dict[NamespacedName, int] = {}
        self._listed: dict[NamespacedName, int] = {}
        self._failures = 0

    async def run(self) -> None:
        """Never returns; whatever goes wrong is tried again."""
        while True:
            try:
                if not self._version:
                    await self._relist()
                await self._watch()
                reason = "ended"
            except ApiError as error:
                reason = self._failed(error)
            WATCH_RESTARTS.labels(self.kind.kind, reason).inc()
            await asyncio.sleep(self._pause_s(reason))

    @property
    def silence_s(self) -> float:
        """How long nothing has come, neither of a list nor of a watch."""
        return time.monotonic() - self.last_contact

    def put(self, obj: Object) -> None:
        """Take the answer to a write at once; what the watch then says of it, or of an older state, changes nothing."""
        version = _version_of(obj)
        place = _place_of(obj)
        if version <= max(int(self._version or 0), self._listed.get(place, 0)):
            return  # the watch, or the list that is being read, is further than this answer
        if version > self._pending.get(place, 0):
            self._pending.pop(place, None)
            while len(self._pending) >= MAX_PENDING:
                del self._pending[next(iter(self._pending))]
            self._pending[place] = version
            self._set(place, self._kept(obj))

    async def _relist(self) -> None:
        """Read all pages, then tell what is gone. Objects are told of as they come, none is held longer."""
        seen, token = self._listed, ""
        seen.clear()
        while True:
            items, version, token = await self._kube.page(
                self.kind, self._namespace, self._labels, limit=self._page, token=token
            )
            self._hear()
            for obj in items:
                place, listed = _place_of(obj), _version_of(obj)
                seen[place] = listed
                self._see(place, listed, obj)
            if not token:
                break
            await asyncio.sleep(0)
        self._finish_list(version)

    def _finish_list(self, version: str) -> None:
        read = int(version)
        for place in [place for place in self.items if place not in self._listed]:
            if self._pending.get(place, 0) <= read:
                self._set(place, None)
        self._listed.clear()
        self._pending = {place: written for place, written in self._pending.items() if written > read}
        self._version = version
        self.synced.set()

    async def _watch(self) -> None:
        """Until the server ends it, which counts as a failure when it did so at once and without a word."""
        started, came = time.monotonic(), False
        until = WATCH_S * random.uniform(1 - SPREAD, 1)
        events = self._kube.watch(self.kind, self._namespace, self._labels, self._version, timeout_s=until)
        async with aclosing(events):
            async for what, obj in events:
                came, self._failures = True, 0
                self._hear()
                if what != "BOOKMARK":
                    self._see(_place_of(obj), _version_of(obj), None if what == "DELETED" else obj)
                self._version = obj["metadata"]["resourceVersion"]
        self._hear()
        self._failures = 0 if came or self.last_contact - started > SHORT_S else self._failures + 1

    def _hear(self) -> None:
        self.last_contact, self.refusal = time.monotonic(), ""

    def _see(self, place: NamespacedName, version: int, obj: Object | None) -> None:
        if self._pending:
            if version < (written := self._pending.get(place, 0)):
                return
            if written:
                del self._pending[place]
            if version == written and obj is not None:
                return
        self._set(place, None if obj is None else self._kept(obj))

    def _set(self, place: NamespacedName, new: T | None) -> None:
        old = self.items.get(place)
        if new is not None:
            self.items[place] = new
        elif old is not None:
            del self.items[place]
        if new is not None or old is not None:
            self._changed(place, old, new)

    def _kept(self, obj: Object) -> T | None:
        """One object that nobody foresaw must not end the watch of all others."""
        try:
            return self._keep(obj)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            logger.exception("%s %s cannot be read and is left out", self.kind.kind, "/".join(_place_of(obj)))
            return None

    def _failed(self, error: ApiError) -> str:
        """Why, in a word; afterwards it is clear from where to go on."""
        if isinstance(error, NotFound):
            self._listed.clear()
            self._finish_list("0")
            self._version = ""
            self._hear()
            return "absent"
        self.refusal = str(error)
        if isinstance(error, Gone | WatchIdleTimeout) or error.reason == "TooLarge":
            self._version = ""
        if isinstance(error, WatchIdleTimeout):
            return "silent"
        self._failures += 1
        if self._failures == LOGGED_FAILURE:
            logger.warning("watch of %s: %s", self.kind.plural, error)
        if self._failures >= LOGGED_FAILURE and error.status:
            self._version = ""  # whatever the server has against it, it may like a list better
        return "gone" if isinstance(error, Gone) else "refused" if error.status else "unreachable"

    def _pause_s(self, reason: str) -> float:
        if reason == "absent":
            return ABSENT_PAUSE_S * random.uniform(1 - SPREAD, 1)
        longest = min(FIRST_PAUSE_S * 2.0 ** min(self._failures, 10), MAX_PAUSE_S) if self._failures else 0.0
        return longest * random.uniform(0.5, 1)


def _place_of(obj: Object) -> NamespacedName:
    metadata = obj["metadata"]
    return NamespacedName(sys.intern(metadata.get("namespace", "")), metadata["name"])


def _version_of(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])
