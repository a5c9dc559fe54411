"""A local copy of one kind's objects, kept up to date by a watch: no change is missed, and little memory is used.

A list (in pages) gives the first state, a watch every change after it. A watch that ends goes on from the last
bookmark; when the server no longer knows that version, the objects are listed again and compared, so that deletions
in between are reported too. A watch that stays idle is replaced by a list as well.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections.abc import Callable
from contextlib import aclosing

from shop.kit.backoff import backoff_s
from shop.operator.engine.metrics import WATCH_RESTARTS
from shop.operator.kube.api_errors import ApiError, Gone, NotFound, WatchIdleTimeout
from shop.operator.kube.client import PAGE, WATCH_S, Kube
from shop.operator.kube.kinds import Kind
from shop.operator.kube.objects import NamespacedName, Object

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 10.0
ABSENT_PAUSE_S = 30.0
"""Until the next look at a kind that is not installed."""
MAX_PENDING = 10_000
"""Responses to writes that the watch has not caught up with; beyond it the oldest are left to the watch."""
SHORT_S = 5.0
"""A watch that ends sooner and brought nothing has failed."""
LOGGED_FAILURE = 3
JITTER = 0.2
"""Watches end at different times, so that not all begin anew at once."""

logger = logging.getLogger(__name__)


class Informer[T]:
    """`transform` says what of an object is kept (None: nothing); `on_change` gets the old and the new.

    `on_change` is called for every event of the watch, also when what is kept of the object stays the same.
    """

    def __init__(
        self,
        kube: Kube,
        kind: Kind,
        namespace: str | None,
        labels: str,
        transform: Callable[[Object], T | None],
        on_change: Callable[[NamespacedName, T | None, T | None], None],
        *,
        page: int = PAGE,
    ) -> None:
        self.items: dict[NamespacedName, T] = {}
        self.synced = asyncio.Event()
        self.last_contact = time.monotonic()
        self.last_error = ""
        """What went wrong since then."""
        self.kind = kind
        self._kube, self._namespace, self._labels = kube, namespace, labels
        self._transform, self._on_change, self._page = transform, on_change, page
        self._version = ""
        self._pending: dict[NamespacedName, int] = {}
        self._listed: dict[NamespacedName, int] = {}
        self._failures = 0

    async def run(self) -> None:
        """Never returns; every error is retried."""
        while True:
            try:
                if not self._version:
                    await self._relist()
                await self._watch()
                reason = "ended"
            except ApiError as error:
                reason = self._handle_error(error)
            WATCH_RESTARTS.labels(self.kind.kind, reason).inc()
            pause_s = backoff_s(self._failures, FIRST_PAUSE_S, MAX_PAUSE_S) if self._failures else 0.0
            await asyncio.sleep(ABSENT_PAUSE_S if reason == "absent" else pause_s)

    @property
    def idle_s(self) -> float:
        """How long neither a list nor a watch has brought anything."""
        return time.monotonic() - self.last_contact

    def describe(self, what: str) -> str:
        """A sentence about what is watched, with what went wrong last."""
        where = f"namespace {self._namespace}" if self._namespace else "all namespaces"
        return f"{self.kind.plural} in {where}: {what}" + (f": {self.last_error}" if self.last_error else "")

    def put(self, obj: Object) -> None:
        """Take the response to a write at once; later events of this or an older version of it change nothing."""
        version, name = _version_of(obj), _name_of(obj)
        if version <= max(int(self._version or 0), self._listed.get(name, 0)):
            return  # the watch, or the list that is being read, is further than this response
        if version > self._pending.get(name, 0):
            self._pending.pop(name, None)
            while len(self._pending) >= MAX_PENDING:
                del self._pending[next(iter(self._pending))]
            self._pending[name] = version
            self._set(name, obj)

    async def _relist(self) -> None:
        """Read all pages, then report what is gone. Objects are reported as they come, none is held longer."""
        self._listed.clear()
        token = ""
        while True:
            items, version, token = await self._kube.page(
                self.kind, self._namespace, self._labels, limit=self._page, token=token
            )
            self._record_contact()
            for obj in items:
                name = _name_of(obj)
                self._listed[name] = _version_of(obj)
                self._handle(name, self._listed[name], obj)
            if not token:
                return self._finish_list(version)
            await asyncio.sleep(0)

    def _finish_list(self, version: str) -> None:
        """Report what the list did not have, unless it was written since."""
        read = int(version)
        for name in [name for name in self.items if name not in self._listed]:
            if self._pending.get(name, 0) <= read:
                self._set(name, None)
        self._listed.clear()
        self._pending = {name: written for name, written in self._pending.items() if written > read}
        self._version = version
        self.synced.set()

    async def _watch(self) -> None:
        """Until the server ends it, which counts as a failure when it did so at once and without an event."""
        started, got_event = time.monotonic(), False
        until = WATCH_S * random.uniform(1 - JITTER, 1)
        events = self._kube.watch(self.kind, self._namespace, self._labels, self._version, timeout_s=until)
        async with aclosing(events):
            async for what, obj in events:
                got_event, self._failures = True, 0
                self._record_contact()
                if what != "BOOKMARK":
                    self._handle(_name_of(obj), _version_of(obj), None if what == "DELETED" else obj)
                self._version = obj["metadata"]["resourceVersion"]
        self._record_contact()
        self._failures = 0 if got_event or self.last_contact - started > SHORT_S else self._failures + 1

    def _record_contact(self) -> None:
        self.last_contact, self.last_error = time.monotonic(), ""

    def _handle(self, name: NamespacedName, version: int, obj: Object | None) -> None:
        written = self._pending.get(name, 0)
        if version < written:
            return
        self._pending.pop(name, None)
        if version != written or obj is None:
            self._set(name, obj)

    def _set(self, name: NamespacedName, obj: Object | None) -> None:
        old, new = self.items.get(name), None
        try:
            new = None if obj is None else self._transform(obj)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            # One object of an unexpected shape must not end the watch of all others.
            logger.exception("%s %s cannot be read and is left out", self.kind.kind, name)
        if new is not None:
            self.items[name] = new
        elif old is not None:
            del self.items[name]
        if new is not None or old is not None:
            self._on_change(name, old, new)

    def _handle_error(self, error: ApiError) -> str:
        """The reason in a word; afterwards it is clear whether to list or to watch next."""
        if isinstance(error, NotFound):
            self._listed.clear()
            self._finish_list("0")
            self._version = ""
            self._record_contact()
            return "absent"
        self.last_error = str(error)
        if isinstance(error, Gone | WatchIdleTimeout) or error.reason == "TooLarge":
            self._version = ""
        if isinstance(error, WatchIdleTimeout):
            return "silent"
        self._failures += 1
        if self._failures == LOGGED_FAILURE:
            logger.warning("watch of %s: %s", self.kind.plural, error)
        if self._failures >= LOGGED_FAILURE and error.status:
            self._version = ""  # the server refuses to watch; it may still answer a list
        return "gone" if isinstance(error, Gone) else "refused" if error.status else "unreachable"


def _name_of(obj: Object) -> NamespacedName:
    metadata = obj["metadata"]
    return NamespacedName(sys.intern(metadata.get("namespace", "")), metadata["name"])


def _version_of(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])
