"""The names of a panel's series below its lines, as many as there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from observability.pictures import svg, theme
from observability.pictures.data import Series
from observability.pictures.svg import Box

SIZE_PX = 11.5
LINE_PX = 18.0
MARK_PX = 14.0
MARK_GAP_PX = 5.0
GAP_PX = 12.0
TOP_PX = 6.0
MAX_SHARE = 0.36
"""Of a panel's height."""


@dataclass(frozen=True)
class Name:
    """One name with the number of its series, and where it stands: pixels from the left, and the line. The last may be
    that of `more` series that there is no room for."""

    content: str
    number: int
    x: float
    line: int
    url: str = ""
    more: bool = False

    @property
    def right(self) -> float:
        mark = 0.0 if self.more else MARK_PX + MARK_GAP_PX
        return self.x + mark + svg.text_width(self.content, SIZE_PX)


def arranged(series: Sequence[Series], width: float, panel_height: float) -> list[Name]:
    """The names in lines of this width, those that are always 0 at the end, where they may be left out."""
    lines = max(1, int((panel_height * MAX_SHARE - TOP_PX) / LINE_PX))
    found: list[Name] = []
    for number, one in sorted(enumerate(series), key=lambda pair: not pair[1].seen):
        name = _next(found, one.name, number, width, one.url)
        if name.line >= lines:
            return _with_rest(found, len(series), width)
        found.append(name)
    return found


def _next(found: Sequence[Name], content: str, number: int, width: float, url: str) -> Name:
    """Behind the last name, or in the next line where it does not fit."""
    content = svg.shortened(content, SIZE_PX, width - MARK_PX - MARK_GAP_PX)
    if not found:
        return Name(content, number, 0.0, 0, url)
    behind = Name(content, number, found[-1].right + GAP_PX, found[-1].line, url)
    return behind if behind.right <= width else Name(content, number, 0.0, found[-1].line + 1, url)


def _with_rest(found: list[Name], count: int, width: float) -> list[Name]:
    """Says how many are missing; the last names make room for that."""
    while found:
        last = found[-1]
        rest = Name(f"and {count - len(found)} more", 0, last.right + GAP_PX, last.line, more=True)
        if rest.right <= width or len(found) == 1:
            return [*found, rest]
        found.pop()
    return found


def height(names: Sequence[Name]) -> float:
    return TOP_PX + LINE_PX * (names[-1].line + 1) if names else 0.0


def draw(parent: Element, box: Box, names: Sequence[Name]) -> None:
    for name in names:
        x, y = box.x + name.x, box.y + TOP_PX + LINE_PX * name.line + 12
        if name.more:
            svg.text(parent, x, y, name.content, SIZE_PX, "faint")
            continue
        color = theme.of_series(name.number)
        mark = Box(x, y - 6, MARK_PX, 4)
        group = svg.link(parent, name.url)
        svg.rectangle(group, mark, f"area-{color}", rx=2)
        svg.text(group, x + MARK_PX + MARK_GAP_PX, y, name.content, SIZE_PX)
