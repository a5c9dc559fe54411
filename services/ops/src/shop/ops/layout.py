"""Where services and stores stand in the drawing: callers left of what they call, stores at the bottom. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from shop.ops.services import CALLS

BOX_WIDTH, BOX_HEIGHT = 206, 84
STORE_HEIGHT = 40
GAP_X, GAP_Y = 60, 22
MARGIN = 16
STORES_GAP = 60
MAX_PER_COLUMN = 6


@dataclass(frozen=True, slots=True)
class Place:
    """The upper left corner of a box and its height, in units of the drawing."""

    x: float
    y: float
    height: float = BOX_HEIGHT

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + BOX_WIDTH / 2, self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Layout:
    places: Mapping[str, Place]
    width: float
    height: float

    def curve(self, source: str, target: str) -> str:
        """The path of an arrow between two boxes: between services from side to side, to and from stores upwards."""
        start, end = self.places[source], self.places[target]
        (x1, y1), (x2, y2) = start.middle, end.middle
        if start.height != end.height:
            y1 += start.height / 2 if y2 > y1 else -start.height / 2
            y2 += end.height / 2 if y2 < y1 else -end.height / 2
            bend = (y2 - y1) / 2
            return f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
        half = BOX_WIDTH / 2 if x2 >= x1 else -BOX_WIDTH / 2
        x1, x2 = x1 + half, x2 - half
        bend = (x2 - x1) / 2
        return f"M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"


def layout(nouns: Sequence[str], stores: Sequence[str]) -> Layout:
    """Columns by the longest chain of calls that leads to a service."""
    columns = _columns(nouns)
    rows = max((len(column) for column in columns), default=1)
    height = MARGIN * 2 + rows * BOX_HEIGHT + (rows - 1) * GAP_Y
    places: dict[str, Place] = {}
    for number, column in enumerate(columns):
        x = MARGIN + number * (BOX_WIDTH + GAP_X)
        top = (height - len(column) * BOX_HEIGHT - (len(column) - 1) * GAP_Y) / 2
        places |= {noun: Place(x, top + row * (BOX_HEIGHT + GAP_Y)) for row, noun in enumerate(column)}
    widest = max(len(columns), len(stores))
    width = MARGIN * 2 + widest * BOX_WIDTH + max(widest - 1, 0) * GAP_X
    step = width / max(len(stores), 1)
    for number, store in enumerate(stores):
        places[store] = Place(step * (number + 0.5) - BOX_WIDTH / 2, height + STORES_GAP, STORE_HEIGHT)
    return Layout(places, width, height + (STORES_GAP + STORE_HEIGHT + MARGIN if stores else 0))


def _columns(nouns: Sequence[str]) -> list[list[str]]:
    depths: dict[str, int] = {}
    for noun in nouns:
        _depth(noun, nouns, depths, ())
    columns: list[list[str]] = []
    for depth in sorted(set(depths.values())):
        column = [noun for noun in nouns if depths[noun] == depth]
        columns += [column[start : start + MAX_PER_COLUMN] for start in range(0, len(column), MAX_PER_COLUMN)]
    return columns


def _depth(noun: str, nouns: Collection[str], depths: dict[str, int], above: tuple[str, ...]) -> int:
    """The number of calls of the longest chain that leads to ``noun``; a circle of calls counts once."""
    if noun not in depths:
        callers = [one for one in nouns if noun in CALLS[one] and one not in above and one != noun]
        depths[noun] = max((1 + _depth(one, nouns, depths, (*above, noun)) for one in callers), default=0)
    return depths[noun]
