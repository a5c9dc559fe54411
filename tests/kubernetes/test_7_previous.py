"""Upgrade of charts and images from the previous commit to this one and back under load: no request fails."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.kubernetes import images
from tests.kubernetes.auditing import assert_unharmed
from tests.kubernetes.conftest import NAMESPACE, RELEASE, first_sale, fresh_namespace, printed_when_failed, sign_in
from tests.kubernetes.customers import REST, fresh_connections, shopping
from tests.kubernetes.kube import SERVICES, Release, run
from tests.kubernetes.timeline import Timeline
from tests.load.shoppers import Shop

pytestmark = pytest.mark.usefixtures("steady")

OWN = "shop-previous"


@pytest.fixture(scope="module")
def previous() -> Iterator[Release]:
    """The previous commit, installed. Only one shop at a time can have the gateway's NodePort."""
    chart = images.PREVIOUS / "charts" / "shop"
    if not chart.is_dir():
        pytest.skip("this checkout has no commit before this one; changed values stand for it in test_2_rollouts.py")
    run("helm", "uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait")
    with fresh_namespace(OWN) as namespace:
        found = Release(RELEASE, namespace, chart, images.previous_version())
        found.upgrade()
        yield found


@pytest.fixture
async def its_gateway() -> AsyncIterator[Shop]:
    client = fresh_connections(os.environ["SHOP_E2E_URL"])
    yield client
    await client.close()


@pytest.fixture
async def timeline(previous: Release, request: pytest.FixtureRequest) -> AsyncIterator[Timeline]:
    async with printed_when_failed(previous, request.node) as kept:
        yield kept


async def test_the_upgrade_from_the_commit_before_and_its_rollback_fail_no_request(
    previous: Release, its_gateway: Shop, acknowledged: Path, timeline: Timeline
) -> None:
    present = Release(previous.name, previous.namespace)
    await first_sale(previous, its_gateway)
    admin = await sign_in(previous, its_gateway)
    async with shopping(timeline, its_gateway, admin) as customers:
        timeline.mark("helm upgrade to this commit")
        await asyncio.to_thread(present.upgrade)
        timeline.mark("the end of it")
        assert tags(present) == {images.version()}
        await customers.more(REST)
        timeline.mark("helm rollback to the commit before")
        await asyncio.to_thread(present.helm, "rollback", present.name, "1", "--wait", "--timeout", "300s")
        timeline.mark("the end of it")
        assert tags(present) == {images.previous_version()}
        await customers.more(REST)
    await assert_unharmed(present, customers, acknowledged)


def tags(release: Release) -> set[str]:
    """Of the images that the services run."""
    running = [pod["spec"]["containers"][0]["image"] for noun in SERVICES for pod in release.pods(noun)]
    return {image.rpartition(":")[2] for image in running}
