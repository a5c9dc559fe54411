"""Which Shops a new version of the operator is rolled out to, and when: a few at a time, canaries first.

Everything is counted from the Shops' status, so another operator process goes on where this one ends. Only the
decision that a Shop's rollout starts is kept in memory, until its reconcile has written it.

A Shop that waits keeps the objects of the version before, and is repaired with them. Changes by users never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shop.operator.engine.settings import Settings
from shop.operator.kube.objects import CANARY, NamespacedName, Object
from shop.operator.resource.spec_window import MaintenanceWindow

MAX_NAMED = 3
"""Shops that a message names."""
MAX_WAIT_S = 3_600.0
"""After which a Shop that waits for a time is reconciled in any case."""
WAITING, STOPPED = "UpgradeWaiting", "UpgradeStopped"


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a Shop's rollout does not start yet: reason and sentence.

    `again_s`: ask again then; None: a change of another Shop triggers it.
    """

    reason: str
    message: str
    again_s: float | None = None
    for_slot: bool = False
    """Whether only too many others are under way."""


@dataclass(frozen=True, slots=True)
class UpgradeState:
    """How far one Shop is with the operator's release."""

    rolling: bool = False
    failed: bool = False
    canary: bool = False
    ready_since: datetime | None = None
    """Of a canary that has the release."""

    @classmethod
    def of(cls, shop: Object, release: str) -> UpgradeState:
        meta, status = shop["metadata"], shop.get("status", {})
        if "deletionTimestamp" in meta or shop.get("spec", {}).get("suspend") or not status.get("revision"):
            return cls()
        conditions = {one["type"]: one for one in status.get("conditions", ())}
        rollout, failure = status.get("rollout") or {}, status.get("failure") or {}
        rolling = rollout.get("release") == release
        stopped = rollout.get("failedBefore", False) or conditions.get("Progressing", {}).get("status") == "False"
        canary = (meta.get("labels") or {}).get(CANARY) == "true"
        ready = conditions.get("Ready", {})
        serves = canary and status.get("release") == release and ready.get("status") == "True"
        return cls(
            rolling=rolling,
            failed=failure.get("release") == release or (rolling and stopped),
            canary=canary,
            ready_since=datetime.fromisoformat(ready["lastTransitionTime"]) if serves else None,
        )


@dataclass
class Upgrades:
    """Every Shop must have been seen before the first is asked for; `enqueue` brings a Shop back into the queue."""

    release: str
    settings: Settings
    enqueue: Callable[[NamespacedName], None]
    _canaries: dict[NamespacedName, datetime | None] = field(default_factory=dict)
    _rolling: set[NamespacedName] = field(default_factory=set)
    _failed: set[NamespacedName] = field(default_factory=set)
    _admitted: set[NamespacedName] = field(default_factory=set)
    _waiting: dict[NamespacedName, Wait] = field(default_factory=dict)

    def see(self, key: NamespacedName, shop: Object | None) -> None:
        """Take the new state of a Shop; None: it is gone."""
        now = UpgradeState.of(shop, self.release) if shop else UpgradeState()
        before = self._gates(), len(self._under_way)
        for holds, keys in ((now.rolling, self._rolling), (now.failed, self._failed)):
            keys.add(key) if holds else keys.discard(key)
        self._canaries.pop(key, None)
        if now.canary:
            self._canaries[key] = now.ready_since
        if shop is None:
            self._waiting.pop(key, None)
        self._enqueue_waiting(*before)

    def ask(self, key: NamespacedName, window: MaintenanceWindow | None) -> Wait | None:
        """None when the Shop's rollout may start now; its slot is then kept until `passed`."""
        wait = self._why(key, window or self.settings.upgrade_window, datetime.now(UTC))
        if wait is None:
            self._admitted.add(key)
            self._waiting.pop(key, None)
        else:
            self._waiting[key] = wait
        return wait

    def passed(self, key: NamespacedName, *, waits: bool) -> None:
        """A reconcile of the Shop has ended; a rollout that it started is in the status."""
        before = self._gates(), len(self._under_way)
        self._admitted.discard(key)
        if not waits:
            self._waiting.pop(key, None)
        self._enqueue_waiting(*before)

    def counts(self) -> dict[str, int]:
        """Shops by state, for the metrics."""
        return {"waiting": len(self._waiting), "rolling": len(self._rolling), "failed": len(self._failed)}

    @property
    def stopped(self) -> bool:
        """Whether failures keep further rollouts from starting."""
        return len(self._failed) >= self.settings.upgrade_max_failures

    @property
    def _under_way(self) -> set[NamespacedName]:
        return self._rolling | self._admitted

    def _gates(self) -> tuple[bool, dict[NamespacedName, datetime | None]]:
        """What every waiting Shop depends on."""
        return self.stopped, dict(self._canaries)

    def _enqueue_waiting(self, gates: tuple[bool, dict[NamespacedName, datetime | None]], under_way: int) -> None:
        if self._gates() != gates:
            due = sorted(self._waiting)
        elif len(self._under_way) < under_way:
            waiting = (key for key, wait in self._waiting.items() if wait.for_slot)
            due = sorted(waiting)[: max(0, self.settings.upgrade_at_once - len(self._under_way))]
        else:
            return
        for key in due:
            self.enqueue(key)

    def _why(self, key: NamespacedName, window: MaintenanceWindow | None, now: datetime) -> Wait | None:
        head = f"The operator's release {self.release} is not rolled out here yet"
        if self.stopped:
            return Wait(STOPPED, f"{head}: it failed at {_named(self._failed)}; see there")
        if key not in self._canaries and (wait := self._wait_for_canaries(head, now)):
            return wait
        if window and (closed := window.opens_in(now)):
            again_s = min(closed.total_seconds(), MAX_WAIT_S)
            return Wait(WAITING, f"{head}: the maintenance window is {window}", again_s)
        if len(self._under_way - {key}) >= self.settings.upgrade_at_once:
            at_once = self.settings.upgrade_at_once
            return Wait(WAITING, f"{head}: {at_once} at a time are rolled out, others before it", for_slot=True)
        return None

    def _wait_for_canaries(self, head: str, now: datetime) -> Wait | None:
        need_s = self.settings.upgrade_canary_ready_s
        left_s = {key: need_s - (now - since).total_seconds() for key, since in self._canaries.items() if since}
        behind = [key for key in self._canaries if key not in left_s or left_s[key] > 0]
        if not behind:
            return None
        message = f"{head}: {_named(behind)}, labelled as canary, must be ready for {need_s:g} s before"
        return Wait(WAITING, message, min((left for left in left_s.values() if left > 0), default=None))


def _named(keys: Iterable[NamespacedName]) -> str:
    found = sorted(keys)
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return f"Shop {', '.join(map(str, found[:MAX_NAMED]))}{more}"
