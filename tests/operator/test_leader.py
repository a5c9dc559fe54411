"""Two operators at once, on a real API server: one leads, and the other takes over soon enough and not too soon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shop.operator.engine import leader
from shop.operator.engine.leader import Lease
from shop.operator.kube.api_errors import Unreachable
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import LEASE
from shop.operator.kube.objects import Object

LIMIT_S = 20.0
NAME = "shop-operator"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter times; the Lease's own duration is whole seconds."""
    times = {"DURATION_S": 2, "RENEW_S": 0.2, "DEADLINE_S": 1.0, "ATTEMPT_S": 0.5, "POLL_S": 0.1, "RETRY_S": 0.05}
    for name, value in times.items():
        monkeypatch.setattr(leader, name, value)


class Cut(Kube):
    """A connection that can be cut."""

    cut = False

    async def replace(self, *arguments: object, **named: object) -> Object:
        if self.cut:
            raise Unreachable(0, "NoAnswer", "cut")
        return await super().replace(*arguments, **named)  # type: ignore[arg-type]


@pytest.fixture
async def own(kubeconfig: Path, api: Kube) -> AsyncIterator[Cut]:
    """A second connection, of the operator that shall lose it."""
    async with Cut(kubeconfig) as kube:
        yield kube


async def acquired(lease: Lease) -> None:
    await asyncio.wait_for(lease.acquire(), LIMIT_S)


async def spec(api: Kube, namespace: str) -> Object:
    found = await api.get(LEASE, namespace, NAME)
    assert found is not None
    spec: Object = found["spec"]
    return spec


async def test_the_first_leads_and_its_release_lets_the_second_lead(api: Kube, namespace: str) -> None:
    one, two = Lease(api, namespace, NAME, "one"), Lease(api, namespace, NAME, "two")
    await acquired(one)
    waiting = asyncio.create_task(two.acquire())
    holding = asyncio.create_task(one.hold())
    done, _ = await asyncio.wait((waiting, holding), timeout=2.5)  # longer than the Lease lasts: it was renewed
    assert not done
    assert (await spec(api, namespace))["holderIdentity"] == "one"
    holding.cancel()
    await one.release()
    await asyncio.wait_for(waiting, LIMIT_S)
    taken = await spec(api, namespace)
    assert (taken["holderIdentity"], taken["leaseDurationSeconds"]) == ("two", 2)


async def test_a_dead_leader_is_followed_after_the_lease_has_run_out(api: Kube, namespace: str) -> None:
    await acquired(Lease(api, namespace, NAME, "dead"))
    started = time.monotonic()
    await acquired(Lease(api, namespace, NAME, "two"))
    assert time.monotonic() - started >= leader.DURATION_S
    assert (await spec(api, namespace))["leaseTransitions"] == 1


async def test_a_leader_without_connection_has_stopped_before_another_starts(
    api: Kube, own: Cut, namespace: str
) -> None:
    one, two = Lease(own, namespace, NAME, "one"), Lease(api, namespace, NAME, "two")
    order: list[str] = []
    await acquired(one)
    holding, waiting = asyncio.create_task(one.hold()), asyncio.create_task(two.acquire())
    holding.add_done_callback(lambda _: order.append("stopped"))
    waiting.add_done_callback(lambda _: order.append("started"))
    own.cut = True
    await asyncio.wait_for(asyncio.gather(holding, waiting), LIMIT_S)
    assert order == ["stopped", "started"]


async def test_a_short_outage_is_survived(api: Kube, own: Cut, namespace: str) -> None:
    one = Lease(own, namespace, NAME, "one")
    await acquired(one)
    before = (await spec(api, namespace))["renewTime"]
    holding = asyncio.create_task(one.hold())
    own.cut = True
    assert not (await asyncio.wait((holding,), timeout=0.3))[0]
    own.cut = False
    assert not (await asyncio.wait((holding,), timeout=1.5))[0]
    assert (await spec(api, namespace))["renewTime"] > before
    holding.cancel()


async def test_a_leader_that_was_held_up_goes_on_leading_if_no_other_process_does(api: Kube, namespace: str) -> None:
    one = Lease(api, namespace, NAME, "one")
    await acquired(one)
    one._renewed -= 10 * leader.DURATION_S  # as after a process has stood still
    holding = asyncio.create_task(one.hold())
    assert not (await asyncio.wait((holding,), timeout=0.5))[0]
    holding.cancel()
    one._renewed -= 10 * leader.DURATION_S
    await api.patch(LEASE, namespace, NAME, {"spec": {"holderIdentity": "two"}})
    await asyncio.wait_for(one.hold(), LIMIT_S)


async def test_a_lost_response_is_not_a_lost_lease(api: Kube, namespace: str) -> None:
    one = Lease(api, namespace, NAME, "one")
    await acquired(one)
    await api.patch(LEASE, namespace, NAME, {"metadata": {"annotations": {"someone": "wrote"}}})
    holding = asyncio.create_task(one.hold())
    assert not (await asyncio.wait((holding,), timeout=0.5))[0]
    holding.cancel()


@pytest.mark.parametrize("action", ["taken", "deleted"])
async def test_a_lease_that_is_taken_over_is_lost(api: Kube, namespace: str, action: str) -> None:
    one = Lease(api, namespace, NAME, "one")
    await acquired(one)
    if action == "taken":
        await api.patch(LEASE, namespace, NAME, {"spec": {"holderIdentity": "thief"}})
    else:
        await api.delete(LEASE, namespace, NAME)
    await asyncio.wait_for(one.hold(), LIMIT_S)


async def test_a_release_leaves_the_lease_of_another_alone(api: Kube, namespace: str) -> None:
    one = Lease(api, namespace, NAME, "one")
    await acquired(one)
    await api.patch(LEASE, namespace, NAME, {"spec": {"holderIdentity": "two"}})
    await one.release()
    assert (await spec(api, namespace))["holderIdentity"] == "two"


async def test_of_many_that_start_at_once_one_leads(api: Kube, namespace: str) -> None:
    leases = [Lease(api, namespace, NAME, str(number)) for number in range(5)]
    waiting = [asyncio.create_task(lease.acquire()) for lease in leases]
    done, rest = await asyncio.wait(waiting, timeout=1.5, return_when=asyncio.ALL_COMPLETED)
    assert len(done) == 1
    for task in rest:
        task.cancel()


async def test_a_restarted_leader_goes_on_at_once(api: Kube, namespace: str) -> None:
    await acquired(Lease(api, namespace, NAME, "one"))
    await acquired(Lease(api, namespace, NAME, "one"))
    assert (await spec(api, namespace))["leaseTransitions"] == 0
