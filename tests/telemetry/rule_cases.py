"""Cases of alerts: their files in observability/rules/tests, and what promtool reads of them.

`firing` of a case has the alerts that fire at a time. `rules` are those that the case is about, `alerts` unless it says
otherwise: evaluating the others as well takes ten times as long.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from observability import generate
from observability.rules import source

SHOP, OPERATOR = source.shop(), source.operator()
FILES = sorted((Path(source.__file__).parent / "tests").glob("*.yaml"))
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
FIRING = 'count by (alertname) (ALERTS{alertstate="firing"%s})'
WITHOUT_TARGETS = ', alertname!="ShopTargetsAbsent"'
GONE_FOR_S = 80 * 60
"""After that time without any series every alert about them has ended: the longest window is an hour."""
WHILE_NOTHING_IS_KNOWN = ["ShopOperatorDown"]
"""Alerts about the operator that fire without any series."""
TOKEN = re.compile(r"(?P<first>-?[\d.]+)(?P<step>[+-][\d.]+)?(?:x(?P<more>\d+))?|_(?:x(?P<missing>\d+))?|stale")

type Case = dict[str, Any]


def seconds(duration: str) -> int:
    return int(duration[:-1]) * SECONDS[duration[-1]]


def read(path: Path) -> Iterator[tuple[Case, str]]:
    """Each case of the file, with the interval of its evaluations."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    for case in document["tests"]:
        yield case, document["evaluation_interval"]


def rules_about(about: str) -> list[source.Group]:
    """`operator`, `alerts`, the name of an objective, or names of alerts, with what they read."""
    if about == "operator":
        return OPERATOR
    if about == "alerts":
        return [group for group in SHOP if not group["name"].startswith("shop-slo")]
    if about[0].isupper():
        names = about.split()
        return _chosen([*rules_about("alerts"), *OPERATOR], lambda rule: "record" in rule or rule["alert"] in names)
    return _chosen(SHOP, lambda rule: rule.get("labels", {}).get("slo") == about)


def _chosen(groups: Sequence[source.Group], wanted: Callable[[dict[str, Any]], bool]) -> list[source.Group]:
    chosen = [(group, [rule for rule in group["rules"] if wanted(rule)]) for group in groups]
    return [{**group, "rules": rules} for group, rules in chosen if rules]


@cache
def text_about(about: str) -> str:
    """Of the file of those rules, which many cases share."""
    return local(source.text(rules_about(about)))


def local(text: str) -> str:
    return source.of_one_shop(text, generate.LOCAL_NAMESPACE, generate.LOCAL_SHOP)


def write(folder: Path, case: Case, evaluation_interval: str) -> Path:
    """The files of one case, in promtool's format, which knows no names of cases."""
    name, about = re.sub(r"\W+", "-", case["name"]), case.get("rules", "alerts")
    rules, cases = folder / f"{about.replace(' ', '-')}.rules.yaml", folder / f"{name}.yaml"
    rules.write_text(text_about(about), encoding="utf-8")
    document = {
        "rule_files": [rules.name],
        "evaluation_interval": evaluation_interval,
        # Otherwise an alert may be evaluated before what it reads is recorded.
        "group_eval_order": [group["name"] for group in rules_about(about)],
        "tests": [promtool_test(case)],
    }
    cases.write_text(local(yaml.dump(document, Dumper=yaml.CSafeDumper)), encoding="utf-8")
    return cases


def promtool_test(case: Case) -> dict[str, Any]:
    expression = FIRING % ("" if case.get("targets") == "all" else WITHOUT_TARGETS)
    expected = [
        {"eval_time": time, "expr": expression, "exp_samples": samples(alerts)}
        for time, alerts in case.get("firing", {}).items()
    ]
    return {
        "interval": case["interval"],
        "input_series": case["input_series"],
        "promql_expr_test": [*expected, *case.get("promql_expr_test", [])],
    }


def samples(alerts: Sequence[str]) -> list[dict[str, Any]]:
    return [{"labels": f'{{alertname="{name}"}}', "value": number} for name, number in Counter(alerts).items()]


def first_fire(case: Case) -> tuple[str, list[str]] | None:
    """When alerts fire first, and which; None for a case of none."""
    return next(((time, alerts) for time, alerts in case.get("firing", {}).items() if alerts), None)


def with_a_failed_scrape(case: Case) -> Case | None:
    """The case with one sample less before its alert fires; `up` has one then, too."""
    if (found := first_fire(case)) is None or case.get("targets") == "all":
        return None
    time, alerts = found
    missed = seconds(time) // seconds(case["interval"]) - 2
    series = [one if one["series"].startswith("up{") else _with(one, missed, ["stale"]) for one in case["input_series"]]
    return _variant(case, f"{case['name']}, one scrape fails", series, {time: alerts})


def with_targets_gone(case: Case) -> Case | None:
    """The case without targets from the time on at which its alert fires: that must end, too."""
    if (found := first_fire(case)) is None or case.get("targets") == "all":
        return None
    time, alerts = found
    last = seconds(time) // seconds(case["interval"]) + 1
    series = [_with(one, last, ["stale"], ends=True) for one in case["input_series"]]
    end = f"{(seconds(time) + GONE_FOR_S) // 60}m"
    left = [name for name in alerts if name in WHILE_NOTHING_IS_KNOWN]
    return _variant(case, f"{case['name']}, then its targets are gone", series, {time: alerts, end: left})


def _variant(case: Case, name: str, series: list[dict[str, str]], firing: dict[str, list[str]]) -> Case:
    """With the rules of the alerts that fire alone: that no other fires is shown by the case itself."""
    alerts = sorted({alert for one in firing.values() for alert in one})
    return {
        "name": name,
        "rules": " ".join(alerts),
        "interval": case["interval"],
        "input_series": series,
        "firing": firing,
    }


def _with(series: dict[str, str], index: int, values: list[str], *, ends: bool = False) -> dict[str, str]:
    """The series with other values from `index` on, and the former ones after them unless it `ends`."""
    known = expanded(series["values"])
    rest = [] if ends else known[index + len(values) :]
    known += ["_"] * (index - len(known))
    return {**series, "values": " ".join([*known[:index], *values, *rest])}


def expanded(values: str) -> list[str]:
    """Each sample of a series in promtool's notation."""
    return [sample for token in values.split() for sample in _samples_of(token)]


def _samples_of(token: str) -> list[str]:
    found = TOKEN.fullmatch(token)
    if found is None:
        raise ValueError(f"{token} is not in promtool's notation")
    if token == "stale":
        return ["stale"]
    if found["first"] is None:
        return ["_"] * int(found["missing"] or 1)
    first, step = float(found["first"]), float(found["step"] or 0)
    return [f"{first + step * number:.12g}" for number in range(int(found["more"] or 0) + 1)]
