"""Cases that every objective has: each of its alerts begins and ends, and one error at low traffic alerts nobody.

Each case is a load over time: events each minute, and their failures as a multiple of what the objective allows.
Halfway the pod that counts them is replaced, so that its series end and others begin at 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from observability.rules.slo import BURNS, Burn, Objective
from tests.telemetry.rule_cases import Case

EVENTS = 100.0
"""Each minute, unless a case says otherwise."""
FEW = 0.2
"""Each minute, of a shop with twelve events an hour."""
LOST = 1 / 37
"""A share of failed events that a shop with few of them must not lose for eight days without an alert."""
HTTP = 'shop_http_requests_total{SHOP, app_kubernetes_io_name="gateway", %s, status="%s"'
DURATION = 'shop_http_request_duration_seconds_%s{SHOP, app_kubernetes_io_name="gateway", %s'
READ, ORDER = 'method="GET", route="/{page}"', 'method="POST", route="/api/v1/orders"'
CHANGE = 'method="PUT", route="/api/v1/players"'
DELIVERY = 'SHOP, app_kubernetes_io_name="delivery"'
GOOD_AND_BAD = {
    "browse_availability": (HTTP % (READ, 200), HTTP % (READ, 502)),
    "order_availability": (HTTP % (ORDER, 201), HTTP % (ORDER, 503)),
    "change_availability": (HTTP % (CHANGE, 200), HTTP % (CHANGE, 500)),
    "delivery_success": (
        f'shop_delivery_changes_total{{{DELIVERY}, state="delivered", reason=""',
        f'shop_delivery_changes_total{{{DELIVERY}, state="failed", reason="no_courier"',
    ),
}
"""Beginnings of the selectors of series: the successes, and the failures."""
ALL_AND_GOOD = {
    "browse_latency": (DURATION % ("count", READ), DURATION % ("bucket", READ + ', le="0.5"')),
    "order_latency": (DURATION % ("count", ORDER), DURATION % ("bucket", ORDER + ', le="2.5"')),
    "delivery_punctuality": (
        f"shop_delivery_eta_error_seconds_count{{{DELIVERY}",
        f'shop_delivery_eta_error_seconds_bucket{{{DELIVERY}, le="600.0"',
    ),
}
"""The same of histograms: all events, and the successes."""
HOUR, SIX_HOURS, THREE_DAYS, DAY, THREE_DAYS_SLOWLY = BURNS


@dataclass(frozen=True)
class Load:
    """For `minutes`: `events` each minute, of which `share` fail."""

    minutes: int
    share: float
    events: float = EVENTS


def of(objective: Objective) -> Iterator[tuple[Case, str]]:
    """The objective's cases with the interval of their evaluations."""
    yield _fast(objective), "1m"
    yield _slow(objective), "30m"
    yield _one_error(objective), "1m"
    yield _eight_days(objective), "30m"
    yield _not_measured(objective), "1m"


def _fast(objective: Objective) -> Case:
    """An hour's loss pages; each alert ends when its short window is clean, the slowest one after `_slow`'s loss."""
    budget = objective.budget
    loads = (Load(30, 0.5 * budget), Load(60, 10 * budget), Load(50, 18 * budget), Load(130, 0))
    slower = (SIX_HOURS, THREE_DAYS, DAY, THREE_DAYS_SLOWLY)
    firing = {
        "29m": (),
        "85m": slower,
        "138m": (HOUR, *slower),
        "147m": slower,
        "175m": (THREE_DAYS, DAY, THREE_DAYS_SLOWLY),
        "265m": (THREE_DAYS_SLOWLY,),
    }
    return _case(objective, "a loss of an hour", "1m", loads, firing)


