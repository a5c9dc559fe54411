"""Any pod may be deleted at any time, also of a store: customers who retry get their order, and the audit is clean.

Each store alone; the services in groups, one pod a moment after the other, so that several are away at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from tests.kubernetes.auditing import assert_clean
from tests.kubernetes.conftest import Findings
from tests.kubernetes.customers import shopping
from tests.kubernetes.kube import SERVICES, Release, is_ready
from tests.kubernetes.test_1_install import STORES
from tests.kubernetes.timeline import Timeline
from tests.load.shoppers import Shop

pytestmark = pytest.mark.usefixtures("steady")

BACK_WITHIN_S = 180.0
AFTERWARDS = 20
GROUPS_OF_SERVICES = 3
GROUPS = (
    *((store,) for store in STORES),
    *(SERVICES[number::GROUPS_OF_SERVICES] for number in range(GROUPS_OF_SERVICES)),
)


@pytest.mark.parametrize("components", GROUPS, ids="-".join)
async def test_deleted_pods_lose_no_order(
    release: Release,
    api: Shop,
    admin: str,
    components: Sequence[str],
    acknowledged: Path,
    findings: Findings,
    timeline: Timeline,
) -> None:
    loop = asyncio.get_running_loop()
    for component in components:
        await wait_until(partial(_has_one, release, component), BACK_WITHIN_S, f"one {component}")
    async with shopping(timeline, api, admin, insistent=True) as customers:
        started = loop.time()
        before = {component: await _delete(release, component, timeline) for component in components}
        for component, uid in before.items():
            another = partial(_has_another, release, component, uid)
            await wait_until(another, BACK_WITHIN_S, f"another {component}")
            findings.note(f"seconds until {component} was back", round(loop.time() - started, 1))
        await customers.more(AFTERWARDS)
    assert [line for line in customers.failures if line.startswith("order")] == []
    assert await customers.outcomes() == {"confirmed": len(customers.answers)}
    acknowledged.write_text("\n".join(answer.body["id"] for answer in customers.answers), encoding="utf-8")
    await assert_clean(release, acknowledged)


async def _delete(release: Release, component: str, timeline: Timeline) -> str:
    """The UID of the component's only pod, which ends now."""
    [pod] = await asyncio.to_thread(release.pods, component)
    timeline.mark(f"deletion of {component}")
    name = pod["metadata"]["name"]
    await asyncio.to_thread(release.kubectl, "delete", "pod", name, "--grace-period=1", "--wait=false")
    return str(pod["metadata"]["uid"])


async def _has_one(release: Release, component: str) -> bool:
    return await asyncio.to_thread(release.ready, component) == 1


async def _has_another(release: Release, component: str, uid: str) -> bool:
    pods = await asyncio.to_thread(release.pods, component)
    return any(is_ready(pod) and pod["metadata"]["uid"] != uid for pod in pods)
