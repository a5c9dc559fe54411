"""Events of a Shop, shown by `kubectl describe`: few, each once, with a count.

Recording never waits and never fails: a background task writes the Events. The name of an Event is derived from its
text, so recording it again, by another process too, adds to the count of the existing one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from cachetools import LRUCache, TTLCache

from shop.operator.kube.api_errors import ApiError, Conflict, NotFound
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import EVENT, SHOP
from shop.operator.kube.objects import MANAGER, Object, shortened, timestamp

MESSAGE_CHARS = 1_024
REASON_CHARS = 128
"""What the API server takes."""
SERIES_S = 3_600.0
"""Recorded again after so long, it is a new Event; the API server deletes Events after an hour as well."""
REPEAT_S = 300.0
"""How often the count of one Event is written at most."""
BURST = 25
"""Different Events of one Shop at once, then one each REFILL_S."""
REFILL_S = 60.0
MAX_SERIES = 10_000
"""Events remembered; beyond, the one recorded longest ago is forgotten."""
MAX_SHOPS = 5_000
MAX_WAITING = 2_000
"""Events still to be written; beyond, new ones are dropped."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Series:
    """One Event and how often it was recorded; `written` is how much of `count` the API server has."""

    body: Object
    first: datetime
    last: datetime
    count: int = 0
    written: int = 0
    due_s: float = 0.0


class EventRecorder:
    """`record` from anywhere in the loop; `run` as a task for as long as the process leads.

    Events are created and patched only: no right to read them is needed.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube = kube
        self._monotonic, self._now = monotonic, now
        self._series = TTLCache[str, _Series](MAX_SERIES, SERIES_S, timer=monotonic)
        self._tokens = LRUCache[str, tuple[float, float]](MAX_SHOPS)
        """How many Events a Shop may have at once, as of when."""
        self._waiting: dict[str, _Series] = {}
        self._recorded = asyncio.Event()
        self.dropped = 0
        """Events beyond the limits."""

    def record(self, shop: Object, kind: str, reason: str, message: str) -> None:
        """Record an Event of `shop`, a Shop as the API server returns it. `kind` is Normal or Warning."""
        body = _body(shop, kind, reason, message)
        name, now = body["metadata"]["name"], self._now()
        series = self._series.get(name)
        if series is None:
            if len(self._waiting) >= MAX_WAITING or not self._allowed(shop["metadata"]["uid"]):
                self.dropped += 1
                return
            series = _Series(body, first=now, last=now)
        series.count += 1
        series.last = now
        self._series[name] = self._waiting[name] = series
        self._recorded.set()

    async def run(self) -> None:
        """Write Events until cancelled."""
        while True:
            self._recorded.clear()
            wait_s = await self.write_due()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._recorded.wait(), wait_s)

    async def write_due(self) -> float | None:
        """Write what is due. Seconds until there is more, None when nothing waits."""
        for name in list(self._waiting):
            if self._waiting[name].due_s <= self._monotonic():
                series = self._waiting.pop(name)
                series.due_s = self._monotonic() + REPEAT_S
                await self._write(series)
        dues = [series.due_s for series in self._waiting.values()]
        return max(0.0, min(dues) - self._monotonic()) if dues else None

    async def _write(self, series: _Series) -> None:
        """An Event is never worth an error: a refused one is logged and dropped."""
        meta, count = series.body["metadata"], series.count
        stamps = {"firstTimestamp": timestamp(series.first), "lastTimestamp": timestamp(series.last)}
        try:
            if series.written and await self._patch_count(series, meta):
                return
            try:
                await self._kube.create(EVENT, {**series.body, **stamps, "count": count})
                series.written = count
            except Conflict:  # recorded by an earlier process, whose count goes on
                stamps.pop("firstTimestamp")
                known = await self._kube.patch(EVENT, meta["namespace"], meta["name"], stamps)
                series.count += int(known.get("count") or 0)
                await self._patch_count(series, meta)
        except ApiError as error:
            log.warning("event %s of %s is lost: %s", series.body["reason"], meta["namespace"], error)

    async def _patch_count(self, series: _Series, meta: Object) -> bool:
        """Write the count; False when the Event is gone, as Events are after an hour."""
        count = series.count
        body = {"count": count, "lastTimestamp": timestamp(series.last)}
        try:
            await self._kube.patch(EVENT, meta["namespace"], meta["name"], body)
        except NotFound:
            return False
        series.written = count
        return True

    def _allowed(self, uid: str) -> bool:
        """Whether a Shop may have one more Event: a token bucket per Shop."""
        now_s = self._monotonic()
        tokens, since_s = self._tokens.get(uid, (BURST, now_s))
        tokens = min(BURST, tokens + (now_s - since_s) / REFILL_S)
        self._tokens[uid] = tokens - 1 if tokens >= 1 else tokens, now_s
        return tokens >= 1


def _body(shop: Object, kind: str, reason: str, message: str) -> Object:
    """An Event without its times and its count."""
    meta = shop["metadata"]
    message = shortened(message, MESSAGE_CHARS)
    text = "\0".join((meta["uid"], kind, reason, message))
    involved = {name: meta[name] for name in ("name", "namespace", "uid")}
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {
            "name": f"{meta['name']}.{hashlib.sha256(text.encode()).hexdigest()[:16]}",
            "namespace": meta["namespace"],
        },
        "involvedObject": {"apiVersion": SHOP.api_version, "kind": SHOP.kind, **involved},
        "type": kind,
        "reason": reason[:REASON_CHARS],
        "message": message,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "reportingInstance": MANAGER,
    }
