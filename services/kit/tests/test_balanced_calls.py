"""Calls to three real processes, of which one is killed, stopped, slow, failing or restarted meanwhile.

The times of the rules are short, so that what happens in seconds happens in less; nothing here measures time.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from services.kit.tests.instances import AT_ONCE, Load, Program, Starter
from shop.devkit.testing import wait_until
from shop.kit.balancing.breaker import State
from shop.kit.balancing.instance import About
from shop.kit.balancing.rules import Rules
from shop.kit.http import ServiceClient
from shop.kit.http.connections import Connections

RULES = Rules(latency_decay_s=0.3, reset_s=0.3, max_reset_s=1.0, slow_start_s=0.3, faults_decay_s=0.5)


@pytest.fixture(scope="module")
async def starter() -> AsyncIterator[Starter]:
    made = Starter()
    yield made
    made.close()


@pytest.fixture(scope="module")
async def programs(starter: Starter) -> list[Program]:
    made = [Program(starter) for _ in range(3)]
    await asyncio.gather(*(one.ready() for one in made))
    return made


@pytest.fixture
async def load(programs: list[Program]) -> AsyncIterator[Load]:
    """All three answer, and each has had its share."""
    connections = Connections()
    client = ServiceClient("product", ",".join(one.url for one in programs), connections, rules=RULES)
    made = Load(client)
    tasks = [asyncio.create_task(made.call()) for _ in range(AT_ONCE)]
    for one in programs:
        await made.is_used(one)
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await connections.close()


async def test_a_slow_instance_is_avoided_and_comes_back(load: Load, programs: list[Program]) -> None:
    await programs[0].behave(delay_s=0.2)
    await load.is_avoided(programs[0])
    await programs[0].behave(delay_s=0)
    await load.is_used(programs[0])
    assert load.failed == {"GET": [], "POST": []}


async def test_an_instance_that_fails_fast_is_avoided_and_comes_back(load: Load, programs: list[Program]) -> None:
    await programs[1].behave(status=503)
    await load.is_avoided(programs[1])
    await programs[1].behave(status=200)
    await load.is_used(programs[1])
    assert load.failed["GET"] == []


async def test_a_stopped_instance_is_avoided_and_comes_back(load: Load, programs: list[Program]) -> None:
    programs[2].signal(signal.SIGSTOP)
    await load.is_avoided(programs[2])
    programs[2].signal(signal.SIGCONT)
    await load.is_used(programs[2])
    assert load.failed == {"GET": [], "POST": []}


async def test_nothing_fails_while_all_are_restarted_one_after_another(load: Load, programs: list[Program]) -> None:
    for one in programs:
        await one.restart()
        await load.is_used(one)
    assert load.failed == {"GET": [], "POST": []}


async def test_an_instance_at_a_new_address_gets_requests_and_the_old_one_none(
    load: Load, programs: list[Program], starter: Starter
) -> None:
    moved = Program(starter)
    await moved.ready()
    left = load.instance(programs[0])
    load.client.pool.update({one.url: About() for one in (moved, *programs[1:])})
    await load.is_used(moved)
    await wait_until(lambda: left.inflight == 0)
    before = left.sent
    await load.share(moved)
    assert left.sent == before
    moved.signal(signal.SIGKILL)


async def test_no_read_fails_when_an_instance_is_killed(load: Load, programs: list[Program]) -> None:
    killed = load.instance(programs[0])
    programs[0].signal(signal.SIGKILL)
    await wait_until(lambda: killed.breaker.state is State.OPEN)
    await load.is_avoided(programs[0])
    assert load.failed["GET"] == []
    # A write that it had may have been carried out.
    assert len(load.failed["POST"]) <= AT_ONCE
