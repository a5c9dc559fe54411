"""A panel with lines over time: values, what is below them, limits, axes, and the names of the series."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from xml.etree.ElementTree import Element

from observability.pictures import legend, scales, svg, theme
from observability.pictures.data import Series
from observability.pictures.model import Panel
from observability.pictures.prometheus import Point, finite
from observability.pictures.svg import Box
from observability.pictures.variables import Span

LABEL_PX = 11.0
TICK_PX = 40.0
"""Least distance of two labels of values."""
TIME_TICK_PX = 80.0
TIMES_PX = 20.0
"""Height of the labels of times."""
LABEL_GAP_PX = 8.0
TOP_PX = 6.0
MIN_LINE_PX = 1.5
GAP_STEPS = 1.5
"""A line is interrupted where two points are farther apart than so many steps."""
DOT_PX = 2.0


@dataclass(frozen=True)
class Line:
    """What is drawn of a series: finite points, and for each where its area begins (None: at the axis)."""

    points: Sequence[Point]
    floor: Sequence[float] | None = None


@dataclass(frozen=True)
class Plot:
    """Where values are drawn, and by which axes."""

    box: Box
    values: scales.Axis
    times: scales.Axis

    def x(self, time_s: float) -> float:
        return self.box.x + self.times.share(time_s) * self.box.width

    def y(self, value: float) -> float:
        return self.box.bottom - self.values.share(value) * self.box.height


def draw(parent: Element, box: Box, panel: Panel, series: Sequence[Series], span: Span, zone: tzinfo) -> None:
    """The panel's inside; `series` are one or more, and times are written in `zone`."""
    names = legend.arranged(series, box.width, box.height)
    lines = _stacked(series) if panel.stacked else [Line(finite(one.points)) for one in series]
    plot = _plot(box.inner(0, TOP_PX, 0, legend.height(names) + TIMES_PX), panel, lines, span)
    _axes(parent, plot, panel, zone)
    step_s = _step_s(lines)
    for number, (one, line) in enumerate(zip(series, lines, strict=True)):
        group = svg.element(parent, "g")
        svg.hint(group, one.name)
        if panel.stacked and not one.seen:
            continue  # it would cover the line below it
        for part in _parts(line, step_s):
            _part(group, plot, part, panel, theme.of_series(number))
    if panel.threshold_lines:
        _limits(parent, plot, panel)
    legend.draw(parent, Box(box.x, plot.box.bottom + TIMES_PX, box.width, legend.height(names)), names)


def _stacked(series: Sequence[Series]) -> list[Line]:
    """Each upon the sum of those before it."""
    sums: dict[float, float] = {}
    lines = []
    for one in series:
        points = finite(one.points)
        floor = [sums.get(time_s, 0.0) for time_s, _ in points]
        raised = [(time_s, below + value) for (time_s, value), below in zip(points, floor, strict=True)]
        sums.update(raised)
        lines.append(Line(raised, floor))
    return lines


def _plot(box: Box, panel: Panel, lines: Sequence[Line], span: Span) -> Plot:
    found = [value for line in lines for _, value in line.points]
    high = panel.maximum if any(found) else _highest_threshold(panel)
    values = scales.values(found, panel.unit, int(box.height / TICK_PX), panel.minimum, high)
    left = max(svg.text_width(label, LABEL_PX) for label in scales.labels(values, panel.unit, panel.decimals))
    inner = box.inner(left + LABEL_GAP_PX, 0, 1, 0)
    times = scales.times(span.start_s, span.end_s, max(1, int(inner.width / TIME_TICK_PX)))
    return Plot(inner, values, times)


def _highest_threshold(panel: Panel) -> float | None:
    """Gives a scale to what is 0 all the time, None without thresholds."""
    known = [one.value for one in panel.thresholds if one.value is not None]
    return max(known) if known and panel.threshold_lines else panel.maximum


def _axes(parent: Element, plot: Plot, panel: Panel, zone: tzinfo) -> None:
    box = plot.box
    for tick, label in zip(plot.values.ticks, scales.labels(plot.values, panel.unit, panel.decimals), strict=True):
        y = plot.y(tick)
        svg.element(parent, "path", d=f"M{box.x:.1f} {y:.1f}H{box.right:.1f}", class_="grid")
        svg.text(parent, box.x - LABEL_GAP_PX, y + 4, label, LABEL_PX, "faint", text_anchor="end")
    for tick, label in zip(plot.times.ticks, scales.time_labels(plot.times, zone), strict=True):
        x = plot.x(tick)
        svg.element(parent, "path", d=f"M{x:.1f} {box.y:.1f}V{box.bottom:.1f}", class_="grid")
        half = svg.text_width(label, LABEL_PX) / 2
        anchor = "end" if x + half > box.right else "start" if x - half < box.x else "middle"
        svg.text(parent, x, box.bottom + 15, label, LABEL_PX, "faint", text_anchor=anchor)


def _step_s(lines: Sequence[Line]) -> float:
    """The distance of two points that follow each other; infinite where there are none."""
    distances = [b[0] - a[0] for line in lines for a, b in zip(line.points, line.points[1:], strict=False)]
    return min(distances, default=math.inf)


def _parts(line: Line, step_s: float) -> Iterator[Line]:
    """The line without the gaps in it."""
    begin = 0
    points = line.points
    for end in range(1, len(points) + 1):
        if end == len(points) or points[end][0] - points[end - 1][0] > GAP_STEPS * step_s:
            yield Line(points[begin:end], None if line.floor is None else line.floor[begin:end])
            begin = end


def _part(parent: Element, plot: Plot, part: Line, panel: Panel, color: str) -> None:
    """A line with its area; a dot for a single point."""
    upper = [(plot.x(time_s), plot.y(value)) for time_s, value in part.points]
    if len(upper) == 1:
        svg.element(parent, "circle", cx=upper[0][0], cy=upper[0][1], r=DOT_PX, class_=f"area-{color}")
        return
    if panel.fill_opacity:
        floor = part.floor or [max(0.0, plot.values.low)] * len(upper)
        lower = [(x, plot.y(value)) for (x, _), value in zip(upper, floor, strict=True)]
        edge = svg.path([*upper, *reversed(lower if part.floor else [lower[0], lower[-1]])])
        svg.element(parent, "path", d=f"{edge}z", class_=f"area-{color}", fill_opacity=f"{panel.fill_opacity:g}")
    width = max(MIN_LINE_PX, panel.line_width)
    svg.element(parent, "path", d=svg.path(upper), class_=f"line line-{color}", stroke_width=width)


def _limits(parent: Element, plot: Plot, panel: Panel) -> None:
    """The thresholds that are within the axis: Grafana does not widen it for them."""
    for threshold in panel.thresholds:
        if threshold.value is not None and plot.values.low <= threshold.value <= plot.values.high:
            y = plot.y(threshold.value)
            edge = f"M{plot.box.x:.1f} {y:.1f}H{plot.box.right:.1f}"
            svg.element(parent, "path", d=edge, class_=f"line rim line-{threshold.color}", stroke_width=1.2)
