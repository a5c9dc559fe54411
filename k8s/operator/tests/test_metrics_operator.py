"""What the operator counts is what a scrape shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

from shop.operator.engine import metrics
from shop.operator.engine.cache.store import Cache, Child, StoredShop, child_from_object
from shop.operator.kube.kinds import SHOP
from shop.operator.kube.objects import NamespacedName

BOOKS, ARCADE = NamespacedName("market", "books"), NamespacedName("market", "arcade")
VERSIONS = count(1)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def conditions(ready: str, degraded: str) -> list[dict[str, str]]:
    return [
        {"type": "Ready", "status": ready, "reason": "x", "message": "y"},
        {"type": "Degraded", "status": degraded, "reason": "x", "message": "y"},
    ]


@pytest.fixture
def cache() -> Iterator[Cache]:
    """What the metrics show the Shops of."""
    cache = Cache(lambda _: None)
    metrics.SHOPS.read = cache.states
    yield cache
    metrics.SHOPS.read = tuple


def see(cache: Cache, key: NamespacedName, conditions: list[dict[str, str]]) -> None:
    metadata = {"namespace": key.namespace, "name": key.name, "resourceVersion": f"{next(VERSIONS)}"}
    cache.shop_changed(key, None, StoredShop.of({"metadata": metadata, "status": {"conditions": conditions}}))


def backup(status: dict[str, str]) -> Child:
    owner = {"apiVersion": SHOP.api_version, "kind": SHOP.kind, "name": "books"}
    metadata = {"namespace": "market", "name": "books-backup", "uid": "1", "ownerReferences": [owner]}
    return child_from_object({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "status": status})


def test_shops_are_counted_by_condition(cache: Cache) -> None:
    see(cache, BOOKS, conditions("False", "True"))
    see(cache, ARCADE, conditions("Unknown", "False"))
    see(cache, BOOKS, conditions("True", "False"))
    assert sample("shop_operator_shops", condition="Ready", status="True") == 1
    assert sample("shop_operator_shops", condition="Ready", status="False") == 0
    assert sample("shop_operator_shops", condition="Degraded", status="False") == 2


def test_a_shop_with_problems_is_named_and_a_deleted_one_is_not(cache: Cache) -> None:
    see(cache, BOOKS, conditions("False", "True"))
    see(cache, ARCADE, conditions("True", "False"))
    cache.shop_changed(ARCADE, None, None)
    assert sample("shop_operator_shop_degraded", shop_namespace="market", shop="books") == 1
    assert REGISTRY.get_sample_value("shop_operator_shop_ready", {"shop_namespace": "market", "shop": "books"}) == 0
    assert REGISTRY.get_sample_value("shop_operator_shop_ready", {"shop_namespace": "market", "shop": "arcade"}) is None


def test_a_backup_is_reported_by_when_it_was_due_and_when_it_succeeded(cache: Cache) -> None:
    name = "shop_operator_backup_{}_timestamp_seconds"
    see(cache, BOOKS, [])
    first = backup({"lastScheduleTime": "2026-05-01T03:00:00Z"})
    cache.child_changed(BOOKS, None, first)
    books = {"shop_namespace": "market", "shop": "books"}
    assert [sample(name.format(which), **books) for which in ("due", "done")] == [1777604400.0, 0.0]
    second = backup({"lastScheduleTime": "2026-05-01T03:00:00Z", "lastSuccessfulTime": "2026-05-01T03:01:00Z"})
    cache.child_changed(BOOKS, first, second)
    assert sample(name.format("done"), **books) == 1777604460.0
    cache.child_changed(BOOKS, second, None)
    assert REGISTRY.get_sample_value(name.format("due"), books) is None


def test_requests_are_counted_by_verb_resource_and_code() -> None:
    before = sample("shop_operator_api_throttled_total")
    metrics.count_request("PATCH", "deployments", 429, 0.02)
    metrics.count_request("PATCH", "deployments", 200, 0.02)
    metrics.count_request("GET", "shops", 0, 5.0)
    assert sample("shop_operator_api_requests_total", verb="PATCH", resource="deployments", code="200") == 1
    assert sample("shop_operator_api_requests_total", verb="GET", resource="shops", code="0") == 1
    assert sample("shop_operator_api_throttled_total") == before + 1
    assert sample("shop_operator_api_request_seconds_count", verb="PATCH") == 2


def test_queue_and_watches_are_measured_when_scraped() -> None:
    waiting = [1]
    metrics.QUEUE_DEPTH.set_function(lambda: len(waiting))
    metrics.QUEUE_OLDEST.set_function(lambda: 7.5)
    waiting.append(2)
    assert sample("shop_operator_queue_depth") == 2
    assert sample("shop_operator_queue_oldest_seconds") == 7.5
    metrics.WATCH_SILENCE.labels("Deployment").set_function(lambda: 100.0 * len(waiting))
    assert sample("shop_operator_watch_silence_seconds", kind="Deployment") == 200


def test_every_metric_of_the_operator_has_a_help_text() -> None:
    text = generate_latest().decode()
    lines = [line.split(" ", 3) for line in text.splitlines() if line.startswith("# HELP shop_operator_")]
    assert len(lines) > 15
    assert all(len(line) == 4 and line[3].endswith(".") for line in lines)


def test_every_metric_is_counted_somewhere() -> None:
    engine = Path(metrics.__file__).parent
    code = "\n".join(path.read_text(encoding="utf-8") for path in engine.rglob("*.py") if path.name != "metrics.py")
    counted = {name for name, value in vars(metrics).items() if isinstance(value, Counter | Gauge | Histogram)}
    inside = {"API_REQUESTS", "API_SECONDS", "API_THROTTLED"}
    assert {name for name in counted - inside if not re.search(rf"\b{name}\.", code)} == set()
    assert "observer = count_request" in code
