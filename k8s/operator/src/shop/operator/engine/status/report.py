"""Writing down what a pass found: the Shop's status, in one patch, and only what has changed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from shop.operator.engine.cache.store import Cache, Child
from shop.operator.engine.kube.api_errors import Conflict
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import SHOP
from shop.operator.engine.kube.objects import NamespacedName, Object
from shop.operator.engine.render.values import public_url
from shop.operator.engine.status.conditions import Facts, conditions
from shop.operator.engine.status.shop_view import Entry, ShopView
from shop.operator.spec import Exposure

PARTS = ("observedGeneration", "conditions", "servicesReady", "services")
"""Always written by a pass; the rest only when a pass gives it."""

HOW_FAR = frozenset({"conditions", "services", "servicesReady"})
PATCH_TRIES = 5
"""Of one write of the status, while somebody else changes the Shop."""
PROGRESS_S = 3.0
"""How often the status of a rollout is written when nothing but words and counts have changed."""


class Report:
    def __init__(self, kube: Kube, cache: Cache, version: str) -> None:
        self._kube = kube
        self._cache = cache
        self._version = version
        self._written: dict[NamespacedName, float] = {}
        self._owed: set[NamespacedName] = set()

    async def write(self, view: ShopView, facts: Facts, **parts: Any) -> ShopView:
        """Patch what differs; `parts` are fields of the status in snake_case of their JSON form. No write if none."""
        if view.revision == 0:
            parts = {**self.asked_for(view), **parts}
        wanted = {**self._seen(view, facts), **{_camel(name): _as_json(value) for name, value in parts.items()}}
        changed = {name: value for name, value in wanted.items() if (view.status.get(name) or None) != (value or None)}
        if not changed or self._can_wait(view, changed):
            return view
        self._written[view.key] = time.monotonic()
        self._owed.discard(view.key)
        body = await self._patch(view, changed)
        self._cache.update_shop(body)
        return ShopView.of(body)

    async def _patch(self, view: ShopView, changed: Object) -> Object:
        """Write into the status that `view` was read from, and no other: Conflict when somebody else has written it, or
        when another Shop has the name by now. A change of spec or labels meanwhile is no reason not to write."""
        live = view.resource
        for _ in range(PATCH_TRIES):
            metadata = {"resourceVersion": live["metadata"]["resourceVersion"], "uid": view.uid}
            body = {"metadata": metadata, "status": changed}
            try:
                return await self._kube.patch(SHOP, *_place(view), body, content="merge", subresource="status")
            except Conflict as error:
                found = await self._kube.get(SHOP, *_place(view))
                if found is None or found["metadata"]["uid"] != view.uid or found.get("status", {}) != view.status:
                    if found is not None:
                        self._cache.update_shop(found)
                    raise error
                live = found
        raise Conflict(409, "Conflict", f"Shop {view.key} is changed again and again while its status is written")

    def asked_for(self, view: ShopView) -> dict[str, Any]:
        """What the spec asks for, to be written when it serves: until then, and after a rollback, the status keeps
        what the last revision had. A Shop that has none yet tells what it is to become."""
        return {"version": view.spec.get("version") or self._version, "url": address(view)}

    def owes(self, key: NamespacedName) -> float | None:
        """Seconds after which a pass should write what the last one left out; None when that was nothing."""
        return PROGRESS_S if key in self._owed else None

    def forget(self, key: NamespacedName) -> None:
        self._written.pop(key, None)
        self._owed.discard(key)

    def _can_wait(self, view: ShopView, changed: Object) -> bool:
        """Of a rollout that goes on, how far it has come is told now and then: each telling costs the API server."""
        soon = time.monotonic() - self._written.get(view.key, 0.0) < PROGRESS_S
        if not soon or not changed.keys() <= HOW_FAR or view.rollout is None:
            return False
        before = view.status.get("conditions", ())
        now = changed.get("conditions") or before
        if _without_words(before) != _without_words(now):
            return False
        self._owed.add(view.key)
        return True

    def _seen(self, view: ShopView, facts: Facts) -> Object:
        services = _services(view.key, self._cache)
        ready = sum(one["ready"] >= one["desired"] for one in services)
        values = (
            view.generation,
            conditions(view.status.get("conditions", ()), facts, datetime.now(UTC)),
            f"{ready}/{len(services)}" if services else None,
            services,
        )
        return dict(zip(PARTS, values, strict=True))


def _without_words(conditions: Iterable[Object]) -> list[Object]:
    return [{name: value for name, value in one.items() if name != "message"} for one in conditions]


def address(view: ShopView) -> str | None:
    """Where customers find the shop; without an exposure, where the cluster's own pods do. None: it cannot be told."""
    try:
        exposure = Exposure.model_validate(view.spec.get("exposure", {}))
    except ValidationError:
        return view.status.get("url")
    if exposure.type == "None":
        return f"http://{view.key.name}-gateway.{view.key.namespace}.svc:8000"
    return public_url(exposure)


def _place(view: ShopView) -> tuple[str, str]:
    return view.key.namespace, view.key.name


def _services(key: NamespacedName, cache: Cache) -> list[Object]:
    found = [child for child in cache.children(key).values() if child.scale is not None]
    return [_service(key, child) for child in sorted(found, key=lambda child: child.ref)]


def _service(key: NamespacedName, child: Child) -> Object:
    scale = child.scale
    assert scale is not None  # noqa: S101 - chosen above
    name = child.ref.name.removeprefix(f"{key.name}-")
    return {"name": name, "ready": scale.ready, "desired": scale.desired, "image": scale.image}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _as_json(value: Any) -> Any:
    if hasattr(value, "as_json"):
        return value.as_json()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_as_json(each) for each in value]
    return value


def inventory(entries: Iterable[Entry]) -> list[Entry]:
    """In a fixed order, so that the same objects read the same."""
    return sorted(entries, key=lambda entry: entry.ref)
