"""The shop as a picture: what two readings of every instance say about services, stores and what flows between them.

Pure functions. Rates are per second; what is unknown, because there was only one reading yet, is None.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shop.ops.scrape import Reading
from shop.ops.services import ABOUT, STORES

P50, P99 = 0.5, 0.99
BROKER = "nats"
STORE_CHECKS: Mapping[str, str] = {"database": "postgres", "broker": "nats", "cart": "valkey", "cache": "valkey"}
"""The store that a check of a service's readiness is about."""
HEALTH = ("away", "unavailable", "degraded", "ok")
"""The worst first."""
GOOD_OUTCOMES = frozenset({"ok", "refused_by_service"})
MS = 1_000.0


@dataclass(frozen=True, slots=True)
class Instance:
    """One process; memory in bytes, ``cpu`` in cores, ``since_s`` in seconds since 1970.

    ``restarts`` is None where nobody counts them.
    """

    address: str
    status: str
    problem: str
    memory: float
    cpu: float | None
    since_s: float
    inflight: float
    breakers: tuple[str, ...]
    id: str = ""
    version: str = ""
    restarts: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One service; latencies in milliseconds."""

    noun: str
    status: str
    up: int
    instances: tuple[Instance, ...]
    rate: float | None
    errors: float | None
    p50_ms: float | None
    p99_ms: float | None
    outbox: float
    lag: float
    dead: float
    sagas: float


@dataclass(frozen=True, slots=True)
class Store:
    """A store as the services that use it see it."""

    name: str
    status: str
    users: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Calls from one service to another, or events to and from the broker; ``waiting`` are events not processed."""

    source: str
    target: str
    kind: str
    rate: float
    errors: float = 0.0
    waiting: float = 0.0


@dataclass(frozen=True, slots=True)
class Picture:
    nodes: tuple[Node, ...]
    stores: tuple[Store, ...]
    flows: tuple[Flow, ...]

    def document(self) -> dict[str, Any]:
        """In JSON's types."""
        return asdict(self)

    def node(self, noun: str) -> Node | None:
        return next((node for node in self.nodes if node.noun == noun), None)


Pair = tuple[Reading | None, Reading]
"""An instance's reading before, if there was one since it started, and now."""


def picture(before: Iterable[Reading], now: Iterable[Reading]) -> Picture:
    """What happened between two readings of all instances."""
    earlier = {one.address: one for one in before if one.series}
    pairs: dict[str, list[Pair]] = defaultdict(list)
    for reading in now:
        pairs[reading.noun].append((_same_process(earlier.get(reading.address), reading), reading))
    nodes = tuple(_node(noun, pairs[noun]) for noun in ABOUT if noun in pairs)
    flows = itertools.chain.from_iterable(_flows(noun, pairs[noun]) for noun in pairs)
    return Picture(nodes, _stores(pairs), tuple(sorted(flows, key=lambda flow: (flow.source, flow.target, flow.kind))))


def _same_process(before: Reading | None, now: Reading) -> Reading | None:
    """A process that was started again counts from 0."""
    started = "process_start_time_seconds"
    return before if before and before.total(started) == now.total(started) else None


def _node(noun: str, pairs: Sequence[Pair]) -> Node:
    now = [reading for _, reading in pairs]
    requests = _rates(pairs, "shop_http_requests_total", "status")
    known = any(before for before, _ in pairs)
    buckets = _rates(pairs, "shop_http_request_duration_seconds_bucket", "le")
    return Node(
        noun,
        _worst(reading.status for reading in now),
        sum(reading.status in {"ok", "degraded"} for reading in now),
        tuple(_instance(before, reading) for before, reading in pairs),
        _rounded(sum(requests.values())) if known else None,
        _rounded(sum(rate for (status,), rate in requests.items() if status.startswith("5"))) if known else None,
        quantile(buckets, P50),
        quantile(buckets, P99),
        # Each replica counts the same rows of one database.
        max((reading.total("shop_outbox_unpublished") for reading in now), default=0),
        max((reading.total("shop_inbox_pending_events") for reading in now), default=0),
        max((reading.total("shop_inbox_dead_letters") for reading in now), default=0),
        max((reading.total("shop_order_sagas_waiting") for reading in now), default=0),
    )


