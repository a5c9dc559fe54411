"""Each query of the dashboards, on a real Prometheus after real traffic: it has an answer, and the load's numbers."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

import pytest
import redis

from observability import signals
from observability.pictures import durations
from shop.devkit.embedded import ValkeyStore
from shop.devkit.testing import wait_until
from tests.architecture.source import service_nouns
from tests.integration import buyers, food
from tests.load import open_loop
from tests.load.open_loop import Arrival, Outcome
from tests.load.shoppers import Shop
from tests.telemetry import grafana
from tests.telemetry.conftest import SCRAPE_INTERVAL_S, TracedShop
from tests.telemetry.grafana import Answers, Question, View
from tests.telemetry.prometheus_tools import Prometheus

pytestmark = pytest.mark.shop

SIGNALS = signals.load()
BOARDS = {name: board for name, board in grafana.boards().items() if name != "operator"}
"""Without the operator's, of which a shop on one machine has none; tests/operator asks its queries."""
ANSWERED_WITHIN_S = 60.0
LOOK_EVERY_S = 2.0
ONE_CURRENCY = "the shop sells in euros, which have two decimals"
NO_TRANSACTION = "it has no database, or none of its statements needs a transaction"
NOBODY_LOOKS = "the control room calls others when an administrator looks at an order"
MAY_BE_EMPTY = {
    ("overview", "Revenue", "A"): ONE_CURRENCY,
    ("overview", "Revenue", "C"): ONE_CURRENCY,
    ("service", "Latency of calls", "ops"): NOBODY_LOOKS,
    ("service", "Wait for a connection", "gateway"): NO_TRANSACTION,
    ("service", "Wait for a connection", "ops"): NO_TRANSACTION,
    ("service", "Wait for a connection", "pricing"): NO_TRANSACTION,
    ("service", "Wait for a connection", "storefront"): NO_TRANSACTION,
}
"""Dashboard, panel, and the query's letter or the service: what stays empty, with the reason."""
STOCK = 1_000
ORDERS_EACH_S = {"confirmed": 8.0, "declined": 2.0, "no_courier": 1.0}
STATUSES = {"confirmed": (201, 202), "declined": (402,), "no_courier": (503,)}
LOAD_S = 6.0
TOLERANCE = 0.05
SCRAPED_WITHIN_S = 30.0


def answers(name: str, prometheus: Prometheus, view: View) -> Answers:
    """Those of the dashboard `name`; the one for each service is asked about each."""
    found = Answers()
    offered = grafana.choices(BOARDS[name], prometheus)
    chosen = {variable: values[0] for variable, values in offered.items()}
    for service in offered.get("service", [""]):
        for question in grafana.questions(BOARDS[name], {**chosen, **view.variables, "service": service}):
            listed = (name, question.panel, service or question.letter) in MAY_BE_EMPTY
            found.judge(question, prometheus, view, may_be_empty=listed or not has_its_metrics(service, question))
    return found


def has_its_metrics(service: str, question: Question) -> bool:
    """By the matrix; a question about no service in particular has them."""
    asked = [
        one for one in SIGNALS.metrics.values() if any(f"{sample}{{" in question.expression for sample in one.samples)
    ]
    return not service or all(service in one.services for one in asked)


@pytest.fixture(scope="module")
async def client(traced: TracedShop) -> AsyncIterator[Shop]:
    """The public API of the traced shop, for all tests of this file."""
    found = Shop.at(traced.url)
    yield found
    await found.close()


@pytest.fixture(scope="module")
async def shop_of_everything(traced: TracedShop, used: None, client: Shop) -> TracedShop:
    """After traffic of every kind, and after its cache has lost the boards: who reads one lets it be written anew."""
    port = next(part["port"] for part in traced.local.status()["components"] if part["name"] == "valkey")
    with redis.Redis.from_url(ValkeyStore(traced.local.data_dir / "valkey", port=port).url) as cache:
        cache.flushall()
    admin = await client.token(traced.admin_email, traced.admin_password)
    for board in (await client.call("GET", "/leaderboards", admin))["items"]:
        await client.call("GET", f"/leaderboards/{board['board']}", admin)
    return traced


