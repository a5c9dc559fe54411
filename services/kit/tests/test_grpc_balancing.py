"""Calls go where they cost least, of the instances that run, and none fails while instances come and go."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.kit.tests.grpc_process import TIMEOUT_S, Process, Starter, all_ready, name_server, starter
from services.kit.tests.grpc_service import Caller, Running, calling, serving
from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from shop.kit.balancing.instance import About
from shop.kit.balancing.rules import Rules
from shop.kit.discovery.dns import DnsDiscovery
from shop.kit.errors import Unavailable
from shop.kit.tasks import Tasks

HOSTS = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
AT_ONCE = 2
PAUSE_S = 0.002
RECENT = 60
LITTLE, MUCH = 0.05, 0.15
"""Shares of the calls, of three instances."""
QUICK = Rules(latency_decay_s=0.3, reset_s=0.3, max_reset_s=1.0, slow_start_s=0.3, faults_decay_s=0.5)
AGE = {"SHOP_GRPC_MAX_CONNECTION_AGE_S": "1"}
"""All connections of a channel end at nearly the same time, once a second."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    with starter(tmp_path) as made:
        yield made


class Load:
    """Calls by AT_ONCE callers: who answered the last RECENT ones, and what failed."""

    def __init__(self) -> None:
        self.recent: deque[int] = deque(maxlen=RECENT)
        self.failed: list[Exception] = []
        self.caller: Caller

    async def run(self, caller: Caller, *, idempotent: bool) -> None:
        ask = caller.read if idempotent else caller.say
        while True:
            try:
                self.recent.append(int(await ask("process")))
            except Unavailable as error:
                self.failed.append(error)
            await asyncio.sleep(PAUSE_S)

    async def spread_over(self, *processes: Process) -> None:
        """Wait until these processes, and no others, have the recent calls, and none of them few."""
        wanted = {process.pid for process in processes}
        least = RECENT / len(wanted) / 4

        def spread() -> bool:
            shares = Counter(self.recent)
            return len(self.recent) == RECENT and set(shares) == wanted and min(shares.values()) >= least

        await wait_until(spread, TIMEOUT_S, f"calls at {sorted(wanted)}")


@contextlib.asynccontextmanager
async def load(target: str, *, idempotent: bool = False) -> AsyncIterator[Load]:
    made = Load()
    async with calling(target, rules=QUICK) as caller:
        made.caller = caller
        tasks = [asyncio.create_task(made.run(caller, idempotent=idempotent)) for _ in range(AT_ONCE)]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_instances_that_are_added_get_calls_and_none_fails(start: Starter) -> None:
    port = free_port()
    first, *others = await all_ready(*(start(port, host, **AGE) for host in HOSTS))
    async with name_server(HOSTS[0]) as names, load(names.target(port)) as calls:
        await calls.spread_over(first)
        names.addresses = list(HOSTS)
        await calls.spread_over(first, *others)
    assert calls.failed == []


async def test_no_idempotent_call_fails_while_instances_are_replaced(start: Starter) -> None:
    """As in a rolling update: a new one is ready, the old one's address goes, then it is terminated."""
    port = free_port()
    old, new = await all_ready(*(start(port, host) for host in HOSTS[:2]))
    async with name_server(HOSTS[0]) as names, load(names.target(port), idempotent=True) as calls:
        await calls.spread_over(old)
        names.addresses = [HOSTS[1]]
        old.program.send_signal(signal.SIGTERM)
        await calls.spread_over(new)
        assert await old.exit_code() == -signal.SIGTERM
    assert calls.failed == []


async def test_no_idempotent_call_fails_when_an_instance_is_killed(start: Starter) -> None:
    processes = await all_ready(*(start(free_port()) for _ in range(3)))
    addresses = ",".join(process.address for process in processes)
    async with load(addresses, idempotent=True) as calls:
        await calls.spread_over(*processes)
        processes[0].program.kill()
        await calls.spread_over(*processes[1:])
    assert calls.failed == []


async def test_killed_instance_gets_calls_again_once_it_is_back(start: Starter) -> None:
    ports = [free_port(), free_port()]
    one, two = await all_ready(*map(start, ports))
    async with load(f"{one.address},{two.address}", idempotent=True) as calls:
        await calls.spread_over(one, two)
        one.program.kill()
        await calls.spread_over(two)
        again = await start(ports[0]).ready()
        await calls.spread_over(again, two)


async def test_calls_follow_the_instances_that_discovery_finds(start: Starter) -> None:
    """In a registry, which knows HTTP addresses, or by a name. No call under way is lost."""
    first, *others = await all_ready(*(start(free_port()) for _ in range(3)))
    found = {f"http://of.{one.pid}": About(id=str(one.pid), grpc=one.address) for one in others}
    async with load(first.address) as calls:
        await calls.spread_over(first)
        client = calls.caller.client
        client.replace({"http://without.grpc": About(id="one")})
        client.replace({**found, "http://without.grpc": About(), f"grpc://{first.address}": About()})
        await calls.spread_over(first, *others)
        client.replace(found)
        await calls.spread_over(*others)
    assert calls.failed == []


async def test_calls_go_to_every_address_of_a_name_that_discovery_resolves() -> None:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        assert host == "echo-grpc"
        return HOSTS[:2]

    discovery, tasks = DnsDiscovery(resolve), Tasks()
    port = free_port()
    async with (
        serving(grpc_host=HOSTS[0], grpc_port=port) as one,
        serving(grpc_host=HOSTS[1], grpc_port=port) as two,
        calling(f"dns:///echo-grpc:{port}") as caller,
    ):
        caller.client.follow(discovery)
        discovery.start(tasks)
        await wait_until(lambda: len(caller.client.balancer.instances) == 2)

        async def both_have_calls() -> bool:
            await caller.say("hello")
            return bool(one.echo.seen and two.echo.seen)

        await wait_until(both_have_calls)
        await tasks.stop()


async def test_no_call_goes_where_nobody_listens_while_others_do() -> None:
    """These must not be repeated, so each would fail. The first ones are made before anything is connected."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    async with serving() as running, calling(",".join([*addresses, running.address])) as caller:
        answers = await asyncio.gather(*(caller.say("hello") for _ in range(10)))
        answers += [await caller.say("hello") for _ in range(10)]
    assert set(answers) == {"said hello"}


@pytest.mark.parametrize("how", [{"delay_s": 0.1}, {"fails": True}], ids=["slow", "fails"])
async def test_an_ill_instance_gets_few_calls_and_its_share_when_it_is_well(how: dict[str, Any]) -> None:
    async with (
        serving() as one,
        serving() as two,
        serving() as ill,
        load(f"{one.address},{two.address},{ill.address}"),
    ):
        await wait_until(lambda: share(ill, one, two) > MUCH, TIMEOUT_S)
        well = {name: getattr(ill.echo, name) for name in how}
        vars(ill.echo).update(how)
        await wait_until(lambda: share(ill, one, two) < LITTLE, TIMEOUT_S)
        vars(ill.echo).update(well)
        await wait_until(lambda: share(ill, one, two) > MUCH, TIMEOUT_S)


def share(ill: Running, *others: Running) -> float:
    """What the first one had of the last RECENT calls; as long as there are fewer, neither LITTLE nor MUCH."""
    counts = [len(each.echo.seen) for each in (ill, *others)]
    if sum(counts) < RECENT:
        return (LITTLE + MUCH) / 2
    for each in (ill, *others):
        each.echo.seen.clear()
    return counts[0] / sum(counts)
