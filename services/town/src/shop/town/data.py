"""The stored town: streets, junctions, water and parks, in metres of the town's plane."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any

from shop.town.geometry import Plane, Point, Position, length_m

FILE = "millbridge.json"
MAIN, SECONDARY, SIDE = 3, 2, 1
"""Ranks of streets."""


@dataclass(frozen=True)
class Edge:
    """A piece of a street between the junctions ``start`` and ``end``, the ends of ``line``.

    It has ``houses`` pairs of houses, odd numbers on its left and even ones on its right; ``first`` pairs come before
    them in the street.
    """

    start: int
    end: int
    line: tuple[Point, ...]
    first: int
    houses: int
    bridge: bool

    @cached_property
    def length_m(self) -> float:
        return length_m(self.line)


@dataclass(frozen=True)
class Street:
    """``rank`` is `MAIN`, `SECONDARY` or `SIDE`; the edges follow each other."""

    name: str
    rank: int
    edges: tuple[Edge, ...]

    @cached_property
    def line(self) -> tuple[Point, ...]:
        """From its first to its last house."""
        return (*(point for edge in self.edges for point in edge.line[:-1]), self.edges[-1].line[-1])

    @property
    def pairs(self) -> int:
        """How many pairs of houses it has."""
        return sum(edge.houses for edge in self.edges)


@dataclass(frozen=True)
class Land:
    """Closed outlines, but for the middle lines of ``river_line`` and ``stream``."""

    width_m: float
    height_m: float
    river_name: str
    river_line: tuple[Point, ...]
    river: tuple[Point, ...]
    stream: tuple[Point, ...]
    lake: tuple[Point, ...]
    square: tuple[Point, ...]
    parks: dict[str, tuple[Point, ...]]


@dataclass(frozen=True, eq=False)
class Data:
    name: str
    plane: Plane
    frontage_m: float
    corner_m: float
    junctions: tuple[Point, ...]
    streets: tuple[Street, ...]
    land: Land

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        return tuple(edge for street in self.streets for edge in street.edges)


def load() -> Data:
    """The town of the package."""
    stored = json.loads(resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8"))
    junctions = _line(stored["junctions"])
    return Data(
        stored["name"],
        Plane(Position(**stored["origin"])),
        stored["frontage_m"],
        stored["corner_m"],
        junctions,
        tuple(
            Street(street["name"], street["rank"], tuple(_edge(edge, junctions) for edge in street["edges"]))
            for street in stored["streets"]
        ),
        _land(stored),
    )


def _edge(stored: dict[str, Any], junctions: Sequence[Point]) -> Edge:
    start, end = stored["from"], stored["to"]
    line = (junctions[start], *_line(stored["points"]), junctions[end])
    return Edge(start, end, line, stored["first"], stored["houses"], stored["bridge"])


def _land(stored: dict[str, Any]) -> Land:
    return Land(
        stored["width_m"],
        stored["height_m"],
        stored["river"]["name"],
        _line(stored["river"]["line"]),
        _line(stored["river"]["outline"]),
        _line(stored["stream"]),
        _line(stored["lake"]),
        _line(stored["square"]),
        {park["name"]: _line(park["outline"]) for park in stored["parks"]},
    )


def _line(stored: Sequence[Sequence[float]]) -> tuple[Point, ...]:
    return tuple((x, y) for x, y in stored)
