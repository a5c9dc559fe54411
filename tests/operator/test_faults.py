"""The client through a network and a server that fail, and the proxy that makes them fail."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from shop.operator.engine.settings import Settings
from shop.operator.kube import client as kubes
from shop.operator.kube import slots
from shop.operator.kube.api_errors import ApiError, Conflict, Unreachable
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CONFIG_MAP, EVENT, LEASE
from shop.operator.kube.objects import Object
from tests.operator.apiserver import ApiServer
from tests.operator.faults import Proxy, When
from tests.operator.refusals import LONGEST_WEBHOOK_S

ADMINISTRATORS = ["system:masters"]
LIMIT_S = 30
WRITER = """
import asyncio, sys
from pathlib import Path
from shop.operator.kube.kinds import CONFIG_MAP
from shop.operator.kube.client import Kube

async def main(kubeconfig, namespace):
    async with Kube(Path(kubeconfig)) as kube:
        for number in range(1, 6):
            metadata = {"name": f"c{number}", "namespace": namespace}
            await kube.apply(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, force=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def proxy(api: Kube, apiserver: ApiServer) -> AsyncIterator[Proxy]:
    async with Proxy(apiserver, user="operator", groups=ADMINISTRATORS) as proxy:
        yield proxy


@pytest.fixture
async def kube(proxy: Proxy) -> AsyncIterator[Kube]:
    """The client under test."""
    async with Kube(proxy.kubeconfig) as kube:
        yield kube


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubes, "FIRST_PAUSE_S", 0.01)


