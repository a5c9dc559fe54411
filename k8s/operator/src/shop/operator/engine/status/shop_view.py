"""A Shop as a reconcile pass reads it: identity, spec, and what was written into its status before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from shop.operator.engine.kube.objects import RETRY, NamespacedName, Object, Ref
from shop.operator.engine.reconcile.basis import Basis


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


@dataclass(frozen=True, slots=True)
class Rollout:
    """A revision on its way.

    `release`: the operator's, when its change is what is rolled out; `failed_before`: that has failed here already.
    """

    revision: int
    hash: str
    started_at: datetime
    release: str = ""
    failed_before: bool = False

    def as_json(self) -> Object:
        """Complete, since it is merged into the status of the rollout before."""
        return {
            "revision": self.revision,
            "hash": self.hash,
            "startedAt": timestamp(self.started_at),
            "release": self.release,
            "failedBefore": self.failed_before,
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """A revision that did not come up and was rolled back; it is not tried again until spec or `retry` change."""

    revision: int
    hash: str
    reason: str
    message: str
    release: str = ""
    """The operator's, when its change was what was rolled out."""
    basis: Basis | None = None

    def as_json(self) -> Object:
        found = {"revision": self.revision, "hash": self.hash, "reason": self.reason, "message": self.message}
        basis = {"basis": self.basis.as_json()} if self.basis else {}
        return {**found, "release": self.release, **basis}


@dataclass(frozen=True, slots=True)
class ShopView:
    """`status` is the raw status, the other fields are what of it the engine decides by."""

    key: NamespacedName
    uid: str
    generation: int
    deleting: bool
    finalizers: tuple[str, ...]
    resource: Object
    status: Object
    applied_hash: str
    revision: int
    """Of the last revision that came up, 0 when none has."""
    rollout: Rollout | None
    failure: Failure | None
    basis: Basis | None
    """What the user had asked for when the last revision came up."""
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
            rollout=_rollout(status.get("rollout")),
            failure=_failure(status.get("failure")),
            basis=Basis.read(status.get("basis")),
            inventory=_inventory(status.get("inventory", ())),
        )

    @property
    def spec(self) -> Object:
        spec: Object = self.resource.get("spec", {})
        return spec

    def restored(self, entries: Mapping[Ref, Entry]) -> bool:
        """Whether what `restoreFrom` asks for has happened: it comes before the first revision, and only once."""
        begins = f"{self.key.name}-restore-"
        return self.revision > 0 or any(
            entry.done and ref.kind == "Job" and ref.name.startswith(begins) for ref, entry in entries.items()
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
        """Never one that was given before."""
        given = [
            self.revision,
            self.rollout.revision if self.rollout else 0,
            self.failure.revision if self.failure else 0,
        ]
        return max(given) + 1


def timestamp(moment: datetime) -> str:
    """As Kubernetes writes it, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _rollout(status: dict[str, Any] | None) -> Rollout | None:
    if not status:
        return None
    begun = _moment(status["startedAt"])
    failed = status.get("failedBefore", False)
    return Rollout(status["revision"], status["hash"], begun, status.get("release", ""), failed)


def _failure(status: dict[str, Any] | None) -> Failure | None:
    if not status:
        return None
    reason, message, release = (status.get(name, "") for name in ("reason", "message", "release"))
    return Failure(status["revision"], status["hash"], reason, message, release, Basis.read(status.get("basis")))


def _inventory(entries: Any) -> dict[Ref, Entry]:
    found = [
        Entry(Ref.parse(entry["id"]), entry.get("uid", ""), entry.get("digest", ""), entry.get("done", False))
        for entry in entries
    ]
    return {entry.ref: entry for entry in found}
