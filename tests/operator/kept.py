"""A Shop under test in one namespace of the API server, and what its user would ask kubectl."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shop.devkit.testing import wait_until
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import RENDERED, SHOP, Kind, kind_of
from shop.operator.kube.objects import SHOP_LABEL, Object, Ref
from shop.operator.resource.spec import ShopSpec

ALL_READY = "{0}/{0}".format(len(ShopSpec().nouns))
"""status.servicesReady of a whole Shop."""
LIMIT_S = 180.0
"""For what takes about a second when nothing else runs."""
SMALL: Object = {
    "store": {"catalog": {"sample": "books"}},
    "networkPolicies": False,
    "podDisruptionBudgets": False,
}
"""What a test can wait for: fewer objects than the defaults make."""


@dataclass(frozen=True)
class Kept:
    """One Shop."""

    api: Kube
    namespace: str
    name: str = "bookshop"

    async def apply(self, spec: Object | None = None) -> Object:
        """As `kubectl apply` by a person."""
        resource = {
            "apiVersion": SHOP.api_version,
            "kind": SHOP.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": SMALL if spec is None else spec,
        }
        return await self.api.apply(SHOP, resource, force=True, manager="kubectl")

    async def patch(self, **spec: Any) -> Object:
        """Merge into the spec; None takes a field out."""
        return await self.api.patch(SHOP, self.namespace, self.name, {"spec": spec})

    async def delete(self) -> None:
        await self.api.delete(SHOP, self.namespace, self.name)

    async def resource(self) -> Object:
        return await self.api.get(SHOP, self.namespace, self.name) or {}

    async def status(self) -> Object:
        status: Object = (await self.resource()).get("status", {})
        return status

    async def condition(self, kind: str) -> Object:
        conditions = (await self.status()).get("conditions", ())
        found: Object = next((one for one in conditions if one["type"] == kind), {})
        return found

    async def until(self, kind: str, test: Callable[[Object], bool], what: str, timeout_s: float = LIMIT_S) -> Object:
        """The condition of that type, once it is about the present spec and `test` holds."""

        async def there() -> Object | None:
            resource = await self.resource()
            conditions = resource.get("status", {}).get("conditions", ())
            found: Object = next((one for one in conditions if one["type"] == kind), {})
            same = found.get("observedGeneration") == resource.get("metadata", {}).get("generation", -1)
            return found if same and test(found) else None

        try:
            found: Object = await wait_until(there, timeout_s, f"{kind}: {what}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it has {(await self.status()).get('conditions')}") from error
        return found

    async def ready(self, timeout_s: float = LIMIT_S) -> Object:
        """The Shop, once it is ready for its present spec."""
        await self.until("Ready", lambda found: found["status"] == "True", "True", timeout_s)
        return await self.resource()

    async def comes_to(self, kind: str, reason: str, timeout_s: float = LIMIT_S) -> Object:
        return await self.until(kind, lambda found: found["reason"] == reason, reason, timeout_s)

    async def gone(self, timeout_s: float = LIMIT_S) -> None:
        async def away() -> bool:
            return await self.resource() == {}

        await wait_until(away, timeout_s, f"Shop {self.name} gone")

    async def objects(self) -> dict[Ref, Object]:
        """Everything that carries the Shop's label."""
        found: dict[Ref, Object] = {}
        for kind in RENDERED:
            if not kind.optional or kind.kind in await self.api.served(kind.api_version):
                label = f"{SHOP_LABEL}={self.name}"
                found |= {Ref.of(obj): obj for obj in await self.api.list(kind, self.namespace, labels=label)}
        return found

    async def get(self, kind: Kind, name: str) -> Object | None:
        """An object of the Shop by the rest of its name."""
        return await self.api.get(kind, self.namespace, f"{self.name}-{name}")

    async def change(self, kind: Kind, name: str, body: Object, manager: str = "") -> Object:
        """Merge patch of one of its objects, as another client."""
        return await self.api.patch(kind, self.namespace, f"{self.name}-{name}", body)

    async def remove(self, ref: Ref) -> None:
        await self.api.delete(kind_of(ref), self.namespace, ref.name)


def essence(objects: Mapping[Ref, Object]) -> dict[str, Any]:
    """What of objects must be equal for two states to be the same: not uids, versions, times or passwords' Secrets."""
    found = {}
    for ref, obj in objects.items():
        meta = obj["metadata"]
        kept = {name: meta.get(name) for name in ("name", "labels", "annotations")}
        rest = {part: value for part, value in obj.items() if part not in ("metadata", "status")}
        found[str(ref)] = {"metadata": kept, **_without_server_set(rest)}
    return found


def _without_server_set(obj: Object) -> Object:
    spec = {name: value for name, value in obj.get("spec", {}).items() if name not in ("clusterIP", "clusterIPs")}
    if obj.get("kind") == "Job":
        spec.pop("selector", None)
        spec["template"] = {"spec": spec["template"]["spec"]}
    return {**obj, "spec": spec}
