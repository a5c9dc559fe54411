"""New images, changed values and a rollback while customers buy: nobody notices."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.kubernetes import images
from tests.kubernetes.auditing import assert_unharmed
from tests.kubernetes.customers import REST, shopping
from tests.kubernetes.kube import Release
from tests.kubernetes.timeline import Timeline
from tests.load.shoppers import Shop

pytestmark = pytest.mark.usefixtures("steady")


async def test_new_images_of_order_and_product_fail_no_request(
    release: Release, api: Shop, admin: str, acknowledged: Path, timeline: Timeline
) -> None:
    tags = ",".join(f"services.{noun}.image.tag={images.next_version()}" for noun in images.NEXT)
    async with shopping(timeline, api, admin) as customers:
        timeline.mark("helm upgrade to new images")
        await asyncio.to_thread(release.upgrade, "--set", tags)
        timeline.mark("the end of it")
        await customers.more(REST)
    for noun in images.NEXT:
        running = [pod["spec"]["containers"][0]["image"] for pod in release.pods(noun)]
        assert running == [f"{images.REGISTRY}/shop-{noun}:{images.next_version()}"]
    await assert_unharmed(release, customers, acknowledged)


async def test_changed_values_and_the_rollback_fail_no_request(
    release: Release, api: Shop, admin: str, acknowledged: Path, timeline: Timeline
) -> None:
    before = _revision(release)
    changed = (
        "services.gateway.logLevel=WARNING,services.order.replicas=2,services.payment.logLevel=DEBUG,"
        "global.store.title=Changed"
    )
    async with shopping(timeline, api, admin) as customers:
        timeline.mark("helm upgrade to changed values")
        await asyncio.to_thread(release.upgrade, "--set", changed)
        timeline.mark("the end of it")
        assert release.ready("order") == 2
        await customers.more(REST)
        timeline.mark("helm rollback")
        await asyncio.to_thread(release.helm, "rollback", release.name, before, "--wait", "--timeout", "300s")
        timeline.mark("the end of it")
        assert release.get("deployment", "order")["spec"]["replicas"] == 1
        await customers.more(REST)
    await assert_unharmed(release, customers, acknowledged)


def test_passwords_outlive_an_upgrade(release: Release) -> None:
    before = [release.secret("postgres", "password"), release.secret("shop-admin", "password")]
    release.upgrade()
    assert [release.secret("postgres", "password"), release.secret("shop-admin", "password")] == before


def _revision(release: Release) -> str:
    """Of the release as it is."""
    table = release.helm("history", release.name, "--max", "1")
    return table.strip().splitlines()[-1].split()[0]
