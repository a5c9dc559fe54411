"""A Shop as a reconcile reads it: identity, spec, and what earlier reconciles wrote into its status."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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


@dataclass(frozen=True, slots=True)
class ShopView:
    """`status` is the raw status, the other fields are what of it the operator decides by."""

    key: NamespacedName
    uid: str
    generation: int
    deleting: bool
    finalizers: tuple[str, ...]
    resource: Object
    status: Object
    applied_hash: str
    revision: int
    """Of the last revision that became healthy, 0 when none has."""
    rollout: Rollout | None
    failure: Failure | None
    basis: Basis | None
    """What the user had asked for when the last revision became healthy."""
    inventory: dict[Ref, Entry]

    @classmethod
    def of(cls, raw: Object) -> Self:
        meta, status = raw["metadata"], raw.get("status", {})
        return cls(
            key=NamespacedName(meta["namespace"], meta["name"]),
            uid=meta["uid"],
            generation=meta["generation"],
            deleting="deletionTimestamp" in meta,
            finalizers=tuple(meta.get("finalizers", ())),
            resource=raw,
            status=status,
            applied_hash=status.get("lastAppliedHash", ""),
            revision=status.get("revision", 0),
            rollout=Rollout.read(status.get("rollout")),
            failure=Failure.read(status.get("failure")),
            basis=Basis.read(status.get("basis")),
            inventory={entry.ref: entry for entry in map(Entry.read, status.get("inventory", ()))},
        )

    @property
    def spec(self) -> Object:
        spec: Object = self.resource.get("spec", {})
        return spec

    def restored(self, entries: Mapping[Ref, Entry]) -> bool:
        """Whether the backup of `restoreFrom` has been restored: before the first revision, and only once."""
        prefix = f"{self.key.name}-restore-"
        return self.revision > 0 or any(
            entry.done and ref.kind == "Job" and ref.name.startswith(prefix) for ref, entry in entries.items()
        )

    @property
    def resource_version(self) -> str:
        version: str = self.resource["metadata"]["resourceVersion"]
        return version

    @property
    def retry(self) -> str:
        """Another value asks for another try of the same spec."""
        value: str = self.resource["metadata"].get("annotations", {}).get(RETRY, "")
        return value

    @property
    def next_revision(self) -> int:
        """Never one that was used before."""
        return max(self.revision, *(one.revision for one in (self.rollout, self.failure) if one), 0) + 1


def _hash(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:HASH_DIGITS]
