"""The seed that all passwords of a Shop are derived from: created once, stored twice, never changed."""

from __future__ import annotations

import base64
import secrets

from shop.operator.engine.cache.store import SEED_FIELD, SEED_SUFFIX, Cache, seed_of
from shop.operator.engine.kube.api_errors import Conflict
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import SECRET
from shop.operator.engine.kube.objects import ARGO_CD_IGNORE, NamespacedName, Object, Ref, labels_of
from shop.operator.engine.reconcile.apply import Blocked
from shop.operator.engine.reconcile.history import Revisions
from shop.operator.engine.status.shop_view import ShopView

SEED_BYTES = 32


class Seeds:
    def __init__(self, kube: Kube, cache: Cache, revisions: Revisions) -> None:
        self._kube, self._cache, self._revisions = kube, cache, revisions
        self._known: dict[NamespacedName, bytes] = {}

    async def ensure(self, view: ShopView) -> bytes:
        """The Shop's seed; created for a new Shop, restored when its Secret was deleted.

        Blocked when a Shop that has data has lost it for good: other passwords would lock it out of its databases.
        """
        key, name = view.key, view.key.name + SEED_SUFFIX
        child = self._cache.children(key).get(Ref(SECRET.api_version, SECRET.kind, name))
        if child is not None and child.seed is not None and not child.deleting:
            return self._known.setdefault(key, child.seed)
        seed = self._known.get(key) or await self._revisions.seed(key)
        if seed is None:
            if view.revision:
                raise Blocked("SeedLost", f"Secret {name}, from which the passwords follow, is gone: restore it")
            seed = secrets.token_bytes(SEED_BYTES)
        self._known[key] = await self._store(key, seed)
        return self._known[key]

    async def _store(self, key: NamespacedName, seed: bytes) -> bytes:
        """The seed that the cluster has afterwards: an existing one is kept, and gets its label back."""
        name = key.name + SEED_SUFFIX
        try:
            await self._kube.create(SECRET, secret(key, seed))
        except Conflict:
            live = await self._kube.get(SECRET, key.namespace, name)
            found = seed_of(live) if live else None
            if found is None:
                raise Blocked("NameTaken", f"Secret {name} exists and holds no seed") from None
            await self._kube.patch(SECRET, key.namespace, name, {"metadata": {"labels": labels_of(key.name)}})
            return found
        return seed

    async def protect(self, key: NamespacedName) -> None:
        """Add the annotations that an earlier version of the operator did not set; no write when they are there."""
        name = key.name + SEED_SUFFIX
        live = await self._kube.get(SECRET, key.namespace, name)
        if live is not None and not ARGO_CD_IGNORE.items() <= live["metadata"].get("annotations", {}).items():
            await self._kube.patch(SECRET, key.namespace, name, {"metadata": {"annotations": ARGO_CD_IGNORE}})

    def forget(self, key: NamespacedName) -> None:
        self._known.pop(key, None)


def secret(key: NamespacedName, seed: bytes) -> Object:
    """The Secret of a seed. Immutable, so that it can be lost but not be wrong."""
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": {
            "name": key.name + SEED_SUFFIX,
            "namespace": key.namespace,
            "labels": labels_of(key.name),
            "annotations": dict(ARGO_CD_IGNORE),
        },
        "type": "Opaque",
        "immutable": True,
        "data": {SEED_FIELD: base64.b64encode(seed).decode()},
    }
