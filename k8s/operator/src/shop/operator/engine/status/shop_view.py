"""A Shop as a reconcile reads it: identity, spec, and what earlier reconciles wrote into its status or remember."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from shop.operator.kube.objects import RETRY, NamespacedName, Object, Ref
from shop.operator.resource.spec import ShopSpec

NOT_RENDERED = frozenset({"suspend", "rollback", "progress_deadline_seconds", "deletion_policy", "maintenance_window"})
"""Fields that no object is rendered from: a change of them asks for no rollout."""
HASH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One object in the inventory: what the operator has applied, or is about to (then without uid and digest).

    `done`: a Job that has completed. It is not run again, also when it has been cleaned up.
    """

    ref: Ref
    uid: str = ""
    digest: str = ""
    done: bool = False

    def as_json(self) -> Object:
        filled = {"id": str(self.ref), "uid": self.uid, "digest": self.digest, "done": self.done}
        return {name: value for name, value in filled.items() if value}

    @classmethod
    def read(cls, entry: Object) -> Self:
        uid, digest, done = entry.get("uid", ""), entry.get("digest", ""), entry.get("done", False)
        return cls(Ref.parse(entry["id"]), uid, digest, done)


class StatusPart(BaseModel):
    """A part of the status that later reconciles read again; its fields have camelCase names there."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    @classmethod
    def read(cls, status: Object | None) -> Self | None:
        """None where there is none, or where an earlier version of the operator has written none."""
        return cls.model_validate(status) if status else None

    def as_json(self) -> Object:
        """Complete, since it is merged into what was there before."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Basis(StatusPart):
    """What the user has asked for at one moment, to tell the user's changes from those of a new operator version.

    The generation counts beside the spec, so that a default that a new definition adds is not taken for the user's.
    """

    generation: int
    spec: str
    retry: str = ""

    @classmethod
    def of(cls, generation: int, spec: ShopSpec, retry: str) -> Self:
        asked = spec.model_dump(mode="json", exclude_defaults=True, exclude=set(NOT_RENDERED))
        return cls(generation=generation, spec=_hash(asked), retry=_hash(retry) if retry else "")

    def same(self, other: Basis) -> bool:
        return self.retry == other.retry and (self.generation == other.generation or self.spec == other.spec)


class Rollout(StatusPart):
    """A revision being rolled out.

    `release`: the operator's, when its change is what is rolled out; `failed_before`: that has failed here already.
    """

    revision: int
    hash: str
    started_at: datetime
    release: str = ""
    failed_before: bool = False


class Failure(StatusPart):
    """A revision that failed and was rolled back; it is not tried again until spec or `retry` change."""

    revision: int
    hash: str
    reason: str = ""
    message: str = ""
    release: str = ""
    """The operator's, when its change was what was rolled out."""
    basis: Basis | None = None


class DeadlineTracker:
    """How long a rollout has been worked on. Time in which the Shop was suspended or invalid, or in which no operator
    led, does not count against a revision: one that is given up is not tried again by itself.

    So a rollout that this process did not start, or was kept from, has its whole deadline again. It costs no write,
    and has a price: operators that crash one after the other, each within the deadline, never call a rollout late.
    What waiting cannot cure still ends it at once, and until it ends the old pods serve.
    """

    def __init__(self) -> None:
        self._idle: tuple[str, timedelta] | None = None

    def start(self, hash_: str) -> None:
        self._idle = hash_, timedelta()

    def stop(self) -> None:
        self._idle = None

    def remaining(self, rollout: Rollout, deadline: timedelta) -> timedelta:
        """Until the rollout is late."""
        passed = datetime.now(UTC) - rollout.started_at
        if self._idle is None or self._idle[0] != rollout.hash:
            self._idle = rollout.hash, passed
        return deadline - (passed - self._idle[1])


@dataclass(slots=True)
class ShopMemory:
    """What this process remembers of the Shop with this uid. The next process begins with nothing of it."""

    uid: str
    inputs: tuple[Any, ...] = ()
    """What `hash`, which the spec asks for, was computed from."""
    hash: str = ""
    seed: bytes | None = None
    waits: bool = False
    """Whether a rollout of the operator's release has to wait."""
    deadline: DeadlineTracker = field(default_factory=DeadlineTracker)
    entries: dict[Ref, Entry] | None = None
    """The inventory with what was applied since it was written to the status."""
    confirmed: set[Ref] = field(default_factory=set)
    """What was applied, or compared with the server's state, since then."""
    failed_jobs: dict[str, float] = field(default_factory=dict)
    """When a Job was first seen to have failed, by its uid."""
    repairs: dict[Ref, list[float]] = field(default_factory=dict)
    failures: int = 0
    """Requests in a row that the API server refused or did not answer."""
    status_written_s: float = 0.0
    status_deferred: bool = False

    def inventory_written(self) -> None:
        self.entries = None
        self.confirmed.clear()


@dataclass(frozen=True, slots=True)
class ShopView:
    """`resource`, `spec` and `status` are raw, the other fields are what of them the operator decides by."""

    key: NamespacedName
    uid: str
    generation: int
    deleting: bool
    finalizers: tuple[str, ...]
    resource_version: str
    retry: str
    """Another value asks for another try of the same spec."""
    resource: Object
    spec: Object
    status: Object
    applied_hash: str
    revision: int
    """Of the last revision that became healthy, 0 when none has."""
    rollout: Rollout | None
    failure: Failure | None
    basis: Basis | None
    """What the user had asked for when the last revision became healthy."""
    inventory: dict[Ref, Entry]
    memory: ShopMemory

    @classmethod
    def of(cls, raw: Object, memory: ShopMemory | None = None) -> Self:
        meta, status = raw["metadata"], raw.get("status", {})
        return cls(
            key=NamespacedName(meta["namespace"], meta["name"]),
            uid=meta["uid"],
            generation=meta["generation"],
            deleting="deletionTimestamp" in meta,
            finalizers=tuple(meta.get("finalizers", ())),
            resource_version=meta["resourceVersion"],
            retry=meta.get("annotations", {}).get(RETRY, ""),
            resource=raw,
            spec=raw.get("spec", {}),
            status=status,
            applied_hash=status.get("lastAppliedHash", ""),
            revision=status.get("revision", 0),
            rollout=Rollout.read(status.get("rollout")),
            failure=Failure.read(status.get("failure")),
            basis=Basis.read(status.get("basis")),
            inventory={entry.ref: entry for entry in map(Entry.read, status.get("inventory", ()))},
            memory=memory or ShopMemory(meta["uid"]),
        )

    @property
    def entries(self) -> dict[Ref, Entry]:
        """The inventory with what this process has applied since it was written to the status."""
        if self.memory.entries is None:
            self.memory.entries = dict(self.inventory)
        return self.memory.entries

    @property
    def restored(self) -> bool:
        """Whether the backup of `restoreFrom` has been restored: before the first revision, and only once."""
        prefix = f"{self.key.name}-restore-"
        return self.revision > 0 or any(
            entry.done and ref.kind == "Job" and ref.name.startswith(prefix) for ref, entry in self.entries.items()
        )

    @property
    def next_revision(self) -> int:
        """Never one that was used before."""
        return max(self.revision, *(one.revision for one in (self.rollout, self.failure) if one), 0) + 1


def _hash(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:HASH_DIGITS]
