"""The rules of a shop for tests that do not wait for minutes: every duration is divided by one factor, nothing else."""

from __future__ import annotations

import re

from observability.rules import source
from tests.telemetry import rule_cases

FACTOR = 60
"""A minute takes a second."""
DURATION = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]\b")
"""In an expression: a window, or how long ago."""
OF_A_RULE = ("for", "keep_firing_for")


def text() -> str:
    """The rule file of the local shop; thresholds, recorded names and labels are those of a shop that is operated."""
    return rule_cases.local(source.text([_faster_group(group) for group in source.shop()]))


def faster(duration: str) -> str:
    return f"{rule_cases.seconds(duration) * 1_000 // FACTOR}ms"


def faster_expression(expression: str) -> str:
    return DURATION.sub(lambda found: faster(found[0]), expression)


def _faster_group(group: source.Group) -> source.Group:
    interval = {"interval": faster(group["interval"])} if "interval" in group else {}
    return {**group, **interval, "rules": [_faster_rule(rule) for rule in group["rules"]]}


def _faster_rule(rule: dict[str, object]) -> dict[str, object]:
    durations = {name: faster(str(rule[name])) for name in OF_A_RULE if name in rule}
    return {**rule, **durations, "expr": faster_expression(str(rule["expr"]))}
