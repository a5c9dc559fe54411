"""From readings of metrics to what the picture shows: rates, latencies, health, flows."""

from __future__ import annotations

import pytest

from shop.ops.picture import Picture, Store, picture, quantile
from shop.ops.scrape import Reading, parse

INF = float("inf")


def reading(noun: str, at_s: float, text: str, status: str = "ok", address: str = "", **checks: str) -> Reading:
    return Reading(noun, address or f"http://{noun}", at_s, status, checks, parse(text))


def http(count: int, failed: int = 0, started: int = 1) -> str:
    return f"""
process_start_time_seconds {started}
process_cpu_seconds_total {count / 100}
process_resident_memory_bytes 5e7
shop_http_requests_total{{method="GET",route="/x",status="200"}} {count}
shop_http_requests_total{{method="GET",route="/x",status="503"}} {failed}
shop_http_request_duration_seconds_bucket{{le="0.1",method="GET",route="/x"}} {count}
shop_http_request_duration_seconds_bucket{{le="+Inf",method="GET",route="/x"}} {count + failed}
"""


def drawn(before: list[Reading], now: list[Reading]) -> Picture:
    return picture(before, now)


def test_rates_are_the_increase_per_second_over_all_instances() -> None:
    before = [reading("order", 0, http(100)), reading("order", 0, http(50), address="http://b")]
    now = [reading("order", 10, http(200, 10)), reading("order", 10, http(60), address="http://b")]
    node = drawn(before, now).node("order")
    assert node is not None
    assert (node.rate, node.errors, node.up) == (12.0, 1.0, 2)
    assert node.instances[0].cpu == 0.1
    assert node.instances[0].memory == 5e7


def test_after_one_reading_rates_are_unknown() -> None:
    node = drawn([], [reading("order", 0, http(100))]).node("order")
    assert node is not None
    assert (node.rate, node.errors, node.p50_ms, node.instances[0].cpu) == (None, None, None, None)


def test_an_instance_that_was_started_again_counts_from_its_next_reading() -> None:
    before = [reading("order", 0, http(100_000)), reading("order", 0, http(0), address="http://b")]
    now = [reading("order", 10, http(5, started=2)), reading("order", 10, http(20), address="http://b")]
    node = drawn(before, now).node("order")
    assert node is not None
    assert node.rate == 2.0


def test_an_instance_that_is_away_makes_the_service_so_and_no_rate_negative() -> None:
    before = [reading("order", 0, http(100)), reading("order", 0, http(50), address="http://b")]
    now = [Reading("order", "http://order", 10, "away"), reading("order", 10, http(60), address="http://b")]
    node = drawn(before, now).node("order")
    assert node is not None
    assert (node.status, node.up, node.rate) == ("away", 1, 1.0)


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({("0.1",): 10.0, ("0.2",): 20.0, ("+Inf",): 20.0}, 0.5, 100.0),
        ({("0.1",): 10.0, ("0.2",): 20.0, ("+Inf",): 20.0}, 0.75, 150.0),
        ({("0.1",): 0.0, ("0.2",): 0.0, ("+Inf",): 5.0}, 0.99, 200.0),
        ({("0.1",): 0.0, ("+Inf",): 0.0}, 0.5, None),
        ({}, 0.5, None),
    ],
)
def test_quantiles_are_interpolated(
    buckets: dict[tuple[str, ...], float], share: float, expected: float | None
) -> None:
    assert quantile(buckets, share) == expected


def test_calls_and_events_flow() -> None:
    def text(times: int) -> str:
        return f"""
process_start_time_seconds 1
shop_client_requests_total{{outcome="ok",upstream="product"}} {10 * times}
shop_client_requests_total{{outcome="unknown",upstream="product"}} {5 * times}
shop_client_requests_total{{outcome="ok",upstream="elsewhere"}} {10 * times}
shop_outbox_published_total {20 * times}
shop_outbox_unpublished 7
shop_inbox_events_total{{consumer="a",result="taken"}} {30 * times}
shop_inbox_events_total{{consumer="a",result="dead"}} {times}
shop_inbox_pending_events{{consumer="a",publisher="payment"}} 4
"""

    found = drawn([reading("order", 0, text(1))], [reading("order", 1, text(2))])
    flows = {(flow.source, flow.target): (flow.rate, flow.errors, flow.waiting) for flow in found.flows}
    assert flows == {("order", "product"): (15, 5, 0), ("order", "nats"): (20, 0, 7), ("nats", "order"): (31, 1, 4)}


def test_the_gateways_calls_flow_by_their_status() -> None:
    def text(times: int) -> str:
        return f"""
process_start_time_seconds 1
shop_gateway_requests_total{{route="/x",status="404",upstream="order"}} {times}
shop_gateway_requests_total{{route="/x",status="502",upstream="order"}} {times}
"""

    found = drawn([reading("gateway", 0, text(1))], [reading("gateway", 1, text(2))])
    assert [(flow.target, flow.rate, flow.errors) for flow in found.flows] == [("order", 2, 1)]


def test_a_store_is_what_most_of_its_users_say() -> None:
    services = [
        reading("order", 0, "", database="ok", broker="ok"),
        reading("payment", 0, "", database="ok", broker="disconnected"),
        reading("product", 0, "", database="TimeoutError", broker="disconnected"),
    ]
    assert drawn([], services).stores == (Store("nats", "unavailable", 3), Store("postgres", "ok", 3))


def test_breakers_that_are_not_closed_are_named() -> None:
    text = 'shop_client_breaker_state{upstream="product"} 2\nshop_client_breaker_state{upstream="payment"} 0\n'
    node = drawn([], [reading("order", 0, text)]).node("order")
    assert node is not None
    assert node.instances[0].breakers == ("product: open",)


def test_the_picture_is_json() -> None:
    document = drawn([], [reading("order", 0, http(1))]).document()
    assert document["nodes"][0]["noun"] == "order"
    assert document["nodes"][0]["instances"][0]["status"] == "ok"
