"""Grafana's variables in queries and links: $namespace, ${namespace}, $__rate_interval, ${__field.labels.pod}."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from observability.pictures import durations

NAMED = re.compile(r"\$(?:(\w+)|\{([\w.]+)(?::\w+)?\})")
LEGEND = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
LABEL_VALUES = re.compile(r"label_values\(\s*(?:(?P<series>.+?)\s*,\s*)?(?P<label>\w+)\s*\)", re.DOTALL)
SCRAPES_IN_A_RATE = 4
NICE_STEPS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600, 7_200, 10_800, 21_600, 86_400)


class UnknownVariable(ValueError):
    """A query or a link names a variable that has no value here."""


@dataclass(frozen=True)
class Span:
    """The time that is shown, in seconds since 1970."""

    start_s: float
    end_s: float

    @property
    def range_s(self) -> float:
        return self.end_s - self.start_s

    def window(self, max_points: int, min_step_s: float) -> Window:
        """The same time with points that are neither more than `max_points` nor nearer than `min_step_s`.

        Its ends are at multiples of the step, so that a picture a second later has the same points.
        """
        least = self.range_s / max_points
        step_s = next((float(nice) for nice in NICE_STEPS_S if nice >= least), least)
        step_s = max(step_s, min_step_s)
        return Window(self.start_s // step_s * step_s, self.end_s // step_s * step_s, step_s)


@dataclass(frozen=True)
class Window(Span):
    """A span with the distance of its points."""

    step_s: float


def built_in(window: Window, min_step_s: float) -> dict[str, str]:
    """What Grafana itself gives values to. `min_step_s` is the scrape interval by which it reckons."""
    rate_s = max(window.step_s + min_step_s, SCRAPES_IN_A_RATE * min_step_s)
    return {
        "__interval": durations.written(window.step_s),
        "__rate_interval": durations.written(rate_s),
        "__range": durations.written(window.range_s),
        "__range_s": str(round(window.range_s)),
        "__from": str(round(window.start_s * 1_000)),
        "__to": str(round(window.end_s * 1_000)),
    }


def filled(template: str, values: Mapping[str, str]) -> str:
    """The text with each variable replaced; `UnknownVariable` for one without a value."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in values:
            raise UnknownVariable(f"${name} has no value: {template}")
        return values[name]

    return NAMED.sub(value, template)


def legend(template: str, labels: Mapping[str, str]) -> str:
    """The name of a series. Without a template, or where that leaves nothing, all of its labels."""
    name = "" if template == "__auto" else LEGEND.sub(lambda match: labels.get(match[1], ""), template)
    if name.strip():
        return " ".join(name.split())
    rest = ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items()) if name != "__name__")
    return f"{labels.get('__name__', '')}{{{rest}}}"


def label_values(query: str) -> tuple[str, str]:
    """Label and series of a variable's query; the series are "" where it has none. ValueError for another query."""
    match = LABEL_VALUES.fullmatch(query.strip())
    if match is None:
        raise ValueError(f"not a query for the values of a label: {query}")
    return match["label"], match["series"] or ""
