"""Deletion by uid: another object that has the name by now is not deleted."""

from __future__ import annotations

import contextlib

from shop.operator.engine.kube.api_errors import Conflict
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import kind_of
from shop.operator.engine.kube.objects import NamespacedName, Ref
from shop.operator.engine.status.shop_view import Entry


async def is_there(kube: Kube, key: NamespacedName, entry: Entry) -> bool:
    """Whether the object that was applied exists, also without the label by which objects are watched."""
    live = await kube.get(kind_of(entry.ref), key.namespace, entry.ref.name) if entry.uid else None
    return live is not None and live["metadata"]["uid"] == entry.uid


async def delete_if_same(kube: Kube, key: NamespacedName, ref: Ref, uid: str, propagation: str = "Background") -> None:
    """Delete an object unless it is gone or another one has its name; its event will come."""
    with contextlib.suppress(Conflict):
        await kube.delete(kind_of(ref), key.namespace, ref.name, uid, propagation)