def _instance(before: Reading | None, now: Reading) -> Instance:
    cpu = None
    if before is not None and now.at_s > before.at_s:
        name = "process_cpu_seconds_total"
        cpu = _rounded((now.total(name) - before.total(name)) / (now.at_s - before.at_s))
    open_to = [
        f"{upstream}: {'open' if state == 2 else 'half open'}"
        for name in ("shop_client_breaker_state", "shop_gateway_breaker_state")
        for (upstream,), state in now.by(name, "upstream").items()
        if state
    ]
    problems = [f"{name}: {result}" for name, result in now.checks.items() if result != "ok"]
    return Instance(
        now.address,
        now.status,
        "; ".join(problems),
        now.total("process_resident_memory_bytes"),
        cpu,
        now.total("process_start_time_seconds"),
        now.total("shop_http_requests_inflight"),
        tuple(open_to),
        now.id,
        now.version,
        now.restarts,
    )


def _flows(noun: str, pairs: Sequence[Pair]) -> Iterable[Flow]:
    calls: dict[str, float] = defaultdict(float)
    failed: dict[str, float] = defaultdict(float)
    for name, label in (("shop_client_requests_total", "outcome"), ("shop_gateway_requests_total", "status")):
        for (upstream, outcome), rate in _rates(pairs, name, "upstream", label).items():
            calls[upstream] += rate
            failed[upstream] += 0 if outcome in GOOD_OUTCOMES or outcome[:1] in set("1234") else rate
    for (upstream, code), rate in _rates(pairs, "shop_grpc_client_requests_total", "upstream", "code").items():
        calls[upstream] += rate
        failed[upstream] += 0 if code == "OK" else rate
    yield from (
        Flow(noun, to, "call", _rounded(rate), _rounded(failed[to])) for to, rate in calls.items() if to in ABOUT
    )
    if BROKER not in STORES.get(noun, ()):
        return
    node_lag = max((reading.total("shop_inbox_pending_events") for _, reading in pairs), default=0)
    outbox = max((reading.total("shop_outbox_unpublished") for _, reading in pairs), default=0)
    published = sum(_rates(pairs, "shop_outbox_published_total").values())
    taken = _rates(pairs, "shop_inbox_events_total", "result")
    wrong = sum(rate for (result,), rate in taken.items() if result in {"failed", "dead"})
    yield Flow(noun, BROKER, "event", _rounded(published), 0.0, outbox)
    yield Flow(BROKER, noun, "event", _rounded(sum(taken.values())), _rounded(wrong), node_lag)


def _stores(pairs: Mapping[str, Sequence[Pair]]) -> tuple[Store, ...]:
    """Seen by most of those that use it as they see it: one service alone may have a problem of its own."""
    found: dict[str, list[str]] = {}
    for noun, readings in pairs.items():
        for store in STORES.get(noun, ()):
            found.setdefault(store, [])
            found[store] += [
                "ok" if result == "ok" else "unavailable"
                for _, reading in readings
                for check, result in reading.checks.items()
                if STORE_CHECKS.get(check) == store
            ]
    return tuple(
        Store(name, "ok" if not said or said.count("ok") * 2 > len(said) else "unavailable", len(said))
        for name, said in sorted(found.items())
    )


def _rates(pairs: Sequence[Pair], name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Increase per second by labels, summed over the instances that have been read twice."""
    sums: dict[tuple[str, ...], float] = defaultdict(float)
    for before, now in pairs:
        if before is None or now.at_s <= before.at_s:
            continue
        old = before.by(name, *labels)
        for key, value in now.by(name, *labels).items():
            sums[key] += max(0.0, value - old.get(key, 0.0)) / (now.at_s - before.at_s)
    return sums


def quantile(buckets: Mapping[tuple[str, ...], float], share: float) -> float | None:
    """Milliseconds below which this share of the requests took, interpolated within its bucket; None without any."""
    bounds = sorted((float(bound), count) for (bound,), count in buckets.items())
    if not bounds or bounds[-1][1] <= 0:
        return None
    wanted, low, below = bounds[-1][1] * share, 0.0, 0.0
    for bound, count in bounds:
        if count >= wanted:
            inside = (wanted - below) / (count - below) if count > below else 1.0
            return _rounded(MS * (low if bound == float("inf") else low + (bound - low) * inside))
        low, below = bound, count
    return None


def _worst(statuses: Iterable[str]) -> str:
    return min(statuses, key=HEALTH.index, default="away")


def _rounded(value: float) -> float:
    return round(value, 2)
