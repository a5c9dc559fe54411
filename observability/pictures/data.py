"""The answers to all queries of a dashboard, panel by panel."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from observability.pictures.model import Dashboard, Panel, Target, Variable
from observability.pictures.prometheus import Found, Point, Prometheus, QueryFailed
from observability.pictures.variables import Span, UnknownVariable, built_in, filled, label_values, legend

MAX_POINTS = 120
"""Of a line; a panel is some 400 pixels wide."""
LABEL = "__field.labels."
OTHERS = {"datasource": "prometheus", "traces": ""}
"""Variables for data sources: there is one Prometheus, and no traces."""


@dataclass(frozen=True)
class View:
    """What is to be shown of a dashboard. `variables` are values of its variables; one that has no such value takes its
    first, as in Grafana. `time_range` is added to links, such as from=now-1h&to=now."""

    span: Span
    variables: Mapping[str, str] = field(default_factory=dict)
    scrape_s: float | None = None
    """The scrape interval where it is shorter than the queries' least steps take for granted: points may be as near."""
    time_range: str = ""
    zone: tzinfo = UTC
    """In which the times are written."""

    def min_step_s(self, target: Target) -> float:
        return target.min_step_s if self.scrape_s is None else min(self.scrape_s, target.min_step_s)


@dataclass(frozen=True)
class Series:
    """`url`: where its name leads to, or ""."""

    name: str
    points: Sequence[Point]
    url: str = ""

    @property
    def seen(self) -> bool:
        """Whether it is ever anything but 0."""
        return any(value for _, value in self.points)


@dataclass(frozen=True)
class Shown:
    """What a panel shows: series, or why there are none."""

    series: tuple[Series, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Choice:
    """A variable with the values that it may have and the one that was chosen, "" where there is none."""

    variable: Variable
    values: tuple[str, ...]
    chosen: str


@dataclass(frozen=True)
class Data:
    """Everything that was asked for one picture. `shown` is by the panels' ids."""

    span: Span
    choices: tuple[Choice, ...] = ()
    shown: Mapping[int, Shown] = field(default_factory=dict)
    zone: tzinfo = UTC

    @property
    def errors(self) -> list[str]:
        return [one.error for one in self.shown.values() if one.error]


async def load(dashboard: Dashboard, source: Prometheus, view: View) -> Data:
    """Asks for everything at once. A query that fails is the `error` of its panel.

    Raises `QueryFailed` when even the variables cannot be asked for.
    """
    choices = await _choices(dashboard.variables, source, view)
    values = {one.variable.name: one.chosen for one in choices} | OTHERS | {"__url_time_range": view.time_range}
    panels = [panel for panel in dashboard.panels if panel.targets]
    found = await asyncio.gather(*(_shown(panel, source, view, values) for panel in panels))
    return Data(view.span, tuple(choices), {panel.id: one for panel, one in zip(panels, found, strict=True)}, view.zone)


async def _choices(variables: Sequence[Variable], source: Prometheus, view: View) -> list[Choice]:
    """One after another: the query of a variable may stand on the value of an earlier one."""
    found: list[Choice] = []
    for variable in variables:
        label, series = label_values(filled(variable.query, {one.variable.name: one.chosen for one in found}))
        values = tuple(await source.label_values(label, series, view.span))
        wanted = view.variables.get(variable.name, "")
        found.append(Choice(variable, values, wanted if wanted in values else next(iter(values), "")))
    return found


async def _shown(panel: Panel, source: Prometheus, view: View, values: Mapping[str, str]) -> Shown:
    try:
        found = await asyncio.gather(*(_answer(target, source, view, values) for target in panel.targets))
    except (QueryFailed, UnknownVariable) as error:
        return Shown(error=str(error))
    named = [
        Series(legend(target.legend, one.labels), one.points, _url(panel, one, values))
        for target, series in zip(panel.targets, found, strict=True)
        for one in series
    ]
    return Shown(tuple(named))


async def _answer(target: Target, source: Prometheus, view: View, values: Mapping[str, str]) -> list[Found]:
    min_step_s = view.min_step_s(target)
    window = view.span.window(MAX_POINTS, min_step_s)
    expr = filled(target.expr, {**values, **built_in(window, min_step_s)})
    if target.instant:
        return await source.at(expr, view.span.end_s)
    return await source.over(expr, window)


def _url(panel: Panel, found: Found, values: Mapping[str, str]) -> str:
    """Of the panel's link for series; a series without one of the labels in it has none."""
    labels = {LABEL + name: value for name, value in found.labels.items()}
    try:
        return filled(panel.series_link, {**values, **labels}).rstrip("&")
    except UnknownVariable:
        return ""
