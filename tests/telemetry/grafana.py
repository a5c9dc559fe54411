"""What Grafana asks Prometheus for a dashboard: variables are resolved one after the other, intervals by its rules."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from observability import generate
from observability.pictures.variables import Window, built_in, filled, label_values
from tests.telemetry.prometheus_tools import Prometheus, QueryFailed, Series

MAX_POINTS = 200
"""Of a line: about the pixels of a small panel."""

type Json = dict[str, Any]


@dataclass(frozen=True)
class View:
    """A range of Unix times, and the scrape interval that Grafana's data source names; all in seconds."""

    start_s: float
    end_s: float
    scrape_interval_s: float

    @property
    def step_s(self) -> float:
        """$__interval, whose least is the scrape interval: of the dashboards' 30 s in a cluster."""
        return max((self.end_s - self.start_s) / MAX_POINTS, self.scrape_interval_s)

    @property
    def variables(self) -> dict[str, str]:
        return built_in(Window(self.start_s, self.end_s, self.step_s), self.scrape_interval_s)


class Question(NamedTuple):
    """One query of one panel, without variables; `instant`: its value at the end of the range alone."""

    panel: str
    letter: str
    expression: str
    instant: bool
    exemplars: bool

    def ask(self, prometheus: Prometheus, view: View) -> list[Series]:
        if self.instant:
            return prometheus.query(self.expression, view.end_s)
        return prometheus.query_range(self.expression, view.start_s, view.end_s, view.step_s)


@dataclass(frozen=True)
class Answers:
    """What is wrong with the answers to queries: failed or not a number, and empty."""

    wrong: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def judge(self, question: Question, prometheus: Prometheus, view: View, *, may_be_empty: bool = False) -> None:
        try:
            points = [value for series in question.ask(prometheus, view) for _, value in series.points]
        except QueryFailed as error:
            self.wrong.append(f"{question.panel}: {error}")
            return
        if not all(map(math.isfinite, points)):
            self.wrong.append(f"{question.panel}: {question.expression} is not always a number")
        if not points and not may_be_empty:
            self.empty.append(f"{question.panel}: {question.expression}")


def boards() -> dict[str, Json]:
    """The generated dashboards with panels that ask something, by the names of their files."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(generate.GENERATED.glob("dashboards/*"))}
    return {name: board for name, board in found.items() if any("targets" in panel for panel in board["panels"])}


def questions(board: Json, variables: Mapping[str, str]) -> Iterator[Question]:
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            instant, exemplars = bool(target.get("instant")), bool(target.get("exemplar"))
            yield Question(panel["title"], target["refId"], filled(target["expr"], variables), instant, exemplars)


def choices(board: Json, prometheus: Prometheus) -> dict[str, list[str]]:
    """The values that each variable with a query offers, when the first value of those before it is chosen."""
    found: dict[str, list[str]] = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            label, selector = label_values(variable["query"]["query"])
            chosen = {name: values[0] for name, values in found.items()}
            found[variable["name"]] = prometheus.label_values(label, filled(selector, chosen))
            assert found[variable["name"]], f"${variable['name']} has no values"
    return found
