"""The services behind the gateway: the pools of their instances, with metrics and probes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence

from prometheus_client import Gauge

from shop.gateway import overload
from shop.gateway.proxy import expect
from shop.gateway.routing import API_PREFIX, Target
from shop.gateway.settings import Settings
from shop.kit.balancing.breaker import MEASURED
from shop.kit.balancing.instance import Instance
from shop.kit.balancing.rules import Rules
from shop.kit.discovery.interface import Discovery
from shop.kit.discovery.registry import Registry
from shop.kit.http.connections import Connections
from shop.kit.http.pool import ServicePool

PROBE_INTERVAL_S = 0.1
"""Between two trials of an instance that refuses connections."""
REFUSED_LOOK_S = 0.5
"""How often it is looked for one."""
PROBE_TIMEOUT_S = 1.0
CHECK_INTERVAL_S = 2.0
MAX_JOINED = 32
"""Services that are not the shop's own."""
JOINED = "/api/v1/{service}"
"""How metrics name the route of each of them."""

BREAKER = Gauge("shop_gateway_breaker_state", "0 closed, 1 half open, 2 open", ["upstream", "instance"])
INFLIGHT = Gauge("shop_gateway_upstream_inflight", "Requests under way", ["upstream", "instance"])
STREAMS = Gauge("shop_gateway_upstream_streams", "Event streams that are open", ["upstream", "instance"])


def open_pools(
    services: Iterable[str], settings: Settings, connections: Connections, discovery: Discovery
) -> dict[str, ServicePool]:
    """The pool of each service by its name, measured from now on, with the instances that discovery finds."""
    pools = {service: _open_pool(service, settings.urls(service), settings, connections) for service in services}
    for service, pool in pools.items():
        expect(service)
        overload.expect(service)
        for instance in pool.instances:
            _measure(service, instance)
        discovery.follow(service, [one.base_url for one in pool.instances], pool.update)
    return pools


def _open_pool(service: str, urls: Sequence[str], settings: Settings, connections: Connections) -> ServicePool:
    def replaced(added: Collection[Instance], gone: Collection[Instance]) -> None:
        for instance in gone:
            for gauge in (BREAKER, INFLIGHT, STREAMS):
                gauge.remove(service, instance.base_url)
        for instance in added:
            _measure(service, instance)

    rules = Rules(failures_to_open=settings.breaker_failures, reset_s=settings.breaker_reset_seconds)
    return ServicePool(service, urls, connections, rules=rules, replaced=replaced)


def _measure(service: str, instance: Instance) -> None:
    BREAKER.labels(service, instance.base_url).set_function(lambda: MEASURED[instance.breaker.state])
    INFLIGHT.labels(service, instance.base_url).set_function(lambda: instance.inflight)
    STREAMS.labels(service, instance.base_url).set_function(lambda: instance.streams)


class JoinedServices:
    """Services that are not this shop's own and have registered, at /api/v1/NAME with an access token."""

    def __init__(
        self, pools: dict[str, ServicePool], settings: Settings, connections: Connections, discovery: Discovery
    ) -> None:
        self._pools = pools
        self._settings = settings
        self._connections = connections
        self._discovery = discovery
        self._names: set[str] = set()
        if isinstance(discovery, Registry):
            discovery.follow_all()

    def target(self, path: str) -> Target | None:
        """Where a request to ``path``, which is no other service's, goes; None where nobody has registered."""
        name = path.removeprefix(API_PREFIX).partition("/")[0]
        if not isinstance(self._discovery, Registry) or not self._discovery.members.of(name):
            return None
        return Target(name, JOINED, True, needs_token=True) if name in self._names or self._open(name) else None

    def present(self, name: str) -> bool:
        """Whether ``name`` is one of the shop's own services, or is registered now."""
        return name not in self._names or self.target(f"{API_PREFIX}{name}") is not None

    def _open(self, name: str) -> bool:
        if name in self._pools or len(self._names) >= MAX_JOINED:
            return False
        self._names.add(name)
        self._pools[name] = pool = _open_pool(name, [], self._settings, self._connections)
        expect(name)
        overload.expect(name)
        self._discovery.follow(name, [], pool.update)
        return True


async def check(pools: Collection[ServicePool]) -> None:
    """Check the health of the instances of services that have several, for as long as the gateway runs."""
    while True:
        await asyncio.sleep(CHECK_INTERVAL_S)
        await asyncio.gather(*(pool.check(PROBE_TIMEOUT_S) for pool in pools))


async def probe(pools: Collection[ServicePool]) -> None:
    """Probe instances that refused connections, for as long as the gateway runs: no customer waits for a trial."""
    while True:
        refused = [pool for pool in pools if any(instance.refused for instance in pool.instances)]
        await asyncio.gather(*(pool.probe_refused(PROBE_TIMEOUT_S) for pool in refused))
        await asyncio.sleep(PROBE_INTERVAL_S if refused else REFUSED_LOOK_S)
