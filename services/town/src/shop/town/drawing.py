"""The map of the town as SVG: water, parks and streets as paths, names along the streets, one unit a metre."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from shop.town.data import MAIN, SECONDARY, SIDE, Data, Street
from shop.town.geometry import Plane, Point, Position, along

STREET_CLASSES = {SIDE: "town-side", SECONDARY: "town-secondary", MAIN: "town-main"}
NAME_SIZE_M = {SIDE: 15, SECONDARY: 19, MAIN: 23}
NAME_WIDTH = 0.56
"""Of a letter, as a share of its height."""


@dataclass(frozen=True)
class Shape:
    """One path; ``css_class`` says what it is: town-water, town-park, town-square, town-side ..."""

    css_class: str
    path: str

    def svg(self) -> str:
        return f'<path class="{self.css_class}" d="{self.path}"/>'


@dataclass(frozen=True)
class Label:
    """A name: along ``path``, which reads from left to right, or with an empty path centred at ``at``."""

    css_class: str
    text: str
    path: str
    at: tuple[float, float]

    def svg(self, number: int) -> str:
        if not self.path:
            return (
                f'<text class="{self.css_class}" x="{self.at[0]:.0f}" y="{self.at[1]:.0f}">{escape(self.text)}</text>'
            )
        return (
            f'<path id="town-name-{number}" d="{self.path}" fill="none"/><text class="{self.css_class}">'
            f'<textPath href="#town-name-{number}" startOffset="50%">{escape(self.text)}</textPath></text>'
        )


@dataclass(frozen=True)
class Drawing:
    """``shapes`` in the order of painting and ``labels`` above them, in a plane of ``width`` x ``height`` metres."""

    width: int
    height: int
    shapes: tuple[Shape, ...]
    labels: tuple[Label, ...]
    plane: Plane

    @property
    def view_box(self) -> str:
        return f"0 0 {self.width} {self.height}"

    @property
    def style(self) -> str:
        """CSS rules for the classes, for light and dark."""
        return STYLE

    @property
    def markup(self) -> str:
        """All shapes and labels, to stand inside an <svg viewBox="{view_box}">."""
        shapes = "".join(shape.svg() for shape in self.shapes)
        labels = "".join(label.svg(number) for number, label in enumerate(self.labels))
        return f'<g class="town">{shapes}</g><g class="town-names">{labels}</g>'

    def project(self, position: Position) -> tuple[float, float]:
        """x and y in the view box."""
        x, y = self.plane.point(position)
        return round(x + self.width / 2, 1), round(self.height / 2 - y, 1)


STYLE = """
.town path{fill:none;stroke-linecap:round;stroke-linejoin:round}
.town path.town-land{fill:#f4efe4}.town path.town-park{fill:#cfe3bf}.town path.town-water{fill:#a9cfe8}
.town path.town-stream{stroke:#a9cfe8;stroke-width:9}
.town path.town-square{fill:#e9dcc0}
.town path.town-casing{stroke:#cbbfa8}.town path.town-side{stroke:#fff;stroke-width:11}
.town path.town-secondary{stroke:#fbe8b8;stroke-width:15}.town path.town-main{stroke:#f6cf8f;stroke-width:20}
.town-names text{font:500 15px system-ui,sans-serif;text-anchor:middle;
fill:#4a4036;paint-order:stroke;stroke:#fffc;stroke-width:3px}
"""


def drawn(data: Data) -> Drawing:
    width, height = round(data.land.width_m), round(data.land.height_m)
    return Drawing(width, height, tuple(_shapes(data)), tuple(_names(data)), data.plane)


def _shapes(data: Data) -> Iterable[Shape]:
    land = data.land
    yield Shape("town-land", f"M0 0H{land.width_m:.0f}V{land.height_m:.0f}H0Z")
    yield Shape("town-park", "".join(_path(data, outline, closed=True) for outline in land.parks.values()))
    yield Shape("town-water", _path(data, land.river, closed=True) + _path(data, land.lake, closed=True))
    yield Shape("town-stream", _path(data, land.stream))
    yield Shape("town-square", _path(data, land.square, closed=True))
    for rank in (SIDE, SECONDARY, MAIN):
        lines = [_street_line(street) for street in data.streets if street.rank == rank]
        yield Shape(STREET_CLASSES[rank], "".join(_path(data, line) for line in lines))


def _street_line(street: Street) -> list[Point]:
    return [*(point for edge in street.edges for point in edge.line[:-1]), street.edges[-1].line[-1]]


def _names(data: Data) -> Iterable[Label]:
    for street in data.streets:
        line = _street_line(street)
        need = len(street.name) * NAME_SIZE_M[street.rank] * NAME_WIDTH
        total = sum(edge.length_m for edge in street.edges)
        if total > need * 1.1:
            at, direction = along(line, total / 2)
            if direction[0] < 0:
                line = line[::-1]
            yield Label(f"{STREET_CLASSES[street.rank]}-name", street.name, _path(data, line), at)


def _path(data: Data, line: Sequence[Point], closed: bool = False) -> str:
    half_width, half_height = data.land.width_m / 2, data.land.height_m / 2
    points = " ".join(f"{x + half_width:.0f} {half_height - y:.0f}" for x, y in line)
    return f"M{points}" + ("Z" if closed else "")
