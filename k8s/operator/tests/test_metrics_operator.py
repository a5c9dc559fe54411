"""What the operator counts is what a scrape shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

from shop.operator.engine import metrics
from shop.operator.kube.objects import NamespacedName

BOOKS, ARCADE = NamespacedName("market", "books"), NamespacedName("market", "arcade")


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def conditions(ready: str, degraded: str) -> list[dict[str, str]]:
    return [
        {"type": "Ready", "status": ready, "reason": "x", "message": "y"},
        {"type": "Degraded", "status": degraded, "reason": "x", "message": "y"},
    ]


@pytest.fixture
def shops() -> Iterator[metrics.ShopStates]:
    yield metrics.SHOPS
    for key in (BOOKS, ARCADE):
        metrics.SHOPS.forget(key)


def test_shops_are_counted_by_condition(shops: metrics.ShopStates) -> None:
    shops.see(BOOKS, conditions("False", "True"))
    shops.see(ARCADE, conditions("Unknown", "False"))
    shops.see(BOOKS, conditions("True", "False"))
    assert sample("shop_operator_shops", condition="Ready", status="True") == 1
    assert sample("shop_operator_shops", condition="Ready", status="False") == 0
    assert sample("shop_operator_shops", condition="Degraded", status="False") == 2


def test_a_shop_with_problems_is_named_and_a_deleted_one_is_not(shops: metrics.ShopStates) -> None:
    shops.see(BOOKS, conditions("False", "True"))
    shops.see(ARCADE, conditions("True", "False"))
    shops.forget(ARCADE)
    assert sample("shop_operator_shop_degraded", shop_namespace="market", shop="books") == 1
    assert REGISTRY.get_sample_value("shop_operator_shop_ready", {"shop_namespace": "market", "shop": "books"}) == 0
    assert REGISTRY.get_sample_value("shop_operator_shop_ready", {"shop_namespace": "market", "shop": "arcade"}) is None


def test_a_backup_is_reported_by_when_it_was_due_and_when_it_succeeded(shops: metrics.ShopStates) -> None:
    name = "shop_operator_backup_{}_timestamp_seconds"
    shops.see_backup(BOOKS, {"lastScheduleTime": "2026-05-01T03:00:00Z"})
    books = {"shop_namespace": "market", "shop": "books"}
    assert [sample(name.format(which), **books) for which in ("due", "done")] == [1777604400.0, 0.0]
    shops.see_backup(BOOKS, {"lastScheduleTime": "2026-05-01T03:00:00Z", "lastSuccessfulTime": "2026-05-01T03:01:00Z"})
    assert sample(name.format("done"), **books) == 1777604460.0
    shops.forget_backup(BOOKS)
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
