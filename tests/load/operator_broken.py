"""How long healthy Shops take to get ready alone, and beside broken ones that come before them in the queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from shop.operator.engine.settings import Settings
from shop.operator.kube.kinds import SHOP
from shop.operator.kube.objects import Object
from tests.load.operator_phases import Bench, shop_resource
from tests.operator import conftest as definitions
from tests.operator.operators import Operator
from tests.operator.refusals import REASONS, REFUSALS, RefusedShops

WEBHOOK_TIMEOUT_S = 10
"""Kubernetes' default: so long a webhook that does not answer holds each write."""
FAILED_RESULTS = ("failed", "refused")
RECONCILE = "shop_operator_reconcile_seconds"


async def alone(bench: Bench) -> None:
    await bench.create()


async def beside_broken(bench: Bench, count: int) -> None:
    """`bench.shops` healthy ones, whose namespaces come after those of `count` broken ones."""
    async with broken(bench, count):
        operator = await bench.create()
        bench.note("broken", await _cost(bench, operator, bench.found["create"]["seconds"]))


@contextlib.asynccontextmanager
async def broken(bench: Bench, count: int) -> AsyncIterator[None]:
    """As many Shops in all the ways of REFUSALS, in turn."""
    ways = list(REFUSALS)
    async with contextlib.AsyncExitStack() as stack:
        for number, way in enumerate(ways):
            namespace = f"broken-{way}"
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            await bench.api.create(definitions.NAMESPACE, body)
            names = [f"broken-{one}" for one in range(number, count, len(ways))]
            place = RefusedShops(bench.api, bench.server, namespace, names, WEBHOOK_TIMEOUT_S)
            await stack.enter_async_context(REFUSALS[way](place))
            for one, name in enumerate(names):
                await bench.api.create(SHOP, shop_resource(name, namespace, one))
        yield


async def _cost(bench: Bench, operator: Operator, seconds: float) -> dict[str, Any]:
    """Until the healthy ones were ready: the passes that failed, how many of them were under way on average, and how
    many Shops are known as broken.

    A pass that is slow leaves its worker, so there may be more at once than workers.
    """
    held = {name: await _metric(operator, f'{RECONCILE}_sum{{result="{name}"}}') for name in FAILED_RESULTS}
    passes = {name: await _metric(operator, f'{RECONCILE}_count{{result="{name}"}}') for name in FAILED_RESULTS}
    reported = [await _is_reported(bench, way) for way in REFUSALS]
    return {
        "failed_passes": round(sum(passes.values())),
        "workers": Settings().workers,
        "failed_at_once": round(sum(held.values()) / seconds, 2),
        "known_as_broken": sum(reported),
    }


async def _metric(operator: Operator, name: str) -> float:
    return await asyncio.to_thread(operator.metric, name)


async def _is_reported(bench: Bench, way: str) -> int:
    """Shops of one way whose status says what is wrong."""
    shops = await bench.api.list(SHOP, f"broken-{way}")
    return sum(_degraded(shop) == REASONS[way] for shop in shops)


def _degraded(shop: Object) -> str:
    conditions = shop.get("status", {}).get("conditions", ())
    return next((one["reason"] for one in conditions if one["type"] == "Degraded" and one["status"] == "True"), "")
