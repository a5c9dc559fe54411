"""Kubernetes objects as plain JSON, their names and references, and the labels and annotations of a Shop."""

from __future__ import annotations

import sys
from dataclasses import dataclass
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


def labels_of(shop_name: str) -> dict[str, str]:
    """Of the Secrets that the operator keeps for itself; rendered objects have those of the chart."""
    return {
        SHOP_LABEL: shop_name,
        NOUN_LABEL: "shop",
        "app.kubernetes.io/instance": shop_name,
        "app.kubernetes.io/part-of": "shop",
        "app.kubernetes.io/managed-by": MANAGER,
    }
