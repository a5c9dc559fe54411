"""Unit tests of alerts by promtool: input series, and whether an alert fires."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts import helm
from tests.charts.rendering import Object

TIMEOUT_S = 60


@dataclass(frozen=True)
class Case:
    """Series sampled every minute (promtool's notation) and whether the alert fires; `summary` is rendered."""

    alert: str
    series: Mapping[str, str]
    at: str
    summary: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def run(*arguments: str) -> None:
    """Skips without promtool; its output is the failure message."""
    program = shutil.which("promtool", path=os.pathsep.join([os.environ.get("PATH", ""), str(helm.CACHE)]))
    if program is None:
        pytest.skip("promtool is neither on PATH nor in the test cluster's cache")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def described(case: Case, alert: Object, description: str) -> dict[str, Any]:
    """The case in promtool's format; `description` is the alert's with its labels filled in."""
    fires = {
        "exp_labels": {**alert["labels"], **case.labels},
        "exp_annotations": {"summary": case.summary, "description": description},
    }
    expected = {"eval_time": case.at, "alertname": case.alert, "exp_alerts": [fires] if case.summary else []}
    given = [{"series": name, "values": values} for name, values in case.series.items()]
    return {"interval": "1m", "input_series": given, "alert_rule_test": [expected]}


def check(folder: Path, rules: Path, cases: Iterable[dict[str, Any]]) -> None:
    """Run the `described` cases on the file `rules` with promtool."""
    tests = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": list(cases)}
    written = folder / "tests.yaml"
    written.write_text(yaml.safe_dump(tests), encoding="utf-8")
    run("test", "rules", str(written))
