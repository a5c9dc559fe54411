"""When the error budget of each objective alerts, with promtool: begin, end, and what must not alert."""

from __future__ import annotations

from pathlib import Path

import pytest

from observability.rules import slo
from observability.rules.slo import Objective
from tests.telemetry import budget_cases, rule_cases
from tests.telemetry.prometheus_tools import promtool


@pytest.mark.parametrize("objective", slo.OBJECTIVES, ids=lambda one: one.name)
def test_each_alert_of_a_budget_begins_and_ends(objective: Objective, tmp_path: Path) -> None:
    files = [rule_cases.write(tmp_path, case, interval) for case, interval in budget_cases.of(objective)]
    promtool("test", "rules", *map(str, files))


def test_a_counter_goes_up_by_its_steps() -> None:
    assert rule_cases.expanded(budget_cases._notation([1, 1, 0, 2.5])) == ["1", "2", "2", "4.5"]