def _slow(objective: Objective) -> Case:
    """What is within the objective alerts nobody, twice as much warns, four times as much warns sooner."""
    budget, day = objective.budget, 24 * 60
    loads = (Load(3 * day, 0.8 * budget), Load(3 * day, 2 * budget), Load(2 * day, 4 * budget), Load(day // 2, 0))
    firing = {
        "71h": (),
        "143h": (THREE_DAYS_SLOWLY,),
        "191h": (DAY, THREE_DAYS_SLOWLY),
        "196h": (THREE_DAYS_SLOWLY,),
        "202h": (),
    }
    return _case(objective, "a loss of days", "30m", loads, firing)


def _one_error(objective: Objective) -> Case:
    """A fifth of the events of a quiet night."""
    loads = (Load(10, 0, 0.1), Load(1, 1, 1), Load(110, 0, 0.02))
    return _case(objective, "one error of a quiet night", "1m", loads, dict.fromkeys(("12m", "20m", "1h", "115m"), ()))


def _eight_days(objective: Objective) -> Case:
    """Noticed after four of them; five failures are not enough to be sure within an hour."""
    loads = (Load(4 * 24 * 60, max(LOST, 2 * objective.budget), FEW),)
    case = _case(objective, "days of a slow loss with few events", "30m", loads, {"2h": ()})
    seen = f'count(ALERTS{{alertstate="firing", alertname=~"ShopBudget.*", slo="{objective.name}"}}) > bool 0'
    case["promql_expr_test"] += [{"eval_time": "4d", "expr": seen, "exp_samples": [{"labels": "{}", "value": 1}]}]
    return case


def _not_measured(objective: Objective) -> Case:
    """The metric is gone for a while, though its pods are scraped."""
    counted, gone, back = "0+60x29", " stale _x49", " 0+60x60"
    names = (GOOD_AND_BAD | ALL_AND_GOOD)[objective.name]
    alert = 'count by (slo) (ALERTS{alertstate="firing", alertname="ShopObjectiveNotMeasured"})'
    fired = [{"labels": f'{{slo="{objective.name}"}}', "value": 1}]
    return {
        "name": f"{objective.name}: nothing to measure it with",
        "rules": objective.name,
        "interval": "1m",
        "input_series": [
            {"series": f'up{{SHOP, app_kubernetes_io_name="{objective.service}"}}', "values": "1x140"},
            *({"series": name + "}", "values": counted + gone + back} for name in names),
        ],
        "promql_expr_test": [
            {"eval_time": time, "expr": alert, "exp_samples": samples}
            for time, samples in (("29m", []), ("50m", []), ("75m", fired), ("95m", []))
        ],
    }


def _case(
    objective: Objective, name: str, interval: str, loads: Sequence[Load], firing: dict[str, tuple[Burn, ...]]
) -> Case:
    return {
        "name": f"{objective.name}: {name}",
        "rules": objective.name,
        "interval": interval,
        "input_series": list(_series(objective, loads, int(interval.removesuffix("m")))),
        "promql_expr_test": [
            {
                "eval_time": time,
                "expr": 'count by (severity, window, factor) (ALERTS{alertstate="firing", alertname=~"ShopBudget.*"})',
                "exp_samples": [{"labels": _labels(burn), "value": 1} for burn in burns],
            }
            for time, burns in firing.items()
        ],
    }


def _labels(burn: Burn) -> str:
    return f'{{severity="{burn.severity}", window="{burn.long}", factor="{burn.factor:g}"}}'


def _series(objective: Objective, loads: Sequence[Load], minutes: int) -> Iterator[dict[str, str]]:
    """What two pods count, one after the other, `minutes` between their samples."""
    steps = [load for load in loads for _ in range(load.minutes // minutes)]
    total = [load.events * minutes for load in steps]
    bad = [load.events * minutes * load.share for load in steps]
    good = [one - lost for one, lost in zip(total, bad, strict=True)]
    if objective.name in GOOD_AND_BAD:
        named = zip(GOOD_AND_BAD[objective.name], (good, bad), strict=True)
    else:
        named = zip(ALL_AND_GOOD[objective.name], (total, good), strict=True)
    half = len(steps) // 2
    for name, increases in named:
        yield {"series": name + ', pod="a"}', "values": f"0 {_notation(increases[:half])} stale"}
        yield {"series": name + ', pod="b"}', "values": f"_x{half} 0 {_notation(increases[half:])}"}


def _notation(increases: Sequence[float]) -> str:
    """A counter from 0 on, in promtool's notation."""
    value, parts = 0.0, []
    for step, same in groupby(increases):
        number = len(list(same))
        parts.append(f"{value + step:.9g}+{step:.9g}x{number - 1}")
        value += step * number
    return " ".join(parts)
