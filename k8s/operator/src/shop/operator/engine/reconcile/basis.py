"""Whose change a change is: the user's, or that of the operator's new version, which waits for its turn."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Self

from shop.operator.engine.kube.objects import Object
from shop.operator.spec import ShopSpec

HOW_ONLY = frozenset({"suspend", "rollback", "progress_deadline_seconds", "deletion_policy", "maintenance_window"})
"""Fields that no object follows from: a change of them asks for no rollout."""
DIGITS = 16


@dataclass(frozen=True, slots=True)
class Basis:
    """What a user has asked for at one moment.

    The generation counts beside the spec, so that a default that a new definition adds is not taken for the user's.
    """

    generation: int
    spec: str
    retry: str

    @classmethod
    def of(cls, generation: int, spec: ShopSpec, retry: str) -> Self:
        asked = spec.model_dump(mode="json", exclude_defaults=True, exclude=set(HOW_ONLY))
        return cls(generation, _hash(asked), _hash(retry) if retry else "")

    @classmethod
    def read(cls, status: Object | None) -> Self | None:
        """From the status; None where an earlier version of the operator has written none."""
        return cls(status["generation"], status["spec"], status.get("retry", "")) if status else None

    def same(self, other: Basis) -> bool:
        return self.retry == other.retry and (self.generation == other.generation or self.spec == other.spec)

    def as_json(self) -> Object:
        return {"generation": self.generation, "spec": self.spec, "retry": self.retry}


def _hash(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:DIGITS]
