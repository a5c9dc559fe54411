"""A panel with a number for each series, coloured by the thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from observability.pictures import svg, units
from observability.pictures.data import Series
from observability.pictures.model import Panel
from observability.pictures.prometheus import finite
from observability.pictures.svg import Box

MAX_PX, MIN_PX = 36.0, 13.0
OF_HEIGHT, OF_WIDTH = 0.5, 0.82
"""The most that the number takes of its place; bold type is wider than reckoned."""
NAME_PX = 12.0
TEXT_COLOR = "text"


def draw(parent: Element, box: Box, panel: Panel, series: Sequence[Series]) -> None:
    """Side by side; a single series goes without its name, as in Grafana."""
    each = box.width / len(series)
    for number, one in enumerate(series):
        place = Box(box.x + number * each, box.y, each, box.height)
        _value(parent, place, panel, one, named=len(series) > 1)


def _value(parent: Element, box: Box, panel: Panel, series: Series, named: bool) -> None:
    points = finite(series.points)
    content = units.written(points[-1][1], panel.unit, panel.decimals) if points else "No data"
    color = f"area-{color_of(panel, points[-1][1])}" if points else "faint"
    size = min(MAX_PX, box.height * OF_HEIGHT, OF_WIDTH * box.width / svg.text_width(content, 1.0))
    middle = box.x + box.width / 2
    base = box.y + box.height / 2 + size * 0.36 - (NAME_PX / 2 if named else 0)
    svg.text(parent, middle, base, content, max(MIN_PX, size), f"{color} bold", text_anchor="middle")
    if named:
        name = svg.shortened(series.name, NAME_PX, box.width)
        svg.text(parent, middle, base + NAME_PX * 1.6, name, NAME_PX, "faint", text_anchor="middle")


def color_of(panel: Panel, value: float) -> str:
    """Of the highest threshold that the value reaches; the text's own where there are none."""
    reached = [one for one in panel.thresholds if one.value is None or value >= one.value]
    return reached[-1].color if reached else TEXT_COLOR
