"""The secret from which all passwords of a Shop follow: made once, kept twice, never changed."""

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
        self._kube = kube
        self._cache = cache
        self._revisions = revisions
        self._known: dict[NamespacedName, bytes] = {}

    async def ensure(self, view: ShopView) -> bytes:
        """The Shop's seed; made anew when it is a new Shop, restored when its Secret was deleted.

        Blocked when a Shop that has data has lost it for good: other passwords would lock it out of its databases.
        """
        key = view.key
        child = self._cache.children(key).get(Ref(SECRET.api_version, SECRET.kind, key.name + SEED_SUFFIX))
        if child is not None and child.seed is not None and not child.deleting:
            return self._known.setdefault(key, child.seed)
        seed = self._known.get(key) or await self._revisions.seed(key)
        if seed is None:
            if view.revision:
                lost = f"Secret {key.name}{SEED_SUFFIX}, from which the passwords follow, is gone: restore it"
                raise Blocked("SeedLost", lost)
            seed = secrets.token_bytes(SEED_BYTES)
        self._known[key] = await self._store(key, seed)
        return self._known[key]

    async def _store(self, key: NamespacedName, seed: bytes) -> bytes:
        """The seed as it is in the cluster now: one that is there already wins, and gets its label back."""
        try:
            await self._kube.create(SECRET, secret(key, seed))
        except Conflict:
            live = await self._kube.get(SECRET, key.namespace, key.name + SEED_SUFFIX)
            found = seed_of(live) if live else None
            if found is None:
                raise Blocked("NameTaken", f"Secret {key.name}{SEED_SUFFIX} exists and holds no seed") from None
            labels = {"metadata": {"labels": labels_of(key.name)}}
            await self._kube.patch(SECRET, key.namespace, key.name + SEED_SUFFIX, labels)
            return found
        return seed

    async def protect(self, key: NamespacedName) -> None:
        """Give the seed of a Shop of an earlier operator the annotations that new ones have; no write when it has."""
        live = await self._kube.get(SECRET, key.namespace, key.name + SEED_SUFFIX)
        if live is not None and not ARGO_CD_IGNORE.items() <= live["metadata"].get("annotations", {}).items():
            patch = {"metadata": {"annotations": ARGO_CD_IGNORE}}
            await self._kube.patch(SECRET, key.namespace, key.name + SEED_SUFFIX, patch)

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
