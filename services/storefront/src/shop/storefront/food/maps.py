"""Maps of the town: a part of its drawing with markers and a way, and how a browser places positions on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from markupsafe import Markup

from shop.contracts.geography import Position
from shop.town import Position as TownPosition
from shop.town import town

ASPECT = 4 / 3
SCREEN_PX = 360
"""A phone's width, for which names are chosen."""
PROBE_DEGREES = 0.02
"""How far apart the positions are from which the projection is read: a kilometre or two."""


@dataclass(frozen=True)
class Marker:
    """``kind`` is a CSS class: restaurant, home or courier."""

    kind: str
    x: float
    y: float
    id: str = ""


@dataclass(frozen=True)
class TownMap:
    """``shapes`` is SVG of the town; ``scale`` is metres per pixel on a phone, by which markers are drawn larger.

    ``projection`` has four numbers: x = a + b * longitude, y = c + d * latitude.
    """

    view_box: str
    shapes: Markup
    scale: float
    projection: str
    markers: Sequence[Marker] = ()
    way: str = ""


def place(position: Position) -> tuple[float, float]:
    """x and y on every map of the town."""
    return town().drawing().project(_in_town(position))


def map_of(shown: Sequence[Position], markers: Sequence[Marker], way: Iterable[Position] = ()) -> TownMap:
    """The part of the town with the positions `shown`, or all of it for none."""
    drawing = town().drawing()
    points = [_in_town(position) for position in shown]
    left, top, width, height = drawing.frame(points, ASPECT) if points else (0, 0, drawing.width, drawing.height)
    scale = width / SCREEN_PX
    return TownMap(
        view_box=f"{left} {top} {width} {height}",
        shapes=Markup(drawing.shapes + drawing.names(scale)),  # noqa: S704 - the town's own drawing
        scale=round(scale, 2),
        projection=_projection(),
        markers=markers,
        way=" ".join(f"{x:.0f},{y:.0f}" for x, y in map(place, way)),
    )


def marker(kind: str, position: Position, name: str = "") -> Marker:
    return Marker(kind, *place(position), name)


@cache
def _projection() -> str:
    origin = town().junctions[0]
    x, y = town().drawing().project(origin)
    far_x, far_y = town().drawing().project(TownPosition(origin.lat + PROBE_DEGREES, origin.lon + PROBE_DEGREES))
    b, d = (far_x - x) / PROBE_DEGREES, (far_y - y) / PROBE_DEGREES
    return f"{x - b * origin.lon:.3f} {b:.3f} {y - d * origin.lat:.3f} {d:.3f}"


def _in_town(position: Position) -> TownPosition:
    return TownPosition(position.lat, position.lon)