def test_variables_offer_the_shop_and_each_of_its_services(prometheus: Prometheus, used: None) -> None:
    for board in BOARDS.values():
        offered = grafana.choices(board, prometheus)
        assert (offered["namespace"], offered["shop"]) == (["local"], ["shop"])
        assert offered.get("service", sorted(service_nouns())) == sorted(service_nouns())


@pytest.mark.parametrize("name", BOARDS)
async def test_each_query_is_answered(name: str, shop_of_everything: TracedShop, prometheus: Prometheus) -> None:
    found = Answers()

    def complete() -> bool:
        nonlocal found
        found = answers(name, prometheus, View(shop_of_everything.started_s, time.time(), SCRAPE_INTERVAL_S))
        return not found.empty

    try:
        await wait_until(partial(asyncio.to_thread, complete), ANSWERED_WITHIN_S, poll_s=LOOK_EVERY_S)
    except AssertionError as error:
        pytest.fail(f"{error}, empty: {found.empty}")
    assert found.wrong == []


def test_what_may_be_empty_exists() -> None:
    panels = {(name, panel["title"]) for name, board in BOARDS.items() for panel in board["panels"]}
    assert {(name, title) for name, title, _ in MAY_BE_EMPTY} <= panels


def test_latencies_lead_to_traces(traced: TracedShop, prometheus: Prometheus, used: None) -> None:
    view = View(traced.started_s, time.time(), SCRAPE_INTERVAL_S)
    for name, board in BOARDS.items():
        variables = {"namespace": "local", "shop": "shop", "service": "gateway", **view.variables}
        for question in grafana.questions(board, variables):
            if question.exemplars:
                found = prometheus.exemplars(question.expression, view.start_s, view.end_s)
                ids = {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}
                assert any(map(traced.receiver.trace, ids)), (name, question.panel)


@dataclass
class Customers:
    """Who sends the load, and what the shop answered to the orders that it accepted."""

    api: Shop
    token: str
    product_id: str
    meal: food.Json
    accepted: list[buyers.Answer] = field(default_factory=list)

    async def send(self, kind: str) -> Outcome:
        if kind == "no_courier":
            answer = await food.send(self.api, self.token, self.meal)
        else:
            card = "tok_visa" if kind == "confirmed" else "tok_declined"
            answer = await buyers.order(self.api, self.token, self.product_id, card=card)
        if kind == "confirmed":
            self.accepted.append(answer)
        return Outcome(answer.status in STATUSES[kind], f"{answer.status} {answer.code}")

    async def revenue(self) -> int:
        """Of the accepted orders, once they have ended, in minor units."""
        found = 0
        for answer in self.accepted:
            assert await buyers.ends_as(self.api, answer) in ("confirmed", "fulfilled")
            order = await self.api.call("GET", f"/orders/{answer.body['id']}", self.token)
            found += order["total"]["amount"]
        return found


@dataclass(frozen=True)
class Load:
    """What the load generator knows: orders by their end, times from when a request was due to its answer and how much
    of them the generator itself was late at most (s), revenue in minor units, when it ran."""

    sent: Counter[str]
    latencies_s: list[float]
    late_s: float
    revenue: int
    began_s: float
    ended_s: float


@pytest.fixture(scope="module")
async def load(traced: TracedShop, used: None, client: Shop) -> Load:
    """Orders at a steady rate, each of which ended as it should."""
    admin = await client.token(traced.admin_email, traced.admin_password)
    product = await buyers.new_product(client, admin, STOCK)
    customers = Customers(client, await client.sign_up(1), product["id"], food.meal(await food.kitchen(client, admin)))
    arrivals = sorted(
        Arrival(number / rate, kind) for kind, rate in ORDERS_EACH_S.items() for number in range(int(rate * LOAD_S))
    )
    began_s = time.time()
    run = await open_loop.run(arrivals, customers.send)
    assert [one.outcome for one in run.samples if not one.outcome.ok] == []
    revenue = await customers.revenue()
    latencies_s = sorted(one.latency_s for one in run.samples)
    return Load(Counter(one.kind for one in run.samples), latencies_s, run.late_s, revenue, began_s, time.time())


