"""The autoscaler follows the load up and down again."""

from __future__ import annotations

import asyncio
from collections import Counter

from shop.devkit.testing import wait_until
from tests.kubernetes.conftest import Findings
from tests.kubernetes.customers import shopping
from tests.kubernetes.kube import Release
from tests.kubernetes.timeline import Timeline
from tests.load.shoppers import Shop

MOST = 3
AT_REST_MILLICORES = 5
"""CPU of a pod of product without requests, at most."""
TARGET_PERCENT = 80
"""Of the CPU that values-kind.yaml requests. An autoscaler goes from two pods to one only below half of the target, so
that one near twice `AT_REST_MILLICORES` leaves it to chance. The load below uses four times the target."""
SCALED = ",".join(
    f"services.product.autoscaling.{setting}"
    for setting in (
        "enabled=true",
        "minReplicas=1",
        f"maxReplicas={MOST}",
        f"targetCPUUtilizationPercentage={TARGET_PERCENT}",
        "scaleDownSeconds=5",
    )
)
BUSY_PAGES_PER_S = 150.0
UP_WITHIN_S = 240.0
DOWN_WITHIN_S = 180.0


async def test_product_scales_from_one_to_three_and_back(
    release: Release, api: Shop, admin: str, findings: Findings, timeline: Timeline
) -> None:
    await asyncio.to_thread(release.upgrade, "--set", SCALED)
    loop = asyncio.get_running_loop()
    await wait_until(lambda: release.ready("product") == 1 and _measured(release), UP_WITHIN_S, "metrics of one pod")
    started = loop.time()
    async with shopping(timeline, api, admin, pages_per_s=BUSY_PAGES_PER_S) as customers:
        await wait_until(lambda: _ready_in_thread(release, MOST), UP_WITHIN_S, "three pods")
        findings.note("seconds from load to three pods of product", round(loop.time() - started))
    assert Counter(customers.failures) == Counter()
    stopped = loop.time()
    try:
        await wait_until(lambda: _ready_in_thread(release, 1), DOWN_WITHIN_S, "one pod")
    finally:
        findings.note("the autoscaler of product after the rest", release.get("hpa", "product")["status"])
    findings.note("seconds from rest to one pod of product", round(loop.time() - stopped))
    await asyncio.to_thread(release.upgrade)
    assert release.items("hpa") == []


async def _ready_in_thread(release: Release, count: int) -> bool:
    return await asyncio.to_thread(release.ready, "product") == count


def _measured(release: Release) -> bool:
    return bool(release.get("hpa", "product").get("status", {}).get("currentMetrics"))
