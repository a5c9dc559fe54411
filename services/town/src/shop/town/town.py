"""The one town, loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING

from shop.town.addresses import Addresses
from shop.town.data import Data, load
from shop.town.drawing import Drawing, drawn
from shop.town.geometry import Position, Route

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shop.town.routing import Routing

MAX_CACHED_POSITIONS = 4_096
"""Homes are asked for again and again."""


class Town:
    """Streets, addresses, ways and the map. Junctions are numbered from 0."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._addresses = Addresses(data)
        self.nearest = lru_cache(maxsize=MAX_CACHED_POSITIONS)(self._nearest)
        """The junction nearest to a position in a straight line."""

    @property
    def name(self) -> str:
        return self._data.name

    def streets(self) -> Sequence[str]:
        """Their names, sorted."""
        return [street.name for street in self._data.streets]

    def house_numbers(self, street: str) -> range:
        """The house numbers of a street of `streets`; KeyError for another."""
        return self._addresses.numbers(street)

    def locate(self, street_line: str, city: str = "") -> Position | None:
        """The house of "12 Mill Lane" or "Mill Lane 12"; case, accents, spaces and common abbreviations are forgiven.

        None: no such street or number, or ``city`` names another town.
        """
        point = self._addresses.find(street_line, city)
        return None if point is None else self._data.plane.position(point)

    @cached_property
    def junctions(self) -> tuple[Position, ...]:
        return tuple(self._data.plane.position(point) for point in self._data.junctions)

    def ways_from(self, junction: int) -> Sequence[tuple[Position, ...]]:
        """The way to each neighbouring junction, along its street, without the junction itself."""
        return self._ways[junction]

    def _nearest(self, position: Position) -> int:
        x, y = self._data.plane.point(position)
        squared = [(px - x) ** 2 + (py - y) ** 2 for px, py in self._data.junctions]
        return squared.index(min(squared))

    def route(self, start: Position, end: Position) -> Route:
        """The shortest way by the streets, with both ends; from and to the street in a straight line."""
        plane = self._data.plane
        length, points = self._routing.way(plane.point(start), plane.point(end))
        return Route(round(length), (start, *(plane.position(point) for point in points[1:-1]), end))

    def distance_m(self, start: Position, end: Position) -> int:
        """The length of `route`, in a hundredth of its time."""
        return round(self._routing.distance_m(self._data.plane.point(start), self._data.plane.point(end)))

    def distances_m(self, end: Position) -> NDArray[np.float64]:
        """Metres from every junction to ``end`` by the streets."""
        return self._routing.distances_m(self._data.plane.point(end))

    def drawing(self) -> Drawing:
        """The map as SVG."""
        return self._drawing

    @cached_property
    def _ways(self) -> tuple[tuple[tuple[Position, ...], ...], ...]:
        found: list[list[tuple[Position, ...]]] = [[] for _ in self._data.junctions]
        for edge in self._data.edges:
            line = tuple(self._data.plane.position(point) for point in edge.line)
            found[edge.start].append(line[1:])
            found[edge.end].append(line[-2::-1])
        return tuple(tuple(ways) for ways in found)

    @cached_property
    def _drawing(self) -> Drawing:
        return drawn(self._data)

    @cached_property
    def _routing(self) -> Routing:
        from shop.town.routing import Routing

        return Routing(self._data)


@cache
def town() -> Town:
    """Millbridge."""
    return Town(load())
