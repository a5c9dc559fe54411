"""New images, changed values and a rollback under load: no request fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from tests.kubernetes import images
from tests.kubernetes.auditing import assert_unharmed
from tests.kubernetes.customers import REST, shopping
from tests.kubernetes.kube import Release, is_ready
from tests.kubernetes.timeline import Timeline
from tests.load.shoppers import Shop

pytestmark = pytest.mark.usefixtures("steady")

AGAIN_WITHIN_S = 60.0
NO_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff"})
SETTING = """
environment = open("/proc/1/environ").read().split(chr(0))
print(dict(line.split("=", 1) for line in environment if line)["SHOP_LOG_LEVEL"])
"""


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
    # A value that all services have, such as the store's title, would replace every pod, as test_7_previous.py does.
    changed = "services.gateway.logLevel=WARNING,services.order.replicas=2,services.payment.logLevel=DEBUG"
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


@pytest.fixture
def failed_rollout(release: Release) -> Iterator[Release]:
    """The storefront gets another setting and an image that does not exist; afterwards it is as before."""
    before = _revision(release)
    changed = f"services.storefront.logLevel=DEBUG,services.storefront.image.tag={images.version()}-not-built"
    release.helm("upgrade", release.name, *release.values(), "--set", changed)
    yield release
    release.helm("rollback", release.name, before, "--wait", "--timeout", "300s")


async def test_an_old_pod_that_starts_again_during_a_failed_rollout_has_its_own_settings(
    failed_rollout: Release, timeline: Timeline
) -> None:
    """First a container that ends by itself, then a pod that the old ReplicaSet replaces, as after a lost node."""
    release = failed_rollout
    await wait_until(lambda: _broken(release), AGAIN_WITHIN_S, "a pod of the failed rollout")
    [old] = [pod["metadata"]["name"] for pod in release.pods("storefront") if is_ready(pod)]
    assert _setting(release, old) == "INFO"
    timeline.mark("the end of the old container")
    release.kubectl("exec", old, "--", "python", "-c", "import os; os.kill(1, 15)")
    await wait_until(lambda: _restarted(release, old), AGAIN_WITHIN_S, "the old container again")
    assert _setting(release, old) == "INFO"
    timeline.mark("deletion of the old pod")
    release.kubectl("delete", "pod", old, "--grace-period=1")
    await wait_until(lambda: release.ready("storefront") == 1, AGAIN_WITHIN_S, "another old pod")
    [new] = [pod["metadata"]["name"] for pod in release.pods("storefront") if is_ready(pod)]
    assert new != old
    assert _setting(release, new) == "INFO"
    assert _broken(release)


def _broken(release: Release) -> bool:
    """Whether a pod of the storefront waits for an image that is not there."""
    statuses = [one for pod in release.pods("storefront") for one in pod["status"].get("containerStatuses", ())]
    return any(one["state"].get("waiting", {}).get("reason", "") in NO_IMAGE for one in statuses)


def _restarted(release: Release, name: str) -> bool:
    pod = release.get("pod", name)
    return is_ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 1


def _setting(release: Release, pod: str) -> str:
    """The log level of the process that runs in a pod."""
    return release.kubectl("exec", pod, "--", "python", "-c", SETTING).strip()


def test_passwords_are_kept_by_an_upgrade(release: Release) -> None:
    before = [release.secret("postgres", "password"), release.secret("shop-admin", "password")]
    release.upgrade()
    assert [release.secret("postgres", "password"), release.secret("shop-admin", "password")] == before


def _revision(release: Release) -> str:
    """The present revision of the release."""
    table = release.helm("history", release.name, "--max", "1")
    return table.strip().splitlines()[-1].split()[0]
