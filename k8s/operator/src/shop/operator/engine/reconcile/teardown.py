"""Deleting a Shop: its objects go in the reverse order of applying, its data as deletionPolicy says."""

from __future__ import annotations

from shop.operator.engine.cache.store import Cache
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import CLAIM
from shop.operator.engine.kube.objects import SHOP_LABEL
from shop.operator.engine.reconcile.preflight import named_by
from shop.operator.engine.reconcile.prune import delete_if_same, is_there
from shop.operator.engine.status.shop_view import ShopView

POLL_S = 5.0
"""For deletions that send no event."""
RETAINED_KINDS = frozenset({"Secret", "Cluster"})
"""What `Retain` keeps besides volumes: without its passwords a volume is useless."""
WITH_PODS = frozenset({"Deployment", "StatefulSet", "Job", "CronJob"})
"""Deleted only when their pods are, so that orders under way end before the databases do."""


class Teardown:
    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube = kube
        self._cache = cache

    async def step(self, view: ShopView) -> str | None:
        """Delete what may be deleted now. A sentence about what is waited for; None when nothing is left."""
        retain = view.spec.get("deletionPolicy") == "Retain"
        named = named_by(view.spec)
        children = [
            child
            for child in self._cache.children(view.key).values()
            if (child.ref.kind, child.ref.name) not in named and not (retain and child.ref.kind in RETAINED_KINDS)
        ]
        if children:
            last = max(child.wave for child in children)
            wave = sorted((child for child in children if child.wave == last), key=lambda child: child.ref)
            for child in wave:
                if not child.deleting:
                    propagation = "Foreground" if child.ref.kind in WITH_PODS else "Background"
                    await delete_if_same(self._kube, view.key, child.ref, child.uid, propagation)
            return f"{wave[0].ref.display_name} is being deleted"
        return None if retain else await self._delete_unwatched(view, named)

    async def _delete_unwatched(self, view: ShopView, named: frozenset[tuple[str, str]]) -> str | None:
        """Delete what has lost its label, unless garbage collection takes it; then the volumes of StatefulSets."""
        for ref, entry in view.inventory.items():
            is_ours = ref.kind in RETAINED_KINDS and (ref.kind, ref.name) not in named
            if is_ours and await is_there(self._kube, view.key, entry):
                await delete_if_same(self._kube, view.key, ref, entry.uid)
                return f"{ref.display_name} is being deleted"
        found = await self._kube.list(CLAIM, view.key.namespace, labels=f"{SHOP_LABEL}={view.key.name}")
        claims = [claim["metadata"] for claim in found if (CLAIM.kind, claim["metadata"]["name"]) not in named]
        for claim in claims:
            await self._kube.delete(CLAIM, view.key.namespace, claim["name"], claim["uid"])
        return f"volume {claims[0]['name']} is being deleted" if claims else None
