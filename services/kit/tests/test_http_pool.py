"""Which instance of a service gets a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from shop.kit.balancing.rules import Rules
from shop.kit.http.connections import Connections
from shop.kit.http.pool import ServicePool

PoolOf = Callable[..., ServicePool]


@pytest.fixture
async def pool_of() -> AsyncIterator[PoolOf]:
    connections = Connections()

    def make(count: int, failures: int = 2) -> ServicePool:
        urls = [f"http://127.0.0.1:{port}" for port in range(1, count + 1)]
        return ServicePool("product", urls, connections, rules=Rules(failures_to_open=failures, reset_s=60))

    yield make
    await connections.close()


def test_the_less_busy_of_two_is_chosen(pool_of: PoolOf) -> None:
    pool = pool_of(2)
    pool.instances[0].inflight = 5
    assert {pool.pick() for _ in range(50)} == {pool.instances[1]}


def test_streams_decide_between_instances_with_as_many_requests(pool_of: PoolOf) -> None:
    pool = pool_of(2)
    streaming, other = pool.instances
    streaming.streams = 5
    assert {pool.pick() for _ in range(50)} == {other}
    other.inflight = 1
    assert {pool.pick() for _ in range(50)} == {streaming}


def test_of_many_the_busiest_is_never_chosen_and_the_others_share(pool_of: PoolOf) -> None:
    pool = pool_of(3)
    pool.instances[0].inflight = 5
    assert {pool.pick() for _ in range(200)} == set(pool.instances[1:])


def test_open_breakers_tried_and_full_instances_are_passed_over(pool_of: PoolOf) -> None:
    pool = pool_of(3)
    broken, tried, good = pool.instances
    broken.breaker.failed()
    broken.breaker.failed()
    assert {pool.pick([tried]) for _ in range(50)} == {good}
    good.inflight = 10_000
    assert pool.pick([tried]) is None


def test_retry_after_is_when_the_first_breaker_lets_a_probe_through(pool_of: PoolOf) -> None:
    pool = pool_of(1, failures=1)
    assert pool.retry_after_s() == 1
    pool.instances[0].breaker.failed()
    assert 55 < pool.retry_after_s() <= 60
