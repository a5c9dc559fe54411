"""Service level objectives, and alerts on how fast their error budgets are used up.

An alert compares two windows: the long one says that the loss matters, the short one that it still goes on. Every alert
also needs MIN_BAD events in its long window, so one failed request of a quiet night alerts nobody. The windows of three
days find what is too rare for the shorter ones: a shop with ten requests an hour that loses many of them for days.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PERIOD_DAYS = 30
MIN_BAD = 5
"""Failed events that a long window needs before it alerts."""
SHOP_LABELS = "namespace, app_kubernetes_io_instance"
TOTAL, BAD = "shop:slo_total:increase", "shop:slo_bad:increase"
READS = 'method=~"GET|HEAD", route!~".*/events"'
CHANGES = 'method!~"GET|HEAD|OPTIONS", route!="/api/v1/orders"'
ORDERS = 'method="POST", route="/api/v1/orders"'
MAX_SHARE = 1.0
"""A share of failed events that cannot be exceeded: an alert that needs more never fires."""


@dataclass(frozen=True)
class Objective:
    """At most 1 - `target` of `total` may be `bad`: expressions of counts in %(window)s; %(total)s is the record of
    `total`."""

    name: str
    title: str
    target: float
    total: str
    bad: str
    service: str
    """Without pods of it there is nothing to measure."""

    @property
    def budget(self) -> float:
        return 1.0 - self.target


@dataclass(frozen=True)
class Burn:
    """An alert: `factor` is how many times faster than allowed the budget is used up over both windows."""

    long: str
    short: str
    factor: float
    severity: str


BURNS = (
    Burn("1h", "5m", 14.4, "critical"),
    Burn("6h", "30m", 6.0, "critical"),
    Burn("3d", "6h", 6.0, "critical"),
    Burn("1d", "2h", 3.0, "warning"),
    Burn("3d", "6h", 1.0, "warning"),
)
ALERTS = {"critical": "ShopBudgetBurnsFast", "warning": "ShopBudgetBurnsSlowly"}
SHORT_WINDOWS = ("5m", "30m", "1h", "2h")
LONG_WINDOWS = ("6h", "1d", "3d")
LONG_INTERVAL = "2m"
"""Between evaluations of the long windows: they read many samples and change slowly."""


def increase(metric: str, labels: str) -> str:
    return f"sum by ({SHOP_LABELS}) (increase({metric}{{SHOP, {labels}}}[%(window)s]))"


def _answers(labels: str) -> str:
    return increase("shop_http_requests_total", f'app_kubernetes_io_name="gateway", {labels}')


def availability(name: str, title: str, target: float, labels: str, excused: str = "") -> Objective:
    """Responses that are not 5xx; `excused` counts 5xx that are an answer, not a failure."""
    bad = _answers(f'{labels}, status=~"5.."')
    if excused:
        bad = f"clamp_min({bad} - ({excused} or 0 * {bad}), 0)"
    return Objective(name, title, target, _answers(labels), bad, "gateway")


def _rest(good: str) -> str:
    """All but `good`; the two are extrapolated each by itself, so the difference of equal ones may be below 0."""
    return f"clamp_min(%(total)s - on ({SHOP_LABELS}) {good}, 0)"


def latency(name: str, title: str, target: float, labels: str, bucket: str) -> Objective:
    """Responses within the time that `bucket` ends with, seconds."""
    labels = f'app_kubernetes_io_name="gateway", {labels}'
    total = increase("shop_http_request_duration_seconds_count", labels)
    good = increase("shop_http_request_duration_seconds_bucket", f'{labels}, le="{bucket}"')
    return Objective(name, title, target, total, _rest(good), "gateway")


NO_COURIER = increase("shop_order_orders_total", 'state="rejected", reason="no_courier"')
ENDED = increase("shop_delivery_changes_total", 'state=~"delivered|failed"')
FAILED = increase("shop_delivery_changes_total", 'state="failed"')
ARRIVED = increase("shop_delivery_eta_error_seconds_count", 'app_kubernetes_io_name="delivery"')
IN_TIME = increase("shop_delivery_eta_error_seconds_bucket", 'app_kubernetes_io_name="delivery", le="600.0"')

OBJECTIVES = (
    availability("browse_availability", "Reading: pages and lists answered without a server error", 0.999, READS),
    latency("browse_latency", "Reading: answered within 0.5 s", 0.99, READS, "0.5"),
    availability("order_availability", "Ordering: answered without a server error", 0.999, ORDERS, NO_COURIER),
    latency("order_latency", "Ordering: answered within 2.5 s", 0.99, ORDERS, "2.5"),
    availability("change_availability", "Other changes: answered without a server error", 0.999, CHANGES),
    Objective("delivery_success", "Food: brought to the customer", 0.98, ENDED, FAILED, "delivery"),
    Objective(
        "delivery_punctuality",
        "Food: at most 10 minutes after the first estimate",
        0.95,
        ARRIVED,
        _rest(IN_TIME),
        "delivery",
    ),
)


def groups() -> list[dict[str, Any]]:
    """Recording rules of every window, and the alerts over them."""
    return [
        {"name": "shop-slo-short", "rules": list(_recorded(SHORT_WINDOWS))},
        {"name": "shop-slo-long", "interval": LONG_INTERVAL, "rules": list(_recorded(LONG_WINDOWS))},
        {"name": "shop-slo-alerts", "rules": [*_alerts(), *_missing()]},
    ]


def _recorded(windows: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for window in windows:
        for one in OBJECTIVES:
            total = f'{TOTAL}{window}{{SHOP, slo="{one.name}"}}'
            # Without a series of failures there is no sum of them: 0, not nothing.
            bad = one.bad % {"window": window, "total": total} + f" or on ({SHOP_LABELS}) 0 * {total}"
            yield {"record": f"{TOTAL}{window}", "expr": one.total % {"window": window}, "labels": {"slo": one.name}}
            yield {"record": f"{BAD}{window}", "expr": bad, "labels": {"slo": one.name}}


def _alerts() -> Iterator[dict[str, Any]]:
    for one in OBJECTIVES:
        for burn in BURNS:
            yield _alert(one, burn)


def _alert(one: Objective, burn: Burn) -> dict[str, Any]:
    share = round(burn.factor * one.budget, 6)
    if share >= MAX_SHARE:
        raise ValueError(
            f"{one.name}: {burn.factor:g} times its budget is {share:g} of all events, which never happens"
        )
    chosen = f'{{SHOP, slo="{one.name}"}}'
    over = " and ".join(
        f"{BAD}{window}{chosen} / {TOTAL}{window}{chosen} > {share:g}" for window in (burn.long, burn.short)
    )
    return {
        "alert": ALERTS[burn.severity],
        "expr": f"{over} and {BAD}{burn.long}{chosen} >= {MIN_BAD}",
        "labels": {"severity": burn.severity, "slo": one.name, "window": burn.long, "factor": f"{burn.factor:g}"},
        "annotations": {
            "summary": f"{one.title}: {{{{ $value | humanizePercentage }}}} failed within {burn.long}",
            "description": (
                f"The objective is {one.target:.1%} over {PERIOD_DAYS} days. At this rate, {burn.factor:g} times the "
                "allowed one or more, the error budget is used up before the period ends."
            ),
        },
    }


def _missing() -> Iterator[dict[str, Any]]:
    for one in OBJECTIVES:
        chosen = f'{{SHOP, slo="{one.name}"}}'
        running = (
            f'group by ({SHOP_LABELS}) (max_over_time(up{{SHOP, app_kubernetes_io_name="{one.service}"}}[5m]) == 1)'
        )
        yield {
            "alert": "ShopObjectiveNotMeasured",
            "expr": f"{running} unless on ({SHOP_LABELS}) max_over_time({TOTAL}5m{chosen}[15m])",
            "for": "15m",
            "labels": {"severity": "warning", "slo": one.name},
            "annotations": {
                "summary": f"{one.title}: there is nothing to measure it with",
                "description": (
                    f"Pods of {one.service} are scraped, but the metric of the objective {one.name} is gone. "
                    "Its alerts cannot fire."
                ),
            },
        }
