"""Any pod may be deleted at any time, also of a store: customers who retry get their order, and the audit is clean."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from shop.operator.services import SERVICES
from tests.kubernetes.auditing import assert_clean
from tests.kubernetes.conftest import Findings
from tests.kubernetes.customers import shopping
from tests.kubernetes.kube import Release, is_ready
from tests.kubernetes.test_1_install import STORES
from tests.kubernetes.timeline import Timeline
from tests.load.shoppers import Shop

pytestmark = pytest.mark.usefixtures("steady")

BACK_WITHIN_S = 180.0
GONE_WITHIN_S = 60
AFTERWARDS = 20


@pytest.mark.parametrize("component", [*SERVICES, *STORES])
async def test_a_deleted_pod_loses_no_order(
    release: Release,
    api: Shop,
    admin: str,
    component: str,
    acknowledged: Path,
    findings: Findings,
    timeline: Timeline,
) -> None:
    await wait_until(lambda: release.ready(component) == 1, BACK_WITHIN_S, f"one {component}")
    [before] = release.pods(component)
    loop = asyncio.get_running_loop()

    async def back() -> bool:
        pods = await asyncio.to_thread(release.pods, component)
        return any(is_ready(pod) and pod["metadata"]["uid"] != before["metadata"]["uid"] for pod in pods)

    async with shopping(timeline, api, admin, insistent=True) as customers:
        started = loop.time()
        timeline.mark(f"deletion of {component}")
        name = before["metadata"]["name"]
        await asyncio.to_thread(
            release.kubectl, "delete", "pod", name, f"--timeout={GONE_WITHIN_S}s", "--grace-period=1"
        )
        await wait_until(back, BACK_WITHIN_S, f"another {component}")
        findings.note(f"seconds until {component} was back", round(loop.time() - started, 1))
        await customers.more(AFTERWARDS)
    assert [line for line in customers.failures if line.startswith("order")] == []
    assert await customers.outcomes() == {"confirmed": len(customers.answers)}
    acknowledged.write_text("\n".join(answer.body["id"] for answer in customers.answers), encoding="utf-8")
    await assert_clean(release, acknowledged)
