"""The services behind the gateway: the pools of their instances, with metrics and probes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from prometheus_client import Gauge

from shop.gateway.proxy import expect
from shop.gateway.settings import Settings
from shop.kit.http.breaker import MEASURED
from shop.kit.http.connections import Connections
from shop.kit.http.pool import Instance, ServicePool

PROBE_INTERVAL_S = 0.1
PROBE_TIMEOUT_S = 1.0

BREAKER = Gauge("shop_gateway_breaker_state", "0 closed, 1 half open, 2 open", ["upstream", "instance"])
INFLIGHT = Gauge("shop_gateway_upstream_inflight", "Requests under way", ["upstream", "instance"])
STREAMS = Gauge("shop_gateway_upstream_streams", "Event streams that are open", ["upstream", "instance"])


def open_pools(services: Iterable[str], settings: Settings, connections: Connections) -> dict[str, ServicePool]:
    """The pool of each service by its name, measured from now on."""
    pools = {
        service: ServicePool(
            service,
            settings.urls(service),
            connections,
            failures_to_open=settings.breaker_failures,
            reset_s=settings.breaker_reset_seconds,
        )
        for service in services
    }
    for service, pool in pools.items():
        expect(service)
        for instance in pool.instances:
            _measure(service, instance)
    return pools


def _measure(service: str, instance: Instance) -> None:
    BREAKER.labels(service, instance.base_url).set_function(lambda: MEASURED[instance.breaker.state])
    INFLIGHT.labels(service, instance.base_url).set_function(lambda: instance.inflight)
    STREAMS.labels(service, instance.base_url).set_function(lambda: instance.streams)


async def probe(pools: Collection[ServicePool]) -> None:
    """Probe instances that refused connections, for as long as the gateway runs: no customer waits for a trial."""
    while True:
        await asyncio.sleep(PROBE_INTERVAL_S)
        await asyncio.gather(*(pool.probe_refused(PROBE_TIMEOUT_S) for pool in pools))
