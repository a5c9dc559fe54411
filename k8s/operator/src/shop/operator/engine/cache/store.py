"""What the operator knows of the cluster: the Shops, their objects and the pods with problems, as small as possible.

It is filled by informers and by the responses to the operator's own writes. A thousand Shops have 76,000 objects, so
of each only what a decision needs is kept.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Self

import orjson

from shop.operator.engine.metrics import ShopState
from shop.operator.engine.reconcile.drift import digest
from shop.operator.engine.status.health import Health, Phase, assess, serves
from shop.operator.engine.status.pods import PodProblem, pod_problem
from shop.operator.kube.kinds import CRON_JOB, SHOP, wave_of
from shop.operator.kube.objects import APPLIED, GROUP, SHOP_LABEL, NamespacedName, Object, Ref

BACKUP_SUFFIX = "-backup"
SEED_SUFFIX = "-seed"
SEED_FIELD = "seed"


@dataclass(frozen=True, slots=True)
class StoredShop:
    """A Shop as JSON, without managedFields."""

    version: int
    packed: bytes
    conditions: tuple[tuple[str, str], ...]
    """Type and status of each."""

    @classmethod
    def of(cls, shop: Object) -> Self:
        meta = {name: value for name, value in shop["metadata"].items() if name != "managedFields"}
        conditions = tuple((one["type"], one["status"]) for one in shop.get("status", {}).get("conditions", ()))
        return cls(int(meta["resourceVersion"]), orjson.dumps({**shop, "metadata": meta}), conditions)


@dataclass(frozen=True, slots=True)
class Scale:
    """A Deployment's pods, and what they run."""

    ready: int
    desired: int
    image: str


@dataclass(frozen=True, slots=True)
class Child:
    """One object of a Shop."""

    shop: NamespacedName
    ref: Ref
    uid: str
    digest: str
    applied: str
    """Hash of what the operator last applied, "" when it never did."""
    wave: int
    health: Health
    serves: bool
    scale: Scale | None
    seed: bytes | None
    deleting: bool
    backup: tuple[float, float] | None = field(default=None, compare=False)
    """Of a Shop's CronJob: when a backup was due last and when one succeeded last, 0 for never."""


@dataclass(frozen=True, slots=True)
class FailingPod:
    """A pod with a problem; others are not kept."""

    shop: NamespacedName
    problem: PodProblem


class Cache:
    """`on_change` is called with a Shop for which something happened that a reconcile might act on.

    `on_shop` is called with each new state of a Shop, None when it is gone.
    """

    def __init__(
        self,
        on_change: Callable[[NamespacedName], None],
        on_shop: Callable[[NamespacedName, Object | None], None] = lambda _, __: None,
    ) -> None:
        self._on_change, self._on_shop = on_change, on_shop
        self._shops: dict[NamespacedName, StoredShop] = {}
        self._children: dict[NamespacedName, dict[Ref, Child]] = {}
        self._failing_pods: dict[NamespacedName, dict[str, FailingPod]] = {}

    def shop_changed(self, key: NamespacedName, old: StoredShop | None, new: StoredShop | None) -> None:
        """Called by an informer."""
        if new is None:
            self.remove_shop(key)
        elif old is None or old.version != new.version:
            self._shops[key] = new
            self._on_shop(key, orjson.loads(new.packed))
            self._on_change(key)

    def remove_shop(self, key: NamespacedName) -> None:
        self._shops.pop(key, None)
        self._failing_pods.pop(key, None)
        self._on_shop(key, None)
        self._on_change(key)

    def shop(self, key: NamespacedName) -> Object | None:
        return orjson.loads(self._shops[key].packed) if key in self._shops else None

    def shops(self) -> list[NamespacedName]:
        return list(self._shops)

    def children(self, key: NamespacedName) -> dict[Ref, Child]:
        """What was made for the Shop, by reference; not to be changed by the caller."""
        return self._children.get(key, {})

    def pod_problems(self, key: NamespacedName) -> tuple[PodProblem, ...]:
        """What keeps the Shop's pods from running, in a fixed order."""
        found = self._failing_pods.get(key, {})
        return tuple(found[name].problem for name in sorted(found))

    def child_changed(self, _: NamespacedName, old: Child | None, new: Child | None) -> None:
        """Called by an informer."""
        self._changed(self._children, lambda child: child.ref, old, new)

    def pod_changed(self, _: NamespacedName, old: FailingPod | None, new: FailingPod | None) -> None:
        """Called by an informer."""
        self._changed(self._failing_pods, lambda pod: pod.problem.pod, old, new)

    def _changed[K, T: Child | FailingPod](
        self, by_shop: dict[NamespacedName, dict[K, T]], name: Callable[[T], K], old: T | None, new: T | None
    ) -> None:
        if old is not None and (new is None or new.shop != old.shop):
            of_shop = by_shop.get(old.shop, {})
            of_shop.pop(name(old), None)
            if not of_shop:
                by_shop.pop(old.shop, None)
        if new is not None:
            by_shop.setdefault(new.shop, {})[name(new)] = new
        for one in (old, new):
            if one is not None and old != new:
                self._on_change(one.shop)

    def states(self) -> Iterator[ShopState]:
        """All Shops as the metrics show them."""
        for key, shop in self._shops.items():
            cron_job = self.children(key).get(Ref(CRON_JOB.api_version, CRON_JOB.kind, f"{key.name}{BACKUP_SUFFIX}"))
            yield ShopState(key, shop.conditions, cron_job.backup if cron_job else None)


