"""Places the names on the map: along their streets, none over another, the important ones first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from shop.town.data import MAIN, SECONDARY, SIDE, Data
from shop.town.geometry import Point, along, length_m

TEXT_PX = 11.5
SIZES = {MAIN: 1.12, SECONDARY: 1.0, SIDE: 0.92}
CLASSES = {SIDE: "town-side-name", SECONDARY: "town-secondary-name", MAIN: "town-main-name"}
LETTER_WIDTH = 0.6
"""Of a letter, as a share of the text's height."""
SPARE = 1.3
"""A path is longer than its text by this factor, where the street is: wider fonts than ours must not lose letters."""
MAX_TURN = math.radians(50)
"""A name does not bend more than this from its first to its last letter."""
REPEAT_PX = 420.0
"""A long street has its name again after so much of it."""
PLACES = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.12, 0.88)
"""Tried along a street, as shares of its length."""
LAKE_NAME = "Abbot's Mere"


@dataclass(frozen=True)
class Canvas:
    """The map's own coordinates: metres from its upper left corner, y down."""

    data: Data

    @property
    def width(self) -> float:
        return self.data.land.width_m

    @property
    def height(self) -> float:
        return self.data.land.height_m

    def place(self, point: Point) -> Point:
        return point[0] + self.width / 2, self.height / 2 - point[1]

    def path(self, line: Sequence[Point], *, closed: bool = False) -> str:
        """SVG path data, in whole metres."""
        points = [f"{x:.0f} {y:.0f}" for x, y in map(self.place, line)]
        return f"M{points[0]}L{' '.join(points[1:])}" + ("Z" if closed else "")


class _Space:
    """What is taken on the map, as discs."""

    def __init__(self) -> None:
        self._discs: list[tuple[float, float, float]] = []

    def take(self, centres: Sequence[Point], radius: float) -> bool:
        """Take these discs, unless one of them overlaps a taken one."""
        for x, y in centres:
            if any(math.hypot(x - px, y - py) < radius + taken for px, py, taken in self._discs):
                return False
        self._discs += [(x, y, radius) for x, y in centres]
        return True


def labels(data: Data, metres_per_pixel: float) -> str:
    """An SVG group of the names that fit at this scale."""
    canvas, space, size = Canvas(data), _Space(), TEXT_PX * metres_per_pixel
    texts = [*_areas(data, canvas, space, size), *_lines(data, canvas, space, size, metres_per_pixel)]
    return f'<g class="town-names" font-size="{size:.0f}">{"".join(texts)}</g>'


def _areas(data: Data, canvas: Canvas, space: _Space, size: float) -> Iterator[str]:
    """Parks and the lake: the middle of the area, if it is wide enough for the name."""
    named = [("town-water-name", LAKE_NAME, data.land.lake)]
    named += [("town-park-name", name, outline) for name, outline in data.land.parks.items() if name != "Lake Park"]
    for css_class, name, outline in named:
        xs, ys = [x for x, _ in outline], [y for _, y in outline]
        width = len(name) * size * LETTER_WIDTH
        x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
        discs = [(x + width * share, y) for share in (-0.4, -0.2, 0.0, 0.2, 0.4)]
        if width < 1.25 * (max(xs) - min(xs)) and space.take(discs, size * 0.7):
            px, py = canvas.place((x, y))
            yield f'<text class="{css_class}" x="{px:.0f}" y="{py + size / 3:.0f}">{escape(name)}</text>'


def _lines(data: Data, canvas: Canvas, space: _Space, size: float, metres_per_pixel: float) -> Iterator[str]:
    """The river and the streets, main roads before side streets and long ones before short ones."""
    named: list[tuple[int, float, str, str, Sequence[Point]]] = [
        (MAIN + 1, length_m(data.land.river_line), "town-water-name", data.land.river_name, data.land.river_line)
    ]
    named += [
        (street.rank, length_m(street.line), CLASSES[street.rank], street.name, street.line) for street in data.streets
    ]
    number = 0
    for rank, total_m, css_class, name, line in sorted(named, key=lambda one: (-one[0], -one[1])):
        text_size = size * SIZES.get(rank, 1.15)
        wanted = 1 + int(total_m / (REPEAT_PX * metres_per_pixel))
        for stretch in _stretches(line, total_m, len(name) * text_size * LETTER_WIDTH, space, text_size, wanted):
            number += 1
            yield (
                f'<path id="town-name-{number}" d="{canvas.path(stretch)}"/>'
                f'<text class="{css_class}" dy=".34em"><textPath href="#town-name-{number}" startOffset="50%">'
                f"{escape(name)}</textPath></text>"
            )


def _stretches(
    line: Sequence[Point], total_m: float, width: float, space: _Space, size: float, wanted: int
) -> Iterator[list[Point]]:
    """At most ``wanted`` parts of the line that hold a text of this width, read from left to right."""
    found = 0
    if width * 1.08 > total_m:
        return
    for share in PLACES:
        middle = min(max(share * total_m, width / 2), total_m - width / 2)
        steps = max(3, round(width / (0.9 * size)))
        places = [along(line, middle + width * (step / steps - 0.5)) for step in range(steps + 1)]
        headings = [math.atan2(direction[1], direction[0]) for _, direction in places]
        turned = max(abs((one - headings[0] + math.pi) % (2 * math.pi) - math.pi) for one in headings)
        points = [point for point, _ in places]
        if turned <= MAX_TURN and space.take(points, size * 0.62):
            spare = max(0.0, min(width * (SPARE - 1) / 2, middle - width / 2, total_m - middle - width / 2))
            points = [along(line, middle - width / 2 - spare)[0], *points, along(line, middle + width / 2 + spare)[0]]
            yield points if points[-1][0] >= points[0][0] else points[::-1]
            found += 1
            if found == wanted:
                return
