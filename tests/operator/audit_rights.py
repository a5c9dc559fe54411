"""Rights as Roles grant them, and as the API server's audit log shows them used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shop.operator.resource.rbac import Right

RARE = frozenset({"update"})
"""Verbs for what cannot be brought about for every kind in one run; a test shows each at work on one of them."""


def rights_of(given: Sequence[Mapping[str, Sequence[str]]]) -> frozenset[Right]:
    """The inverse of `rules`, for the rules of any Role."""
    return frozenset(
        Right(group, resource, verb)
        for rule in given
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )


@dataclass(frozen=True, slots=True)
class Use:
    """A right as the audit log shows it used, and whether it was granted."""

    right: Right
    granted: bool


def uses(audit: Iterable[Mapping[str, Any]], user: str) -> frozenset[Use]:
    """What `user` did, from events of audit.k8s.io/v1. Discovery and probes are no resources and left out.

    An apply that creates needs two rights but is logged as one patch; the answer 201 tells.
    """
    found: set[Use] = set()
    for event in audit:
        if event["user"]["username"] != user or "objectRef" not in event:
            continue
        reference, code = event["objectRef"], event.get("responseStatus", {}).get("code", 0)
        resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
        verbs = [event["verb"], *(["create"] if event["verb"] == "patch" and code == 201 else [])]
        group = reference.get("apiGroup", "")
        found.update(Use(Right(group, resource, verb), code != 403) for verb in verbs)
    return frozenset(found)


def denied(used: Iterable[Use]) -> list[str]:
    """Rights that were used and not granted."""
    return sorted({str(use.right) for use in used if not use.granted})


def unused(rights: Iterable[Right], used: Iterable[Use]) -> list[str]:
    """Rights that were never used, without RARE ones."""
    seen = {use.right for use in used if use.granted}
    return sorted(str(right) for right in rights if right not in seen and right.verb not in RARE)