def child_from_object(obj: Object) -> Child:
    meta, scale, backup = obj["metadata"], None, None
    ref, health = Ref.of(obj), assess(obj)
    if ref.kind == "Deployment":
        containers = obj["spec"]["template"]["spec"]["containers"]
        ready = obj.get("status", {}).get("readyReplicas", 0)
        scale = Scale(ready, obj["spec"].get("replicas", 1), containers[0]["image"])
    if ref.kind == CRON_JOB.kind:
        status = obj.get("status", {})
        backup = _seconds(status.get("lastScheduleTime")), _seconds(status.get("lastSuccessfulTime"))
    return Child(
        shop=owning_shop(meta),
        ref=ref,
        uid=meta["uid"],
        digest=digest(obj),
        applied=meta.get("annotations", {}).get(APPLIED, ""),
        wave=wave_of(obj),
        health=health,
        serves=health.phase is Phase.READY or serves(obj),
        scale=scale,
        seed=seed_of(obj) if ref.kind == "Secret" and ref.name.endswith(SEED_SUFFIX) else None,
        deleting="deletionTimestamp" in meta,
        backup=backup,
    )


def failing_pod(obj: Object) -> FailingPod | None:
    problem = pod_problem(obj)
    return FailingPod(_labelled_shop(obj["metadata"]), problem) if problem else None


def owning_shop(meta: Object) -> NamespacedName:
    """The Shop that an object was made for, also when its label was changed to another Shop's name.

    That is its owner. What may outlive its Shop has none: there the name must begin as the label says.
    """
    for owner in meta.get("ownerReferences", ()):
        if owner["kind"] == SHOP.kind and owner["apiVersion"].startswith(f"{GROUP}/"):
            return _shared_name(meta["namespace"], owner["name"])
    labelled = _labelled_shop(meta)
    return labelled if meta["name"].startswith(f"{labelled.name}-") else _shared_name(meta["namespace"], "")


def _labelled_shop(meta: Object) -> NamespacedName:
    return _shared_name(meta["namespace"], meta.get("labels", {}).get(SHOP_LABEL, ""))


@lru_cache(maxsize=4_096)
def _shared_name(namespace: str, name: str) -> NamespacedName:
    """One for all the objects of a Shop: each of its own would cost half as much memory again."""
    return NamespacedName(namespace, name)


def seed_of(secret: Object) -> bytes | None:
    """The seed in a Secret; None when it has none or one that is not base64."""
    try:
        return base64.b64decode(secret.get("data", {})[SEED_FIELD], validate=True) or None
    except (KeyError, ValueError):
        return None


def _seconds(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0
