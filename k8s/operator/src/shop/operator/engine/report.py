"""Writing down what a pass found: the Shop's status, in one patch, and only what has changed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from shop.operator.engine.conditions import Facts, conditions
from shop.operator.engine.kinds import SHOP
from shop.operator.engine.kube import Kube
from shop.operator.engine.objects import Key, Object
from shop.operator.engine.shopview import Entry, ShopView
from shop.operator.engine.values import public_url
from shop.operator.engine.world import Child, World
from shop.operator.spec import ShopSpec

PARTS = ("observedGeneration", "conditions", "version", "url", "servicesReady", "services")
"""Always written by a pass; the rest only when a pass gives it."""


class Report:
    def __init__(self, kube: Kube, world: World, version: str) -> None:
        self._kube = kube
        self._world = world
        self._version = version

    async def write(self, view: ShopView, facts: Facts, **parts: Any) -> ShopView:
        """Patch what differs; `parts` are fields of the status in snake_case of their JSON form. No write if none."""
        wanted = {**self._seen(view, facts), **{_camel(name): _as_json(value) for name, value in parts.items()}}
        changed = {name: value for name, value in wanted.items() if (view.status.get(name) or None) != (value or None)}
        if not changed:
            return view
        body = await self._kube.patch(
            SHOP, view.key.namespace, view.key.name, {"status": changed}, content="merge", subresource="status"
        )
        self._world.see_shop(body)
        return ShopView.of(body)

    def _seen(self, view: ShopView, facts: Facts) -> Object:
        services = _services(view.key, self._world)
        ready = sum(one["ready"] >= one["desired"] for one in services)
        values = (
            view.generation,
            conditions(view.status.get("conditions", ()), facts, datetime.now(UTC)),
            view.spec.get("version") or self._version,
            address(view),
            f"{ready}/{len(services)}" if services else None,
            services,
        )
        return dict(zip(PARTS, values, strict=True))


def address(view: ShopView) -> str | None:
    """Where customers find the shop; without an exposure, where the cluster's own pods do. None: it cannot be told."""
    try:
        spec = ShopSpec.model_validate(view.spec)
    except ValidationError:
        return view.status.get("url")
    if spec.exposure.type == "None":
        return f"http://{view.key.name}-gateway.{view.key.namespace}.svc:8000"
    return public_url(spec)


def _services(key: Key, world: World) -> list[Object]:
    found = [child for child in world.children(key).values() if child.scale is not None]
    return [_service(key, child) for child in sorted(found, key=lambda child: child.ref)]


def _service(key: Key, child: Child) -> Object:
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
