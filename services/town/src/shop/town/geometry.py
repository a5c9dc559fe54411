"""Positions on the globe, points of the town's plane, and lines between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

METRES_PER_DEGREE = 111_195.0
"""Of latitude, on a sphere of the earth's mean radius."""
Point = tuple[float, float]
"""In the town's plane: metres east and north of the market square."""


class Position(NamedTuple):
    """WGS 84, in degrees."""

    lat: float
    lon: float


class Route(NamedTuple):
    """A way along the streets with both its ends; ``length_m`` is the length of ``points``, rounded."""

    length_m: int
    points: tuple[Position, ...]


@dataclass(frozen=True)
class Plane:
    """The flat map around ``origin``; within a few kilometres it is off by less than a metre."""

    origin: Position

    def point(self, position: Position) -> Point:
        shrink = math.cos(math.radians(self.origin.lat))
        return (
            (position.lon - self.origin.lon) * METRES_PER_DEGREE * shrink,
            (position.lat - self.origin.lat) * METRES_PER_DEGREE,
        )

    def position(self, point: Point) -> Position:
        """Rounded to about a centimetre."""
        shrink = math.cos(math.radians(self.origin.lat))
        return Position(
            round(self.origin.lat + point[1] / METRES_PER_DEGREE, 7),
            round(self.origin.lon + point[0] / METRES_PER_DEGREE / shrink, 7),
        )


def length_m(line: Sequence[Point]) -> float:
    return sum(math.dist(a, b) for a, b in itertools.pairwise(line))


def along(line: Sequence[Point], distance_m: float) -> tuple[Point, Point]:
    """The point so far along the line, and the direction of the line there (a vector of length 1)."""
    for start, end, part_m in _parts(line):
        if distance_m <= part_m or end is line[-1]:
            share = min(1.0, max(0.0, distance_m / part_m))
            direction = ((end[0] - start[0]) / part_m, (end[1] - start[1]) / part_m)
            return (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])), direction
        distance_m -= part_m
    raise ValueError("a line needs two different points")


def _parts(line: Sequence[Point]) -> Iterator[tuple[Point, Point, float]]:
    for start, end in itertools.pairwise(line):
        if part_m := math.dist(start, end):
            yield start, end, part_m