@dataclass(frozen=True)
class Shown:
    """What panels show of the time between two scrapes of one service, with the load and nothing else in between."""

    prometheus: Prometheus
    first_s: float
    last_s: float

    def value(self, board: str, panel: str, **labels: str) -> float:
        """The sum of the series with these labels."""
        # A millisecond more: from Prometheus 3 on the first moment of a range is no part of it.
        variables = {
            "namespace": "local",
            "shop": "shop",
            "__rate_interval": durations.written(self.seconds + 0.001),
        }
        chosen = [one for one in grafana.questions(BOARDS[board], variables) if one.panel == panel]
        found = [series for one in chosen for series in self.prometheus.query(one.expression, self.last_s)]
        return sum(series.value for series in found if labels.items() <= series.labels.items())

    def count(self, board: str, panel: str, **labels: str) -> float:
        """Of a panel that shows events each minute: events."""
        return self.value(board, panel, **labels) * self.seconds / 60

    @property
    def seconds(self) -> float:
        return self.last_s - self.first_s


async def shown(prometheus: Prometheus, load: Load, service: str) -> Shown:
    """Between the last scrape of the service before the load and the first one after it."""

    def around() -> Shown | None:
        range_s = time.time() - load.began_s + 2 * SCRAPE_INTERVAL_S
        [up] = prometheus.query(f'up{{app_kubernetes_io_name="{service}"}}[{durations.written(range_s)}]')
        before = [at_s for at_s, _ in up.points if at_s < load.began_s]
        after = [at_s for at_s, _ in up.points if at_s > load.ended_s]
        return Shown(prometheus, before[-1], after[0]) if after else None

    found = await wait_until(partial(asyncio.to_thread, around), SCRAPED_WITHIN_S, "a scrape after the load")
    assert isinstance(found, Shown)
    return found


async def test_orders_are_those_of_the_load(prometheus: Prometheus, load: Load) -> None:
    panels = await shown(prometheus, load, "order")
    refused = load.sent["declined"] + load.sent["no_courier"]
    expected = {
        "confirmed": load.sent["confirmed"],
        "revenue": load.revenue / 100,
        "refused": refused / load.sent.total(),
        "declined": load.sent["declined"],
        "no courier": load.sent["no_courier"],
    }
    found = {
        "confirmed": panels.count("overview", "Orders confirmed"),
        "revenue": panels.count("overview", "Revenue", kind="retail", currency="EUR"),
        "refused": panels.value("overview", "Refused orders"),
        "declined": panels.count("overview", "Reasons of refused orders", reason="payment_declined"),
        "no courier": panels.count("overview", "Reasons of refused orders", reason="no_courier"),
    }
    assert found == pytest.approx(expected, rel=TOLERANCE)


async def test_failures_are_those_of_the_load(prometheus: Prometheus, load: Load) -> None:
    panels = await shown(prometheus, load, "gateway")
    answered = panels.value("gateway", "Answers by status") * panels.seconds
    assert panels.value("gateway", "Answers by status", status="503") * panels.seconds == pytest.approx(
        load.sent["no_courier"], rel=TOLERANCE
    )
    assert panels.value("overview", "Failed requests") == pytest.approx(
        load.sent["no_courier"] / answered, rel=TOLERANCE
    )


async def test_the_latency_is_the_loads_within_one_bucket(prometheus: Prometheus, load: Load) -> None:
    panels = await shown(prometheus, load, "gateway")
    found_s = panels.value("gateway", "Latency by route", route="/api/v1/orders")
    known_s = open_loop.percentile(load.latencies_s, 99)
    least_s = max(0.0, known_s - load.late_s)
    bucket = partial(bisect_left, SIGNALS.metrics["shop_http_request_duration_seconds"].buckets)
    assert bucket(least_s) - 1 <= bucket(found_s) <= bucket(known_s) + 1, (found_s, known_s, load.late_s)
