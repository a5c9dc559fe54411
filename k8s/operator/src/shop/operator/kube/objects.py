"""Kubernetes objects as plain JSON, their names and references, and the labels and annotations of a Shop."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Self

Object = dict[str, Any]

GROUP = "shops.shopkeeper.dev"
MANAGER = "shop-operator"
"""Field manager of everything that the operator applies, and the value of app.kubernetes.io/managed-by."""
SHOP_LABEL = f"{GROUP}/shop"
"""On every object of a Shop and on its pods: the Shop's name. Informers select by it."""
NOUN_LABEL = "app.kubernetes.io/name"
"""The component of an object or a pod: order, postgres, migrate ..."""
APPLIED = f"{GROUP}/applied"
"""Annotation with the hash of what was applied: shows after a restart which objects are of this revision."""
RETRY = f"{GROUP}/retry"
"""Annotation of a Shop: with another value a spec that was rolled back is tried again."""
CANARY = f"{GROUP}/canary"
"""Label of a Shop; with the value `true` it gets a new version of the operator before those without."""
FINALIZER = f"{GROUP}/teardown"
KEEP = "helm.sh/resource-policy"
"""Annotation; with the value `keep` an object outlives a Shop whose deletionPolicy is Retain."""

ARGO_CD_IGNORE = {
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
}
"""Annotations of objects without an owner. Argo CD can track by the label app.kubernetes.io/instance: an application of
the Shop's name would take these objects for its own, miss them in its repository and delete them."""


class NamespacedName(NamedTuple):
    """Of a Shop or of any other object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One object of a Shop; its namespace is the Shop's. As text: `apps/v1/Deployment/bookshop-order`."""

    api_version: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.api_version}/{self.kind}/{self.name}"

    @property
    def display_name(self) -> str:
        """For messages: `Deployment bookshop-order`."""
        return f"{self.kind} {self.name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Inverse of `str`; ValueError for anything else."""
        api_version, kind, name = text.rsplit("/", 2)
        return cls(api_version, kind, name)

    @classmethod
    def of(cls, obj: Object) -> Self:
        return cls(sys.intern(obj["apiVersion"]), sys.intern(obj["kind"]), obj["metadata"]["name"])


def shortened(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def timestamp(moment: datetime) -> str:
    """As Kubernetes writes it: 2026-05-01T03:00:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)([numkMGTPE]|[KMGTPE]i|)")
_DECIMAL_EXPONENTS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def amount(quantity: object) -> Decimal:
    """A quantity of Kubernetes, such as "1500m", 1.5 or "2Gi", as a number; ValueError for anything else."""
    found = _QUANTITY.fullmatch(str(quantity))
    if not found:
        raise ValueError(f"{quantity!r} is no quantity")
    digits, suffix = Decimal(found[1]), found[2]
    if suffix.endswith("i"):
        return digits * Decimal(1024) ** ("KMGTPE".index(suffix[0]) + 1)
    return digits.scaleb(_DECIMAL_EXPONENTS[suffix])


def shop_secret(
    key: NamespacedName, suffix: str, data: Mapping[str, bytes], annotations: Mapping[str, str], noun: str = "shop"
) -> Object:
    """The Secret `<shop><suffix>` that the operator makes; `noun` is its component.

    With `data` and not `stringData`, which the API server never returns.
    """
    labels = {
        SHOP_LABEL: key.name,
        NOUN_LABEL: noun,
        "app.kubernetes.io/instance": key.name,
        "app.kubernetes.io/part-of": "shop",
        "app.kubernetes.io/managed-by": MANAGER,
    }
    metadata = {"name": key.name + suffix, "namespace": key.namespace, "labels": labels}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**metadata, "annotations": dict(annotations)},
        "type": "Opaque",
        "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
    }
