"""A dashboard as Grafana's JSON has it, reduced to what a picture needs; what cannot be drawn is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from observability.pictures import theme, units
from observability.pictures.durations import seconds

DEFAULT_MIN_STEP_S = 15.0
"""Scrape interval of a data source in Grafana that says nothing else."""
KINDS = frozenset({"timeseries", "stat", "text", "row"})


class CannotDraw(ValueError):
    """The dashboard has something that these pictures do not have."""


@dataclass(frozen=True)
class Link:
    title: str
    url: str


@dataclass(frozen=True)
class Target:
    """One query of a panel. `min_step_s`: the least distance of its points."""

    expr: str
    legend: str
    instant: bool
    min_step_s: float


@dataclass(frozen=True)
class Threshold:
    """`value` is where the colour begins; None is the beginning of the scale."""

    value: float | None
    color: str


@dataclass(frozen=True)
class Panel:
    """`x`, `y`, `width` and `height` are in units of Grafana's grid of 24 columns."""

    id: int
    kind: str
    title: str
    description: str
    x: int
    y: int
    width: int
    height: int
    unit: str = units.DEFAULT
    decimals: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    targets: tuple[Target, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    threshold_lines: bool = False
    stacked: bool = False
    fill_opacity: float = 0.0
    """0 to 1."""
    line_width: float = 1.0
    links: tuple[Link, ...] = ()
    series_link: str = ""
    """Where the name of a series leads to; has Grafana's variables in it."""
    markdown: str = ""


@dataclass(frozen=True)
class Variable:
    """A variable with a query for its values; those of data sources have none and are not here."""

    name: str
    label: str
    query: str


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    description: str
    range_s: float
    panels: tuple[Panel, ...]
    variables: tuple[Variable, ...] = field(default=())

    def only(self, panel: int) -> Dashboard:
        """The dashboard with this one panel, as Grafana's viewPanel does; KeyError for an unknown id."""
        chosen = {one.id: one for one in self.panels}[panel]
        return Dashboard(self.uid, self.title, self.description, self.range_s, (chosen,), self.variables)


def read(document: Mapping[str, Any]) -> Dashboard:
    """Of the JSON of a dashboard. Raises `CannotDraw` for a kind of panel or a unit that is not known here."""
    return Dashboard(
        uid=document["uid"],
        title=document["title"],
        description=document.get("description", ""),
        range_s=seconds(document["time"]["from"].removeprefix("now-")),
        panels=tuple(_panels(document["panels"])),
        variables=tuple(_variables(document.get("templating", {}).get("list", []))),
    )


def _panels(documents: list[Mapping[str, Any]]) -> Iterator[Panel]:
    """In their order; those inside a collapsed row follow it."""
    for one in documents:
        yield _panel(one)
        yield from _panels(one.get("panels") or [])


def _panel(document: Mapping[str, Any]) -> Panel:
    kind, place = document["type"], document["gridPos"]
    if kind not in KINDS:
        raise CannotDraw(f"panel {document.get('title')!r}: there is no picture of a {kind}")
    links = [Link(one["title"], one["url"]) for one in document.get("links") or []]
    options = document.get("options") or {}
    if kind == "text" and options.get("mode", "markdown") != "markdown":
        raise CannotDraw(f"panel {document.get('title')!r}: text must be Markdown")
    return Panel(
        id=document["id"],
        kind=kind,
        title=document.get("title", ""),
        description=document.get("description", ""),
        x=place["x"],
        y=place["y"],
        width=place["w"],
        height=place["h"],
        targets=tuple(map(_target, document.get("targets") or [])),
        links=tuple(links),
        markdown=options.get("content", ""),
        **_look(document.get("fieldConfig") or {}),
    )


def _look(config: Mapping[str, Any]) -> dict[str, Any]:
    defaults = config.get("defaults") or {}
    custom = defaults.get("custom") or {}
    unit = defaults.get("unit") or units.DEFAULT
    if not units.known(unit):
        raise CannotDraw(f"values in the unit {unit!r} cannot be written")
    if config.get("overrides"):
        raise CannotDraw("overrides of single series cannot be drawn")
    return {
        "unit": unit,
        "decimals": defaults.get("decimals"),
        "minimum": defaults.get("min"),
        "maximum": defaults.get("max"),
        "thresholds": tuple(_thresholds(defaults)),
        "threshold_lines": custom.get("thresholdsStyle", {}).get("mode", "off") not in ("off", "area"),
        "stacked": custom.get("stacking", {}).get("mode", "none") == "normal",
        "fill_opacity": custom.get("fillOpacity", 0) / 100,
        "line_width": custom.get("lineWidth", 1),
        "series_link": next((one["url"] for one in defaults.get("links") or []), ""),
    }


def _thresholds(defaults: Mapping[str, Any]) -> Iterator[Threshold]:
    for step in (defaults.get("thresholds") or {}).get("steps") or []:
        if step["color"] not in theme.NAMED:
            raise CannotDraw(f"no colour is called {step['color']!r}")
        yield Threshold(step.get("value"), step["color"])


def _target(document: Mapping[str, Any]) -> Target:
    step = document.get("interval")
    return Target(
        expr=document["expr"],
        legend=document.get("legendFormat", ""),
        instant=bool(document.get("instant")) and not document.get("range"),
        min_step_s=seconds(step) if step else DEFAULT_MIN_STEP_S,
    )


def _variables(documents: list[Mapping[str, Any]]) -> Iterator[Variable]:
    for one in documents:
        if one["type"] == "query":
            query = one["query"]
            yield Variable(
                one["name"], one.get("label") or one["name"], query["query"] if isinstance(query, dict) else query
            )
        elif one["type"] != "datasource":
            raise CannotDraw(f"variable {one['name']!r}: there are no values for a {one['type']}")
