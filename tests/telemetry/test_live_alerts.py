"""Something breaks in a running shop: its alert fires in a real Prometheus and no other, until it is mended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from shop.devkit.testing import wait_until
from tests.load.shoppers import Shop as Api
from tests.telemetry import faster_rules, live_faults
from tests.telemetry.conftest import TracedShop
from tests.telemetry.prometheus_tools import Prometheus, observing

pytestmark = pytest.mark.shop

SCRAPE_INTERVAL_S = 1.0
FIRES_WITHIN_S = ENDS_WITHIN_S = 90.0
LOOK_EVERY_S = 0.5
STORED = ("achievement", "delivery", "leaderboard", "notification", "order", "payment", "player", "pricing", "product",
          "recommendation", "restaurant", "user")  # fmt: skip
RIGHT_ON_A_BUSY_MACHINE = {"ShopEventLoopBlocked", "ShopSlow"}
"""Alerts that may fire for any service while other tests use up the CPU: they say no more than that."""


class Alert(NamedTuple):
    name: str
    subject: str
    """The service, the upstream, or objective and window that it is about."""


@dataclass(frozen=True)
class Incident:
    """`alerts` fire while `fault` lasts and end after it; `consequences` may fire as well."""

    fault: AbstractAsyncContextManager[None]
    alerts: set[Alert]
    consequences: frozenset[Alert] = frozenset()


def alert_of(labels: Mapping[str, str]) -> Alert:
    of_slo = f"{labels['slo']} {labels.get('window', '')}" if "slo" in labels else ""
    return Alert(labels["alertname"], of_slo or labels.get("upstream") or labels.get("app_kubernetes_io_name", ""))


def firing(prometheus: Prometheus) -> set[Alert]:
    return {alert_of(one["labels"]) for one in prometheus.alerts() if one["state"] == "firing"}


def fired(prometheus: Prometheus, since_s: float) -> set[Alert]:
    """Whatever fired since that Unix time, however shortly."""
    found = prometheus.query_range('ALERTS{alertstate="firing"}', since_s, time.time(), SCRAPE_INTERVAL_S)
    return {alert_of(one.labels) for one in found}


@pytest.fixture(scope="module")
def prometheus(traced: TracedShop, servers_folder: Path) -> Iterator[Prometheus]:
    """Beside that of the other tests: with rules of which a minute takes a second."""
    folder, rules = servers_folder / "alerts-prometheus", {"shop": faster_rules.text()}
    with observing(traced.local, folder, SCRAPE_INTERVAL_S, rules) as found:
        yield found


@pytest.fixture
async def quiet(traced: TracedShop, prometheus: Prometheus) -> float:
    """Every target is scraped and no alert fires; since when, Unix time in seconds."""
    await wait_until(prometheus.all_up, FIRES_WITHIN_S, "every target being up", LOOK_EVERY_S)
    try:
        await wait_until(lambda: not unexpected(firing(prometheus)), ENDS_WITHIN_S, "no alert", LOOK_EVERY_S)
    except AssertionError as error:
        pytest.fail(f"{error}: {firing(prometheus)}")
    return time.time()


def unexpected(alerts: set[Alert], *incidents: Incident) -> set[Alert]:
    """Those of `alerts` that are not about one of the incidents."""
    known = {alert for one in incidents for alert in (*one.alerts, *one.consequences)}
    return {alert for alert in alerts - known if alert.name not in RIGHT_ON_A_BUSY_MACHINE}


async def begins_and_ends(prometheus: Prometheus, incident: Incident) -> None:
    async with incident.fault:
        await _until(prometheus, lambda now: incident.alerts <= now, FIRES_WITHIN_S, f"{incident.alerts} firing")
    await _until(prometheus, lambda now: not incident.alerts & now, ENDS_WITHIN_S, f"the end of {incident.alerts}")


async def _until(prometheus: Prometheus, reached: Callable[[set[Alert]], bool], timeout_s: float, what: str) -> None:
    try:
        await wait_until(lambda: reached(firing(prometheus)), timeout_s, what, LOOK_EVERY_S)
    except AssertionError as error:
        pytest.fail(f"{error}; firing: {firing(prometheus)}")


async def test_a_broker_that_is_away_is_reported_by_every_service_that_needs_it(
    traced: TracedShop, prometheus: Prometheus, quiet: float
) -> None:
    unreachable = {Alert("ShopBrokerUnreachable", service) for service in STORED}
    # The registry of instances is in it, too.
    incident = Incident(traced.stopped("nats"), {*unreachable, Alert("ShopRegistrationFails", "")})
    await begins_and_ends(prometheus, incident)
    assert unexpected(fired(prometheus, quiet), incident) == set()


async def test_faults_at_once_fire_their_alerts_and_no_other(
    traced: TracedShop, prometheus: Prometheus, api: Api, quiet: float
) -> None:
    """The last one: the longest windows remember for minutes that customers got no answer."""
    incidents = [
        Incident(live_faults.stock_changed_by_hand(traced), {Alert("ShopStockDrift", "")}),
        Incident(live_faults.event_that_nobody_can_read(traced), {Alert("ShopEventsGivenUp", "notification")}),
        Incident(
            live_faults.consumer_that_waits_for_a_lock(traced, "recommendation"),
            {Alert("ShopConsumerBehind", "recommendation")},
        ),
        Incident(
            live_faults.late(traced, "storefront"),
            {Alert("ShopEventLoopBlocked", "storefront")},
            # With other tests on its CPU it answers too late to scrapes as well.
            frozenset({Alert("ShopServiceDown", "storefront")}),
        ),
        unanswered(live_faults.restaurants_not_read(traced, api)),
    ]
    await asyncio.gather(*(begins_and_ends(prometheus, incident) for incident in incidents))
    assert unexpected(fired(prometheus, quiet), *incidents) == set()


def unanswered(fault: AbstractAsyncContextManager[None]) -> Incident:
    """Customers who read what restaurant has wait until the gateway gives up."""
    fast, slowly, objectives = "ShopBudgetBurnsFast", "ShopBudgetBurnsSlowly", ("browse_availability", "browse_latency")
    burns = {Alert(fast, f"{objective} 1h") for objective in objectives}
    longer = [(fast, "6h"), (fast, "3d"), (slowly, "1d"), (slowly, "3d")]
    consequences = {Alert(name, f"{objective} {window}") for objective in objectives for name, window in longer}
    down, refused = Alert("ShopServiceDown", "restaurant"), Alert("ShopBreakerOpen", "restaurant")
    return Incident(fault, {down, *burns}, frozenset({refused, *consequences}))


def test_a_minute_of_the_rules_takes_a_second_and_nothing_else_is_changed() -> None:
    text = 'max_over_time(shop:slo_bad:increase5m[15m]) > 600 unless rate(up{pod="5m"}[2h] offset 1h)'
    assert faster_rules.faster_expression(text) == (
        'max_over_time(shop:slo_bad:increase5m[15000ms]) > 600 unless rate(up{pod="5m"}[120000ms] offset 60000ms)'
    )
