"""The end of a Shop: its objects go in the reverse order of their coming, its data as the Shop says."""

from __future__ import annotations

from shop.operator.engine.cache.store import Cache, Child
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import CLAIM
from shop.operator.engine.kube.objects import SHOP_LABEL, Ref
from shop.operator.engine.reconcile.preflight import named_by
from shop.operator.engine.reconcile.prune import delete_if_same, is_there
from shop.operator.engine.status.shop_view import ShopView

POLL_S = 5.0
"""Events of what is gone come earlier; this is for those that have none."""
KEPT_KINDS = frozenset({"Secret", "Cluster"})
"""What `Retain` keeps besides volumes: without its passwords a volume is of no use."""
WITH_PODS = frozenset({"Deployment", "StatefulSet", "Job", "CronJob"})
"""Gone only when their pods are, so that orders under way end before the databases do."""


class Teardown:
    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube = kube
        self._cache = cache

    async def step(self, view: ShopView) -> str | None:
        """Delete what may go now. A sentence about what is waited for; None when nothing is left."""
        retain = view.spec.get("deletionPolicy") == "Retain"
        children = self._cache.children(view.key).values()
        named = named_by(view.spec)
        ours = [child for child in children if (child.ref.kind, child.ref.name) not in named]
        left = [child for child in ours if not (retain and child.ref.kind in KEPT_KINDS)]
        if left:
            last = max(child.wave for child in left)
            return await self._delete(view, sorted((child for child in left if child.wave == last), key=_by_ref))
        if not retain and (unlabelled := await self._unlabelled(view, named)):
            return f"{unlabelled} is being deleted"
        if not retain and (claims := await self._claims(view, named)):
            for name, uid in claims:
                await self._kube.delete(CLAIM, view.key.namespace, name, uid)
            return f"volume {claims[0][0]} is being deleted"
        return None

    async def _delete(self, view: ShopView, children: list[Child]) -> str:
        for child in children:
            if not child.deleting:
                propagation = "Foreground" if child.ref.kind in WITH_PODS else "Background"
                await delete_if_same(self._kube, view.key, child.ref, child.uid, propagation)
        return f"{children[0].ref.display_name} is being deleted"

    async def _unlabelled(self, view: ShopView, named: frozenset[tuple[str, str]]) -> str | None:
        """Delete what is not watched because it has lost its label; garbage collection takes what has an owner."""
        for ref, entry in view.inventory.items():
            is_ours = ref.kind in KEPT_KINDS and (ref.kind, ref.name) not in named
            if is_ours and await is_there(self._kube, view.key, entry):
                await delete_if_same(self._kube, view.key, ref, entry.uid)
                return ref.display_name
        return None

    async def _claims(self, view: ShopView, named: frozenset[tuple[str, str]]) -> list[tuple[str, str]]:
        """Names and uids of the volumes that the Shop's StatefulSets have left."""
        found = await self._kube.list(CLAIM, view.key.namespace, labels=f"{SHOP_LABEL}={view.key.name}")
        claims = [(claim["metadata"]["name"], claim["metadata"]["uid"]) for claim in found]
        return [(name, uid) for name, uid in claims if (CLAIM.kind, name) not in named]


def _by_ref(child: Child) -> Ref:
    return child.ref