def config_map(namespace: str, name: str = "a", **data: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def test_writes_are_counted(proxy: Proxy, kube: Kube, namespace: str, apiserver: ApiServer) -> None:
    mark = apiserver.mark()
    lease = {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": {"name": "l", "namespace": namespace}}
    reference = {"kind": "Namespace", "name": namespace, "namespace": namespace}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": namespace}}
    await kube.create(LEASE, lease)
    await kube.create(EVENT, {**event, "involvedObject": reference})
    await kube.apply(CONFIG_MAP, config_map(namespace), force=True, dry_run=True)
    await kube.list(CONFIG_MAP, namespace)
    assert proxy.writes == 0
    await kube.apply(CONFIG_MAP, config_map(namespace), force=True)
    await kube.delete(CONFIG_MAP, namespace, "a")
    assert proxy.writes == 2
    assert [str(seen) for seen in proxy.seen if seen.counted] == ["PATCH configmaps/a", "DELETE configmaps/a"]
    real = [write for write in apiserver.writes(mark, user="operator") if not write.dry_run]
    assert [str(write) for write in real] == ["patch configmaps/a 201", "delete configmaps/a 200"]


@pytest.mark.parametrize(("when", "left"), [(When.BEFORE, ["c1", "c2"]), (When.AFTER, ["c1", "c2", "c3"])])
async def test_a_process_is_killed_at_a_write(
    proxy: Proxy, api: Kube, namespace: str, tmp_path: Path, when: When, left: list[str]
) -> None:
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    writer = await asyncio.create_subprocess_exec(sys.executable, script, proxy.kubeconfig, namespace)
    proxy.kill_at(3, lambda: os.kill(writer.pid, signal.SIGKILL), when)
    assert await asyncio.wait_for(writer.wait(), LIMIT_S) == -signal.SIGKILL
    assert proxy.killed.is_set()
    assert [item["metadata"]["name"] for item in await api.list(CONFIG_MAP, namespace)] == left
    proxy.reset()
    again = await asyncio.create_subprocess_exec(sys.executable, script, proxy.kubeconfig, namespace)
    assert await asyncio.wait_for(again.wait(), LIMIT_S) == 0
    assert (len(await api.list(CONFIG_MAP, namespace)), proxy.writes) == (5, 5)


async def test_a_client_that_hangs_up_at_the_write_is_killed_too(
    proxy: Proxy, kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the proxy would count it as dead, and answer nothing to a client that goes on."""
    killed = asyncio.Event()
    monkeypatch.setattr(proxy, "_forward", lambda *_: asyncio.Event().wait())
    proxy.kill_at(1, killed.set, When.AFTER)
    asking = asyncio.create_task(kube.apply(CONFIG_MAP, config_map(namespace), force=True))
    await wait_until(lambda: proxy.writes == 1)
    asking.cancel()
    await asyncio.wait_for(killed.wait(), LIMIT_S)


async def test_a_proxy_without_clients_has_read_all_that_they_sent(proxy: Proxy, kube: Kube, namespace: str) -> None:
    await proxy.no_clients()
    proxy.delay_s = 3_600.0
    asking = asyncio.create_task(kube.get(CONFIG_MAP, namespace, "a"))
    await wait_until(lambda: len(proxy.seen) == 1)
    waiting = asyncio.create_task(proxy.no_clients())
    done, _ = await asyncio.wait([waiting], timeout=0)
    assert not done
    asking.cancel()
    await asyncio.wait_for(waiting, LIMIT_S)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.usefixtures("quick")
async def test_requests_to_a_busy_server_are_repeated(proxy: Proxy, kube: Kube, namespace: str, status: int) -> None:
    proxy.answer(status, times=3)
    assert (await kube.apply(CONFIG_MAP, config_map(namespace, a="1"), force=True))["data"] == {"a": "1"}
    assert proxy.writes == 4


@pytest.mark.usefixtures("quick")
async def test_retries_end(proxy: Proxy, kube: Kube, namespace: str) -> None:
    proxy.answer(429, times=100, message="too many")
    with pytest.raises(ApiError, match="too many") as refusal:
        await kube.list(CONFIG_MAP, namespace)
    assert refusal.value.status == 429
    assert len(proxy.seen) == kubes.MAX_ATTEMPTS


async def test_the_server_says_how_long_to_wait(
    proxy: Proxy, kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float | None] = []

    def pause(_: int, error: ApiError) -> float:
        pauses.append(error.retry_after_s)
        return 0.0

    monkeypatch.setattr(kubes, "_pause_s", pause)
    proxy.answer(429, retry_after_s=7, times=2)
    await kube.list(CONFIG_MAP, namespace)
    assert pauses == [7.0, 7.0]


@pytest.mark.parametrize(
    ("asked", "attempt", "least", "most"), [(7.0, 0, 7, 10.5), (None, 0, 0.2, 0.3), (99.0, 9, 10, 15)]
)
def test_pauses_are_bounded_and_jittered(asked: float | None, attempt: int, least: float, most: float) -> None:
    pauses = {kubes._pause_s(attempt, ApiError(429, "", "", asked)) for _ in range(50)}
    assert len(pauses) > 40
    assert all(least <= pause <= most for pause in pauses)


@pytest.mark.usefixtures("quick")
async def test_a_create_is_not_repeated_after_a_lost_response(
    proxy: Proxy, kube: Kube, api: Kube, namespace: str
) -> None:
    proxy.kill_at(1, lambda: None, When.AFTER)
    with pytest.raises(Unreachable):
        await kube.create(CONFIG_MAP, config_map(namespace))
    assert await api.get(CONFIG_MAP, namespace, "a") is not None
    assert proxy.writes == 1
    proxy.reset()
    proxy.answer(429)  # certainly not carried out: asked again
    with pytest.raises(Conflict):
        await kube.create(CONFIG_MAP, config_map(namespace))
    assert proxy.writes == 2


@pytest.mark.usefixtures("quick")
async def test_an_apply_is_repeated_after_a_lost_response(proxy: Proxy, kube: Kube, namespace: str) -> None:
    lost: list[int] = []

    def lose() -> None:
        lost.append(proxy.writes)
        asyncio.get_running_loop().call_soon(proxy.reset)

    proxy.kill_at(1, lose, When.AFTER)
    assert (await kube.apply(CONFIG_MAP, config_map(namespace, a="1"), force=True))["data"] == {"a": "1"}
    assert (lost, proxy.writes) == ([1], 1)


@pytest.mark.usefixtures("quick")
async def test_refusals_are_not_repeated(proxy: Proxy, kube: Kube, namespace: str) -> None:
    for status in (400, 403, 409, 422):
        proxy.answer(status, times=1)
        with pytest.raises(ApiError) as caught:
            await kube.apply(CONFIG_MAP, config_map(namespace), force=True)
        assert caught.value.status == status
    assert proxy.writes == 4


async def test_a_request_to_a_hanging_server_ends(
    proxy: Proxy, kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubes, "REQUEST_TIMEOUT_S", 0.1)
    proxy.delay_s = LIMIT_S
    kube.attempts = 2
    with pytest.raises(Unreachable, match="timed out"):
        await kube.list(CONFIG_MAP, namespace)


def test_the_server_may_wait_for_a_webhook_and_all_tries_of_a_page_take_less_than_a_watch_may_be_silent() -> None:
    assert kubes.REQUEST_TIMEOUT_S > LONGEST_WEBHOOK_S
    pauses = kubes.MAX_PAUSE_S * kubes.MAX_ATTEMPTS / 2
    assert kubes.REQUEST_TIMEOUT_S * kubes.MAX_ATTEMPTS + pauses <= Settings().first_list_s


@pytest.mark.usefixtures("quick")
async def test_no_more_requests_at_once_than_allowed(proxy: Proxy, kube: Kube, namespace: str) -> None:
    proxy.delay_s = 1.0
    asking = [asyncio.create_task(kube.get(CONFIG_MAP, namespace, "a")) for _ in range(kubes.MAX_IN_FLIGHT + 8)]
    lease = asyncio.create_task(kube.get(LEASE, namespace, "l"))
    await wait_until(lambda: any(seen.resource == "leases" for seen in proxy.seen))  # it does not wait for the others
    await wait_until(lambda: len(proxy.seen) > kubes.MAX_IN_FLIGHT)
    assert len(proxy.seen) == kubes.MAX_IN_FLIGHT + 1
    await asyncio.gather(lease, *asking)


@pytest.mark.usefixtures("quick")
async def test_requests_that_wait_for_long_keep_no_other_from_the_server(
    proxy: Proxy, kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "SLOW_S", 0.05)
    proxy.delay_s = 3_600.0
    asking = [asyncio.create_task(kube.get(CONFIG_MAP, namespace, "a")) for _ in range(kubes.MAX_IN_FLIGHT)]
    await wait_until(lambda: len(proxy.seen) == kubes.MAX_IN_FLIGHT)
    proxy.delay_s = 0.0
    assert await asyncio.wait_for(kube.get(CONFIG_MAP, namespace, "a"), LIMIT_S) is None
    assert not any(task.done() for task in asking)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_a_server_that_is_unavailable_for_a_moment(proxy: Proxy, kube: Kube, namespace: str) -> None:
    proxy.down = True
    asking = asyncio.create_task(kube.list(CONFIG_MAP, namespace))
    while len(proxy.seen) < 2:
        await asyncio.wait((asking,), timeout=0.05)
    proxy.down = False
    assert await asyncio.wait_for(asking, LIMIT_S) == []
