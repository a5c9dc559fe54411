"""Every service of a running shop emits exactly the metrics of the matrix, each label set from the start."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from observability import signals
from observability.signals import LabelSet, Metric
from shop.devkit.testing import wait_until
from shop.gateway import routing
from tests.architecture.source import service_nouns
from tests.load.shoppers import Shop
from tests.telemetry.conftest import TracedShop

pytestmark = pytest.mark.shop

SIGNALS = signals.load()
SERVICES = service_nouns()
MEASURED_WITHIN_S = 60.0
LOOK_EVERY_S = 1.0
"""Each look reads and parses the metrics of every service."""
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FROM_THE_CLIENT = ("python_", "process_")
BUCKET_LABEL = "le"


class Sample(NamedTuple):
    name: str
    labels: LabelSet
    value: float
    trace_id: str


def addresses_of(traced: TracedShop) -> dict[str, str]:
    components = traced.local.status()["components"]
    return {part["name"].partition("-")[0]: f"http://127.0.0.1:{part['port']}" for part in components}


async def scrape(traced: TracedShop, api: Shop, accept: str = "text/plain") -> dict[str, list[Sample]]:
    """The samples of each service's own metrics."""
    addresses = addresses_of(traced)
    parse = parse_openmetrics if accept == OPENMETRICS else parse_text

    async def of(noun: str) -> list[Sample]:
        async with api.session.get(f"{addresses[noun]}/metrics", headers={"Accept": accept}) as answer:
            assert answer.status == 200
            families = list(parse(await answer.text()))
        assert wrong_types(families) == [], noun
        return [
            Sample(one.name, one.labels, one.value, one.exemplar.labels["trace_id"] if one.exemplar else "")
            for family in families
            for one in family.samples
            if not one.name.startswith(FROM_THE_CLIENT)
        ]

    return dict(zip(SERVICES, await asyncio.gather(*map(of, SERVICES)), strict=True))


def wrong_types(families: Iterable[object]) -> list[str]:
    """Families of the shop that have another type than the matrix says."""
    named = {(getattr(family, "name"), getattr(family, "type")) for family in families}  # noqa: B009
    known = {(metric.family, metric.type) for metric in SIGNALS.metrics.values()}
    return sorted(name for name, kind in named if name.startswith("shop_") and (name, kind) not in known)


def missing(noun: str, samples: Iterable[Sample]) -> list[str]:
    """What the matrix says of the start and is not there."""
    by_name: dict[str, list[LabelSet]] = defaultdict(list)
    for sample in samples:
        by_name[sample.name].append(sample.labels)
    return [
        f"{metric.name} {dict(start)}"
        for metric in SIGNALS.of_service(noun).values()
        for start in metric.start
        if not any(start.items() <= labels.items() for labels in by_name[counted(metric)])
    ]


def counted(metric: Metric) -> str:
    return f"{metric.name}_count" if metric.type == "histogram" else metric.name


def never_seen(noun: str, samples: Iterable[Sample]) -> set[str]:
    seen = {sample.name for sample in samples}
    return {name for name, metric in SIGNALS.of_service(noun).items() if counted(metric) not in seen}


def wrong(noun: str, samples: Iterable[Sample]) -> list[str]:
    """Samples that the matrix does not have: other names, other labels, other values."""
    return [problem for sample in samples if (problem := wrong_with(noun, sample))]


def wrong_with(noun: str, sample: Sample) -> str:
    metric = SIGNALS.metric_of_sample(sample.name)
    if metric is None or noun not in metric.services:
        return f"{noun} may not have {sample.name}"
    labels = {name: value for name, value in sample.labels.items() if name != BUCKET_LABEL}
    if labels.keys() != metric.labels.keys():
        return f"{sample.name} has the labels {sorted(labels)}"
    values = [f"{name}={value}" for name, value in labels.items() if not metric.labels[name].allows(value)]
    return f"{sample.name} has {', '.join(values)}" if values else ""


def too_many(noun: str, samples: Iterable[Sample]) -> list[str]:
    counts = Counter(one.name for one in samples)
    metrics = SIGNALS.of_service(noun).values()
    return [metric.name for metric in metrics if counts[counted(metric)] > metric.series]


async def test_label_sets_are_there_from_the_start(traced: TracedShop, api: Shop) -> None:
    """Some are measured at intervals, so that they come a little later."""

    lacking: list[str] = []
    """As of the last look."""

    async def complete() -> bool:
        lacking[:] = [name for noun, samples in (await scrape(traced, api)).items() for name in missing(noun, samples)]
        return not lacking

    try:
        await wait_until(complete, MEASURED_WITHIN_S, poll_s=LOOK_EVERY_S)
    except AssertionError as error:
        pytest.fail(f"{error}: {lacking}")


