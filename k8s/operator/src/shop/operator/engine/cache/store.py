"""What the engine knows of the cluster: the Shops, their objects and the pods in problem, as small as it can be.

Everything here comes from watches and from the answers to the engine's own writes; nothing is asked for. A thousand
Shops have 76,000 objects, so of each only what a decision needs is kept.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import orjson

from shop.operator.engine.kube.kinds import SHOP, wave_of
from shop.operator.engine.kube.objects import APPLIED, GROUP, SHOP_LABEL, NamespacedName, Object, Ref
from shop.operator.engine.reconcile.drift import digest
from shop.operator.engine.status.health import Health, Phase, assess, serves
from shop.operator.engine.status.pods import PodProblem, pod_problem

SEED_SUFFIX = "-seed"
SEED_FIELD = "seed"
type Seen = Callable[[NamespacedName, Object | None], None]


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


@dataclass(frozen=True, slots=True)
class Pod:
    shop: NamespacedName
    problem: PodProblem | None


class Cache:
    """`changed` is called with a Shop for which something happened that a reconcile might care about.

    `seen` is called with a Shop as it is known from then on, None when it is gone.
    """

    def __init__(self, changed: Callable[[NamespacedName], None], seen: Seen = lambda _, __: None) -> None:
        self._changed = changed
        self._seen = seen
        self._shops: dict[NamespacedName, tuple[int, bytes]] = {}
        self._children: dict[NamespacedName, dict[Ref, Child]] = {}
        self._pod_problems: dict[NamespacedName, dict[str, PodProblem]] = {}

    def update_shop(self, body: Object) -> NamespacedName:
        """Take a Shop as an event or the answer to a write shows it; an older one than known changes nothing."""
        meta = body["metadata"]
        key = NamespacedName(meta["namespace"], meta["name"])
        version = int(meta["resourceVersion"])
        known = self._shops.get(key)
        if known is None or known[0] < version:
            kept = {**body, "metadata": {name: value for name, value in meta.items() if name != "managedFields"}}
            self._shops[key] = version, orjson.dumps(kept)
            self._seen(key, kept)
            self._changed(key)
        return key

    def remove_shop(self, key: NamespacedName) -> None:
        self._shops.pop(key, None)
        self._pod_problems.pop(key, None)
        self._seen(key, None)
        self._changed(key)

    def shop(self, key: NamespacedName) -> Object | None:
        found = self._shops.get(key)
        return None if found is None else orjson.loads(found[1])

    def shops(self) -> list[NamespacedName]:
        return list(self._shops)

    def version(self, key: NamespacedName) -> int:
        """The resourceVersion last seen of a Shop, 0 when there is none."""
        return self._shops.get(key, (0, b""))[0]

    def children(self, key: NamespacedName) -> dict[Ref, Child]:
        """What was made for the Shop, by reference; not to be changed by the caller."""
        return self._children.get(key, {})

    def pod_problems(self, key: NamespacedName) -> tuple[PodProblem, ...]:
        """What keeps the Shop's pods from running, in a fixed order."""
        found = self._pod_problems.get(key, {})
        return tuple(found[name] for name in sorted(found))

    def child_changed(self, _place: NamespacedName, old: Child | None, new: Child | None) -> None:
        """An informer's call: keep the new state and tell of it."""
        if old is not None and (new is None or new.shop != old.shop):
            self._drop(old)
        if new is not None:
            self._children.setdefault(new.shop, {})[new.ref] = new
        for child in (old, new):
            if child is not None and old != new:
                self._changed(child.shop)

    def _drop(self, child: Child) -> None:
        of_shop = self._children.get(child.shop, {})
        of_shop.pop(child.ref, None)
        if not of_shop:
            self._children.pop(child.shop, None)

    def pod_changed(self, place: NamespacedName, old: Pod | None, new: Pod | None) -> None:
        """An informer's call: only pods in problem are kept."""
        pod = new or old
        if pod is None or (old and old.problem) == (new and new.problem):
            return
        shop = pod.shop
        of_shop = self._pod_problems.setdefault(shop, {})
        if new is not None and new.problem is not None:
            of_shop[place[1]] = new.problem
        else:
            of_shop.pop(place[1], None)
        if not of_shop:
            self._pod_problems.pop(shop, None)
        self._changed(shop)


def child_from_object(obj: Object) -> Child:
    """What of an object of a Shop is remembered."""
    meta = obj["metadata"]
    ref, health = Ref.of(obj), assess(obj)
    return Child(
        shop=owning_shop(meta),
        ref=ref,
        uid=meta["uid"],
        digest=digest(obj),
        applied=meta.get("annotations", {}).get(APPLIED, ""),
        wave=wave_of(obj),
        health=health,
        serves=health.phase is Phase.READY or serves(obj),
        scale=_scale(obj) if ref.kind == "Deployment" else None,
        seed=seed_of(obj) if ref.kind == "Secret" and ref.name.endswith(SEED_SUFFIX) else None,
        deleting="deletionTimestamp" in meta,
    )


def pod_from_object(obj: Object) -> Pod:
    """What of a Shop's pod is remembered."""
    meta = obj["metadata"]
    return Pod(_shop_of(meta), pod_problem(obj))


def owning_shop(meta: Object) -> NamespacedName:
    """The Shop that an object was made for, also when somebody labels it as another's, whose end would be its end too.

    That is its owner. What may outlive its Shop has none: there the name must begin as the label says.
    """
    for owner in meta.get("ownerReferences", ()):
        if owner["kind"] == SHOP.kind and owner["apiVersion"].startswith(f"{GROUP}/"):
            return _key(meta["namespace"], owner["name"])
    labelled = _shop_of(meta)
    return labelled if meta["name"].startswith(f"{labelled.name}-") else _key(meta["namespace"], "")


def _shop_of(meta: Object) -> NamespacedName:
    return _key(meta["namespace"], meta.get("labels", {}).get(SHOP_LABEL, ""))


@lru_cache(maxsize=4_096)
def _key(namespace: str, name: str) -> NamespacedName:
    """One for all the objects of a Shop: each of its own would cost half as much again."""
    return NamespacedName(namespace, name)


def seed_of(secret: Object) -> bytes | None:
    """The seed that a Secret holds, None when it has none or one that is no base64."""
    try:
        return base64.b64decode(secret.get("data", {})[SEED_FIELD], validate=True) or None
    except (KeyError, ValueError):
        return None


def _scale(deployment: Object) -> Scale:
    status = deployment.get("status", {})
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return Scale(status.get("readyReplicas", 0), deployment["spec"].get("replicas", 1), containers[0]["image"])
