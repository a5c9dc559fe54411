"""The parser finds the wanted series in what a service of ours answers, and nothing else."""

from __future__ import annotations

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from shop.ops import scrape
from shop.ops.scrape import Reading, parse


def exposed() -> str:
    registry = CollectorRegistry()
    requests = Counter("shop_http_requests", "x", ["method", "route", "status"], registry=registry)
    requests.labels("GET", "/api/v1/orders/{order_id}", "200").inc(3)
    requests.labels("GET", '/odd"} 7\\', "503").inc(2)
    Gauge("shop_outbox_unpublished", "x", registry=registry).set(12)
    Gauge("shop_something_else", "x", registry=registry).set(99)
    return prometheus_client.generate_latest(registry).decode()


def test_wanted_series_are_read_as_the_client_writes_them() -> None:
    reading = Reading("order", "http://a", 0.0, "ok", {}, parse(exposed()))
    assert reading.total("shop_http_requests_total") == 5
    assert reading.total("shop_http_requests_total", status="503") == 2
    assert reading.by("shop_http_requests_total", "status") == {("200",): 3, ("503",): 2}
    assert reading.total("shop_outbox_unpublished") == 12
    assert "shop_something_else" not in reading.series


@pytest.mark.parametrize(
    "line", ["shop_outbox_unpublished", "shop_outbox_unpublished x", "shop_http_requests_total{", ""]
)
def test_lines_that_are_none_are_left_out(line: str) -> None:
    assert not any(parse(line).values())


def test_the_number_of_series_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "MAX_SERIES", 2)
    found = parse("shop_outbox_unpublished 1\n" * 5)
    assert [one.value for one in found["shop_outbox_unpublished"]] == [2]


def test_series_that_differ_in_labels_nobody_asks_for_are_one() -> None:
    line = 'shop_http_request_duration_seconds_bucket{{le="{}",method="GET",route="/{}"}} {}\n'
    text = "".join(line.format(bound, route, 2) for bound in ("0.1", "+Inf") for route in range(100))
    found = parse(text)["shop_http_request_duration_seconds_bucket"]
    assert {one.labels["le"]: one.value for one in found} == {"0.1": 200, "+Inf": 200}
