"""A real API server takes every rendered object as it is, and finds nothing to write when it is applied again."""

from __future__ import annotations

import asyncio

import pytest

from k8s.operator.tests.shop_specs import EVERY_KIND, SEED, Spec, of_the_version_here, renderer, shop
from shop.operator.engine.reconcile.drift import difference, digest
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import RENDERED, kind_of
from shop.operator.kube.objects import Object
from shop.operator.resource import shopfile
from shop.operator.resource.spec import Shop
from tests.charts import helm

SAMPLES = sorted((helm.ROOT / "k8s" / "samples").glob("*.yaml"))
# Quantities and texts that the API server writes in another way than they were given.
ODD: Spec = {
    "store": {"title": "No: 1e3 = ~", "catalog": {"configMap": "wares"}},
    "services": {
        "order": {
            "resources": {"requests": {"cpu": "0.5", "memory": "0.5Gi"}, "limits": {"cpu": "1.0", "memory": "1024Mi"}},
            "env": {"EMPTY": "", "TEXT": "no", "DOLLARS": "$(HOME) $$"},
        },
        "user": {"env": {"SHOP_ADMIN_PASSWORD": "mine"}},
    },
    "database": {"storage": "1.5Gi"},
    "exposure": {"type": "Ingress", "host": "shop.example.com"},
    "observability": {"dashboards": True},
    "networkPolicies": True,
    "podDisruptionBudgets": True,
    "backup": {"schedule": "*/5 1-3 1 * 0", "destination": "pvc://backups/a"},
    "restoreFrom": {"source": "pvc://backups/a"},
}
SHOPS = {path.stem: of_the_version_here(shopfile.load(path)) for path in SAMPLES}
SHOPS |= {"odd": shop(ODD), "longest name": shop(ODD, "a" * 40)}


async def objects_of(wanted: Shop, namespace: str) -> list[Object]:
    """Those of the kinds that every cluster has."""
    optional = {kind for kind in RENDERED if kind.optional}
    rendered = await renderer().render(wanted, namespace, "00000000-0000-0000-0000-000000000001", SEED, EVERY_KIND)
    return [obj for obj in rendered if kind_of(obj) not in optional]


async def apply(api: Kube, objects: list[Object]) -> list[Object]:
    return await asyncio.gather(*(api.apply(kind_of(obj), obj, force=False) for obj in objects))


@pytest.mark.parametrize("wanted", SHOPS.values(), ids=SHOPS)
async def test_applied_again_nothing_is_written(api: Kube, namespace: str, wanted: Shop) -> None:
    objects = await objects_of(wanted, namespace)
    first = await apply(api, objects)
    again = await apply(api, await objects_of(wanted, namespace))
    versions = [[live["metadata"]["resourceVersion"] for live in pass_] for pass_ in (first, again)]
    assert versions[0] == versions[1]
    assert [digest(live) for live in first] == [digest(live) for live in again]
    differing = [difference(obj, live) for obj, live in zip(objects, first, strict=True)]
    assert [found for found in differing if found] == []
