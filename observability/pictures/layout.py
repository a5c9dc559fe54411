"""Where each panel is drawn: as in Grafana's grid where the picture is wide, below each other where it is narrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

from observability.pictures.model import Panel
from observability.pictures.svg import Box

COLUMNS = 24
UNIT_PX, GAP_PX = 30.0, 8.0
MARGIN_PX = 12.0
GRID_FROM_PX = 1_000.0
"""The least width at which three panels side by side can be read."""
MIN_WIDTHS_PX = {"stat": 150.0, "timeseries": 310.0, "text": 310.0, "row": 10_000.0}
type Grows = Callable[[Panel, float], float]
"""The height that a panel of this width needs to show everything, 0 where any will do."""


def place(panels: Iterable[Panel], width: float, grows: Grows) -> Mapping[int, Box]:
    """The box of each panel by its id, in a picture `width` pixels wide, beginning at y = 0."""
    boxes: dict[int, Box] = {}
    moved_px = 0.0
    for _, band in groupby(sorted(panels, key=lambda one: (one.y, one.x)), key=lambda one: one.y):
        row = list(band)
        if width >= GRID_FROM_PX:
            moved_px += _in_grid(row, width, moved_px, grows, boxes)
        else:
            moved_px = _below_each_other(row, width, moved_px, grows, boxes)
    return boxes


def height(boxes: Iterable[Box]) -> float:
    return max((box.bottom for box in boxes), default=0.0) + MARGIN_PX


def _in_grid(band: list[Panel], width: float, moved_px: float, grows: Grows, boxes: dict[int, Box]) -> float:
    """Returns by how much the panels below are moved down, because one of these is higher than its place."""
    column = (width - 2 * MARGIN_PX + GAP_PX) / COLUMNS
    more = 0.0
    for panel in band:
        panel_width = panel.width * column - GAP_PX
        planned = _height(panel)
        needed = max(planned, grows(panel, panel_width))
        top = panel.y * (UNIT_PX + GAP_PX) + moved_px
        boxes[panel.id] = Box(MARGIN_PX + panel.x * column, top, panel_width, needed)
        more = max(more, needed - planned)
    return more


def _below_each_other(band: list[Panel], width: float, top: float, grows: Grows, boxes: dict[int, Box]) -> float:
    """Returns where the panels below begin."""
    room = width - 2 * MARGIN_PX
    for line in _lines(band, room):
        left = MARGIN_PX
        share = (room - GAP_PX * (len(line) - 1)) / sum(one.width for one in line)
        widths = [one.width * share for one in line]
        tallest = max(max(_height(one), grows(one, wide)) for one, wide in zip(line, widths, strict=True))
        for one, wide in zip(line, widths, strict=True):
            boxes[one.id] = Box(left, top, wide, tallest)
            left += wide + GAP_PX
        top += tallest + GAP_PX
    return top


def _lines(band: list[Panel], room: float) -> Iterator[list[Panel]]:
    """As many panels side by side as have the room that they need; the last ones are no wider than the others."""
    line: list[Panel] = []
    for panel in band:
        needed = sum(MIN_WIDTHS_PX[one.kind] + GAP_PX for one in [*line, panel]) - GAP_PX
        if line and needed > room:
            yield line
            line = []
        line.append(panel)
    yield line


def _height(panel: Panel) -> float:
    return panel.height * (UNIT_PX + GAP_PX) - GAP_PX
