"""A new version of the operator: how many Shops get it at once, in which order, when, and what stops it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from shop.operator.engine.reconcile.upgrades import STOPPED, WAITING
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import SHOP
from shop.operator.kube.objects import CANARY, RETRY, Object
from shop.operator.resource.spec_window import DAYS
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import new_namespace
from tests.operator.faults import Proxy, Seen
from tests.operator.kept import LIMIT_S, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator, Operators
from tests.operator.statuses import Failure

NEW = "*:0.2.0"
NAMES = ("ash", "birch", "cedar")
REFUSED = 6
"""Lists; before the last of them a rollout that did not wait for the list would have begun."""
MAX_REFUSED = 10_000
"""Requests; more than an operator makes in a test."""
CRASH = Failure.crash_loop("relation orders does not exist")
Start = Callable[..., Operator]


@pytest.fixture
async def shops(api: Kube, namespace: str, kubelet: Kubelet, operators: Operators, operator_login: Path) -> list[Kept]:
    """Three that are ready, made by an operator of version 0.1.0 that has ended."""
    first = operators.start(operator_login, namespace, version="0.1.0")
    found = [Kept(api, namespace, name) for name in NAMES]
    for shop in found:
        await shop.apply()
    for shop in found:
        await shop.ready()
    await first.stop()
    return found


@pytest.fixture
async def start(operators: Operators, operator_login: Path, namespace: str) -> AsyncIterator[Start]:
    """Starts an operator of version 0.2.0."""
    begun = len(operators.started)

    def started(**settings: object) -> Operator:
        given = {name: str(value) for name, value in settings.items()}
        return operators.start(operator_login, namespace, version="0.2.0", **given)

    yield started
    for operator in operators.started[begun:]:
        if operator.alive:
            await operator.stop()


async def status_of(shop: Kept) -> tuple[str, str]:
    """Version that serves, and the reason of Progressing."""
    status = await shop.status()
    reasons = {one["type"]: one["reason"] for one in status["conditions"]}
    return status["version"], reasons["Progressing"]


async def come_to(shops: list[Kept], wanted: list[tuple[str, str]]) -> None:
    """Wait until the Shops are so, in any order."""

    async def there() -> bool:
        return sorted([await status_of(shop) for shop in shops]) == sorted(wanted)

    try:
        await wait_until(there, LIMIT_S, f"{wanted}")
    except AssertionError as error:
        raise AssertionError(f"{error}; they are {[await status_of(shop) for shop in shops]}") from error


async def annotate(shop: Kept, part: str, name: str, value: str) -> None:
    await shop.api.patch(SHOP, shop.namespace, shop.name, {"metadata": {part: {name: value}}})


def closed(**more: object) -> Object:
    """A window that is open on the day after tomorrow alone."""
    later = datetime.now(UTC) + timedelta(days=2)
    return {"days": [DAYS[later.weekday()]], "start": "00:00", "end": "23:59", **more}


async def test_a_few_shops_roll_at_once_also_after_a_crash_and_a_users_change_does_not_wait(
    shops: list[Kept], start: Start, kubelet: Kubelet
) -> None:
    await kubelet.fail("*-storefront", Failure(), image=NEW)
    operator = start(upgrade_at_once=1)
    one_rolls = [("0.1.0", "RollingOut"), ("0.1.0", WAITING), ("0.1.0", WAITING)]
    await come_to(shops, one_rolls)
    assert operator.metric('shop_operator_upgrade_shops{state="waiting"}') == 2
    operator.kill()
    await operator.gone()
    operator = start(upgrade_at_once=1, resync_s=1)
    await operator.leading()
    await operator.resynced()
    await come_to(shops, one_rolls)
    waiting = [shop for shop in shops if (await status_of(shop))[1] == WAITING]
    assert "1 at a time" in (await waiting[0].condition("Progressing"))["message"]
    assert (await waiting[0].condition("Ready"))["status"] == "True"
    await waiting[0].patch(suspend=False, progressDeadlineSeconds=900)
    await waiting[1].patch(services={"order": {"replicas": 2}})
    await come_to(shops, [("0.1.0", "RollingOut"), ("0.1.0", "RollingOut"), ("0.1.0", WAITING)])
    assert (await status_of(waiting[0]))[1] == WAITING, "no object follows from what was changed here"
    await kubelet.heal()
    await come_to(shops, [("0.2.0", "Complete")] * 3)


async def test_canaries_go_first_and_the_others_follow_when_they_have_been_ready_for_a_time(
    shops: list[Kept], start: Start
) -> None:
    ash, birch, cedar = shops
    await annotate(cedar, "labels", CANARY, "true")
    operator = start(upgrade_canary_ready_s=3600, resync_s=1)
    await come_to([cedar], [("0.2.0", "Complete")])
    await operator.resynced()
    await come_to([ash, birch], [("0.1.0", WAITING)] * 2)
    assert f"{cedar.namespace}/cedar, labelled as canary" in (await ash.condition("Progressing"))["message"]
    await operator.stop()
    start(upgrade_canary_ready_s=0)
    await come_to(shops, [("0.2.0", "Complete")] * 3)


async def test_the_first_failure_stops_the_others_until_it_is_healed(
    shops: list[Kept], start: Start, kubelet: Kubelet
) -> None:
    await kubelet.fail("*-order-migrate-*", CRASH, image=NEW)
    operator = start(upgrade_at_once=1)
    stopped = [("0.1.0", "RolledBack"), ("0.1.0", STOPPED), ("0.1.0", STOPPED)]
    await come_to(shops, stopped)
    (failed,) = [shop for shop in shops if (await shop.status()).get("failure")]
    others = [shop for shop in shops if shop is not failed]
    message = (await others[0].condition("Progressing"))["message"]
    assert f"it failed at Shop {failed.namespace}/{failed.name}" in message
    assert operator.metric("shop_operator_upgrade_stopped") == 1
    await operator.stop()
    operator = start(upgrade_at_once=1, resync_s=1)
    await operator.leading()
    await operator.resynced()
    await come_to(shops, stopped)
    await annotate(failed, "annotations", RETRY, "again")
    await wait_until(lambda: tried_again(failed), LIMIT_S, "failed once more")
    await come_to(shops, stopped)
    await kubelet.heal()
    await annotate(failed, "annotations", RETRY, "and again")
    await come_to(shops, [("0.2.0", "Complete")] * 3)


async def tried_again(shop: Kept) -> bool:
    return bool((await shop.status()).get("failure", {}).get("revision") == 3)


async def test_rollouts_begin_in_the_window_of_the_operator_or_of_the_shop(shops: list[Kept], start: Start) -> None:
    ash, birch, cedar = shops
    await birch.patch(maintenanceWindow={"timeZone": "Europe/Berlin"})
    start(upgrade_window=json.dumps(closed(timeZone="Asia/Tokyo")))
    await come_to([ash, birch, cedar], [("0.1.0", WAITING), ("0.2.0", "Complete"), ("0.1.0", WAITING)])
    assert "Asia/Tokyo" in (await ash.condition("Progressing"))["message"]
    await ash.patch(maintenanceWindow={})
    await come_to([ash], [("0.2.0", "Complete")])
    await annotate(cedar, "annotations", RETRY, "now")
    await come_to([cedar], [("0.2.0", "Complete")])


async def test_what_waits_is_repaired_with_the_version_that_serves(shops: list[Kept], start: Start) -> None:
    ash = shops[0]
    start(upgrade_window=json.dumps(closed()))
    await come_to(shops, [("0.1.0", WAITING)] * 3)
    deleted = next(ref for ref in await ash.objects() if str(ref).endswith("Deployment/ash-order"))
    await ash.remove(deleted)
    await ash.comes_to("Drifted", "Repaired")
    again = (await ash.objects())[deleted]
    assert again["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":0.1.0")


async def test_no_shop_is_rolled_out_to_before_every_shop_has_been_read(
    api: Kube, namespace: str, kubelet: Kubelet, operators: Operators, operator_login: Path, apiserver: ApiServer
) -> None:
    """Another namespace has one under way, as many as may be, but its Shops cannot be listed at first."""
    other = await new_namespace(api)
    both = f"{namespace},{other}"
    here, there = Kept(api, namespace, "ash"), Kept(api, other, "birch")

    def lists_there(seen: Seen) -> bool:
        return seen.method == "GET" and seen.resource == SHOP.plural and seen.namespace == other and not seen.name

    proxy = Proxy(apiserver, user="operator", groups=["system:masters"])
    async with Kubelet(api, other) as others_kubelet, proxy:
        first = operators.start(operator_login, namespace, version="0.1.0", namespaces=both)
        for shop in (here, there):
            await shop.apply()
        for shop in (here, there):
            await shop.ready()
        await first.stop()
        await others_kubelet.fail("*-storefront", Failure(), image=NEW)
        second = operators.start(operator_login, namespace, version="0.2.0", namespaces=other)
        await come_to([there], [("0.1.0", "RollingOut")])
        await second.stop()
        proxy.answer(403, lists_there, times=MAX_REFUSED)
        third = operators.start(proxy.kubeconfig, namespace, version="0.2.0", namespaces=both, upgrade_at_once="1")
        await third.leading()
        await wait_until(lambda: sum(map(lists_there, proxy.seen)) >= REFUSED, LIMIT_S, "lists that are refused")
        assert await status_of(here) == ("0.1.0", "Complete")
        proxy.reset()
        await come_to([here], [("0.1.0", WAITING)])
        assert "1 at a time" in (await here.condition("Progressing"))["message"]
        await others_kubelet.heal()
        await come_to([here, there], [("0.2.0", "Complete")] * 2)
        await third.stop()