async def test_every_route_is_there_from_the_start_with_its_faults(traced: TracedShop, api: Shop) -> None:
    found, lacking = await scrape(traced, api), []
    for noun, url in addresses_of(traced).items():
        if noun not in SERVICES:
            continue
        there = {
            (one.labels["method"], one.labels["route"], one.labels["status"])
            for one in found[noun]
            if one.name == "shop_http_requests_total"
        }
        faults = ("500", "502", "503", "504") if noun == "gateway" else ("500", "503")
        for method, route in await routes(api, noun, url):
            lacking += [(noun, method, route, status) for status in faults if (method, route, status) not in there]
    assert lacking == []


async def routes(api: Shop, noun: str, url: str) -> set[tuple[str, str]]:
    """Methods and templates: of the gateway by its table, of the others as they document them."""
    if noun == "gateway":
        return {(method, route) for _, route in routing.routes_of_services() for method in ("GET", "POST")}
    async with api.session.get(f"{url}/openapi.json") as answer:
        paths = (await answer.json())["paths"]
    return {(method.upper(), path) for path, item in paths.items() for method in item}


async def test_each_service_emits_what_the_matrix_lists_and_nothing_else(
    traced: TracedShop, api: Shop, used: None
) -> None:
    unseen: dict[str, set[str]] = {}
    found: dict[str, list[Sample]] = {}

    async def all_seen() -> bool:
        found.update(await scrape(traced, api))
        unseen.clear()
        unseen.update({noun: names for noun, samples in found.items() if (names := never_seen(noun, samples))})
        return not unseen

    try:
        await wait_until(all_seen, MEASURED_WITHIN_S, poll_s=LOOK_EVERY_S)
    except AssertionError as error:
        pytest.fail(f"{error}: {unseen}")
    assert [problem for noun in SERVICES for problem in wrong(noun, found[noun])] == []
    assert {noun: names for noun in SERVICES if (names := too_many(noun, found[noun]))} == {}


async def test_what_customers_did_is_in_the_numbers(traced: TracedShop, api: Shop, used: None) -> None:
    def value(samples: Iterable[Sample], name: str, **labels: str) -> float:
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())

    async def confirmed() -> dict[str, list[Sample]] | None:
        """What is measured once both orders are confirmed, which on a slow machine is after they were answered."""
        found = await scrape(traced, api)
        orders = partial(value, found["order"], "shop_order_orders_total", state="confirmed")
        return found if min(orders(kind="retail"), orders(kind="food")) >= 1 else None

    found = await wait_until(confirmed, MEASURED_WITHIN_S, "the confirmed orders in the metrics", LOOK_EVERY_S)
    orders = partial(value, found["order"], "shop_order_orders_total")
    assert orders(state="rejected", reason="insufficient_stock") >= 1
    assert orders(state="rejected", reason="payment_declined") >= 1
    assert orders(state="cancelled", reason="cancelled") >= 1
    steps = partial(value, found["order"], "shop_order_saga_steps_total")
    assert steps(step="reserve", phase="compensation", outcome="done") >= 2
    assert steps(step="charge", phase="action", outcome="rejected") >= 1
    assert value(found["order"], "shop_order_revenue_total", kind="retail") >= 1_000
    assert value(found["payment"], "shop_payment_refunded_total") >= 1_000
    assert value(found["product"], "shop_product_stock_outs_total") >= 1
    assert value(found["product"], "shop_product_stock_drift") == 0
    assert value(found["user"], "shop_user_sign_ins_total", result="refused") >= 1
    assert value(found["storefront"], "shop_storefront_funnel_total", step="view") >= 1
    assert value(found["order"], "shop_broker_connected") == 1
    assert value(found["order"], "shop_database_pool_limit") >= value(found["order"], "shop_database_pool_connections")


async def test_latencies_have_exemplars_with_the_ids_of_recorded_traces(
    traced: TracedShop, api: Shop, used: None
) -> None:
    found = await scrape(traced, api, OPENMETRICS)
    for noun, name in (
        ("gateway", "shop_http_request_duration_seconds_bucket"),
        ("order", "shop_order_saga_step_seconds_bucket"),
        ("storefront", "shop_client_request_duration_seconds_bucket"),
        ("notification", "shop_inbox_delay_seconds_bucket"),
    ):
        trace_ids = {one.trace_id for one in found[noun] if one.name == name and one.trace_id}
        assert trace_ids, (noun, name)
        for trace_id in list(trace_ids)[:2]:
            await wait_until(partial(traced.receiver.trace, trace_id), MEASURED_WITHIN_S, f"trace {trace_id}")
