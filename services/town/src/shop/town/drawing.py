"""The map of the town as SVG: land, water, parks and streets as paths, and the names; one unit is one metre."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from random import Random

from shop.town.data import MAIN, SECONDARY, SIDE, Data
from shop.town.geometry import Point, Position
from shop.town.names import Canvas, labels

CLASSES = {SIDE: "town-side", SECONDARY: "town-secondary", MAIN: "town-main"}
STYLE_FILE = "map.css"
PLAIN_SCALE = 4.0
MAX_CACHED_SCALES = 16
LEAST_FRAME_M = 700.0
"""The smallest part of the map that `frame` shows, across."""
FRAME_MARGIN = 0.12
"""Around the positions of a frame, as a share of its size."""
TREE_SPACING_M = 34.0


@dataclass(frozen=True)
class Drawing:
    """A map of ``width`` x ``height`` metres.

    ``style`` has the CSS rules of all classes, for light and dark; ``shapes`` and `names` stand one after the other
    inside an ``<svg viewBox="...">``. Nothing in it needs an inline style.
    """

    width: int
    height: int
    shapes: str
    data: Data

    @property
    def view_box(self) -> str:
        """Of the whole town."""
        return f"0 0 {self.width} {self.height}"

    @cached_property
    def style(self) -> str:
        return resources.files(__package__).joinpath(STYLE_FILE).read_text(encoding="utf-8")

    def names(self, metres_per_pixel: float) -> str:
        """The names that fit at this scale, without overlap, and as large as they have to be to be read.

        On screens at least 48 rem wide the rules of `style` make them a third smaller: such a screen shows the same
        part of the map on more pixels.
        """
        return _names(self.data, max(0.5, min(20.0, round(metres_per_pixel, 1))))

    @property
    def markup(self) -> str:
        """Shapes and names for the whole town on a wide screen."""
        return self.shapes + self.names(PLAIN_SCALE)

    def project(self, position: Position) -> tuple[float, float]:
        """x and y in the view box."""
        x, y = Canvas(self.data).place(self.data.plane.point(position))
        return round(x, 1), round(y, 1)

    def frame(self, positions: Sequence[Position], aspect: float = 4 / 3) -> tuple[int, int, int, int]:
        """The view box (left, top, width, height) of this width by height that shows all the positions."""
        points = [self.project(position) for position in positions]
        left, right = min(x for x, _ in points), max(x for x, _ in points)
        top, bottom = min(y for _, y in points), max(y for _, y in points)
        margin = 1 + 2 * FRAME_MARGIN
        width = max(LEAST_FRAME_M, (right - left) * margin, (bottom - top) * margin * aspect)
        height = width / aspect
        return round((left + right - width) / 2), round((top + bottom - height) / 2), round(width), round(height)


@lru_cache(maxsize=MAX_CACHED_SCALES)
def _names(data: Data, metres_per_pixel: float) -> str:
    return labels(data, metres_per_pixel)


def drawn(data: Data) -> Drawing:
    canvas = Canvas(data)
    shapes = "".join(_shapes(data, canvas))
    return Drawing(round(canvas.width), round(canvas.height), f'<g class="town">{shapes}</g>', data)


def _shapes(data: Data, canvas: Canvas) -> Iterator[str]:
    """In the order of painting. Streets are defined once and painted twice: wide for the edge, then narrower."""
    land = data.land
    streets = {
        rank: "".join(canvas.path(street.line) for street in data.streets if street.rank == rank) for rank in CLASSES
    }
    bridges = "".join(canvas.path(edge.line) for edge in data.edges if edge.bridge)
    definitions = "".join(f'<path id="{CLASSES[rank]}" d="{path}"/>' for rank, path in streets.items())
    yield f'<defs>{definitions}<path id="town-bridges" d="{bridges}"/></defs>'
    yield '<path class="town-land" d="M-4000-3000H8000V6000H-4000Z"/>'
    yield "".join(f'<use class="town-built" href="#{css_class}"/>' for css_class in CLASSES.values())
    yield _path("town-park", "".join(canvas.path(outline, closed=True) for outline in land.parks.values()))
    yield _path("town-trees", "".join(f"M{x:.0f} {y:.0f}h0" for x, y in map(canvas.place, _trees(data))))
    yield _path("town-stream", canvas.path(land.stream))
    yield _path("town-water", canvas.path(land.river, closed=True) + canvas.path(land.lake, closed=True))
    yield '<use class="town-bridge-edge" href="#town-bridges"/><use class="town-bridge" href="#town-bridges"/>'
    yield "".join(f'<use class="{css_class}-edge" href="#{css_class}"/>' for css_class in CLASSES.values())
    yield _path("town-square", canvas.path(land.square, closed=True))
    yield "".join(f'<use class="{css_class}" href="#{css_class}"/>' for css_class in CLASSES.values())


def _path(css_class: str, path: str) -> str:
    return f'<path class="{css_class}" d="{path}"/>'


def _trees(data: Data) -> Iterator[Point]:
    """Scattered over the parks, none in the lake; always the same ones."""
    random = Random(data.name)
    for outline in data.land.parks.values():
        xs, ys = [x for x, _ in outline], [y for _, y in outline]
        count = int((max(xs) - min(xs)) * (max(ys) - min(ys)) / TREE_SPACING_M**2)
        for _ in range(count):
            tree = random.uniform(min(xs), max(xs)), random.uniform(min(ys), max(ys))
            if _inside(outline, tree) and not _inside(data.land.lake, tree):
                yield tree


def _inside(outline: Sequence[Point], point: Point) -> bool:
    x, y = point
    crossed = False
    for (x1, y1), (x2, y2) in itertools.pairwise(outline):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            crossed = not crossed
    return crossed
