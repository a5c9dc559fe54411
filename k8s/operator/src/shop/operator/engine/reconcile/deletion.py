"""Deleting objects by uid: what no longer belongs to a Shop, and, when the Shop is deleted, everything of it.

Another object that has the name by now is not deleted, and neither is what the spec names: that is the user's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from shop.operator.engine.cache.store import Child
from shop.operator.engine.metrics import PRUNED_OBJECTS
from shop.operator.engine.reconcile.preflight import named_by
from shop.operator.engine.reconcile.target import Target
from shop.operator.engine.status.shop_view import Entry, ShopView
from shop.operator.kube.api_errors import Conflict
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CLAIM, kind_of
from shop.operator.kube.objects import SHOP_LABEL, NamespacedName, Ref

POLL_S = 5.0
"""For deletions that send no event."""
RETAINED_KINDS = frozenset({"Secret", "Cluster"})
"""What `Retain` keeps besides volumes: without its passwords a volume is useless."""
WITH_PODS = frozenset({"Deployment", "StatefulSet", "Job", "CronJob"})
"""Deleted only when their pods are, so that orders under way end before the databases do."""
type Children = Mapping[Ref, Child]


async def prune(kube: Kube, view: ShopView, target: Target, entries: dict[Ref, Entry], children: Children) -> None:
    """Delete what is in the inventory, `entries`, and not in the target. Only when all of the target is applied.

    What the spec names only leaves the inventory, also if the operator made it once. What is not watched is read
    first: a Job that was cleaned up would otherwise cost a write at each restart.
    """
    wanted, named = {item.ref for item in target.items}, named_by(view.spec)
    for ref in sorted(entries.keys() - wanted, reverse=True):
        child, uid = children.get(ref), ""
        if (ref.kind, ref.name) not in named:
            if child is not None:
                uid = "" if child.deleting else child.uid
            elif await _exists(kube, view.key, entries[ref]):
                uid = entries[ref].uid
        if uid:
            await _delete(kube, view.key, ref, uid)
            PRUNED_OBJECTS.labels(ref.kind).inc()
        del entries[ref]


async def tear_down(kube: Kube, view: ShopView, children: Children) -> str | None:
    """Delete what may be deleted now, one wave after the other, and the data as deletionPolicy says.

    A sentence about what is waited for; None when nothing is left.
    """
    retain, named = view.spec.get("deletionPolicy") == "Retain", named_by(view.spec)
    left = [
        child
        for ref, child in sorted(children.items())
        if (ref.kind, ref.name) not in named and not (retain and ref.kind in RETAINED_KINDS)
    ]
    last = max((child.wave for child in left), default=None)
    wave = [child for child in left if child.wave == last]
    for child in wave:
        if not child.deleting:
            propagation = "Foreground" if child.ref.kind in WITH_PODS else "Background"
            await _delete(kube, view.key, child.ref, child.uid, propagation)
    if wave:
        return f"{wave[0].ref.display_name} is being deleted"
    if retain:
        return None
    # What has lost its label, unless garbage collection takes it; then the volumes of StatefulSets.
    for ref, entry in view.inventory.items():
        is_ours = ref.kind in RETAINED_KINDS and (ref.kind, ref.name) not in named
        if is_ours and await _exists(kube, view.key, entry):
            await _delete(kube, view.key, ref, entry.uid)
            return f"{ref.display_name} is being deleted"
    found = await kube.list(CLAIM, view.key.namespace, labels=f"{SHOP_LABEL}={view.key.name}")
    claims = [claim["metadata"] for claim in found if (CLAIM.kind, claim["metadata"]["name"]) not in named]
    for claim in claims:
        await kube.delete(CLAIM, view.key.namespace, claim["name"], claim["uid"])
    return f"volume {claims[0]['name']} is being deleted" if claims else None


async def _exists(kube: Kube, key: NamespacedName, entry: Entry) -> bool:
    """Whether the object that was applied exists, also without the label by which objects are watched."""
    live = await kube.get(kind_of(entry.ref), key.namespace, entry.ref.name) if entry.uid else None
    return live is not None and live["metadata"]["uid"] == entry.uid


async def _delete(kube: Kube, key: NamespacedName, ref: Ref, uid: str, propagation: str = "Background") -> None:
    """Delete an object unless it is gone or another one has its name; its event will come."""
    with contextlib.suppress(Conflict):
        await kube.delete(kind_of(ref), key.namespace, ref.name, uid, propagation)
