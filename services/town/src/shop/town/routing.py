"""Shortest ways along the streets, from one table of the distances between all junctions."""

from __future__ import annotations

import itertools
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from shop.town.data import Data, Edge
from shop.town.geometry import Point

Metres = NDArray[np.float64]
MAX_CACHED_POINTS = 4_096
"""Points whose place on the streets is kept: restaurants and homes are asked for again and again."""


class OnStreet(NamedTuple):
    """A point's nearest place on the streets: ``along_m`` from the start of the edge, ``off_m`` away from it."""

    edge: int
    along_m: float
    off_m: float
    point: Point


class Routing:
    """The way from a point to the nearest place on the streets counts as well, in a straight line."""

    def __init__(self, data: Data) -> None:
        self._edges = data.edges
        self._count = len(data.junctions)
        self._points = data.junctions
        self._between = {frozenset((edge.start, edge.end)): edge for edge in data.edges}
        self._lengths = np.array([edge.length_m for edge in data.edges])
        self.on_street = lru_cache(maxsize=MAX_CACHED_POINTS)(self._nearest)

    def distance_m(self, start: Point, end: Point) -> float:
        return self._best(self.on_street(start), self.on_street(end))[0] if start != end else 0.0

    def distances_m(self, end: Point) -> Metres:
        """From every junction."""
        place = self.on_street(end)
        edge = self._edges[place.edge]
        table = self._table[0]
        by_start: Metres = table[edge.start] + place.along_m
        by_end: Metres = table[edge.end] + (edge.length_m - place.along_m)
        distances: Metres = np.minimum(by_start, by_end) + place.off_m
        return distances

    def way(self, start: Point, end: Point) -> tuple[float, list[Point]]:
        """The length in metres and the points of the shortest way."""
        if start == end:
            return 0.0, [start]
        first, last = self.on_street(start), self.on_street(end)
        length, junctions = self._best(first, last)
        return length, _without_repeats([start, *self._line(first, last, junctions), end])

    def _best(self, first: OnStreet, last: OnStreet) -> tuple[float, tuple[int, int] | None]:
        """The shortest way's length and its first and last junction; no junction when it stays on one edge."""
        start, end = self._edges[first.edge], self._edges[last.edge]
        distances = self._table[0]
        found: list[tuple[float, tuple[int, int] | None]] = [
            (out_m + float(distances[leave, enter]) + in_m, (leave, enter))
            for leave, out_m in ((start.start, first.along_m), (start.end, start.length_m - first.along_m))
            for enter, in_m in ((end.start, last.along_m), (end.end, end.length_m - last.along_m))
        ]
        if first.edge == last.edge:
            found.append((abs(first.along_m - last.along_m), None))
        length, junctions = min(found, key=lambda way: way[0])
        return length + first.off_m + last.off_m, junctions

    def _line(self, first: OnStreet, last: OnStreet, junctions: tuple[int, int] | None) -> list[Point]:
        start, end = self._edges[first.edge], self._edges[last.edge]
        if junctions is None:
            return [first.point, *_inner(start, first.along_m, last.along_m), last.point]
        leave, enter = junctions
        points = [first.point, *_inner(start, first.along_m, 0.0 if leave == start.start else start.length_m)]
        passed = self._junctions(leave, enter)
        for one, two in itertools.pairwise(passed):
            edge = self._between[frozenset((one, two))]
            points += edge.line if edge.start == one else edge.line[::-1]
        return [
            *points,
            self._points[enter],
            *_inner(end, 0.0 if enter == end.start else end.length_m, last.along_m),
            last.point,
        ]

    def _junctions(self, start: int, end: int) -> list[int]:
        before = self._table[1][start]
        passed = [end]
        while passed[-1] != start:
            passed.append(int(before[passed[-1]]))
        return passed[::-1]

    @cached_property
    def _table(self) -> tuple[Metres, NDArray[np.int32]]:
        """Metres between all junctions, and for each start and end the junction before the end."""
        starts = [edge.start for edge in self._edges]
        ends = [edge.end for edge in self._edges]
        graph = csr_array((self._lengths, (starts, ends)), shape=(self._count, self._count))
        distances, before = dijkstra(graph, directed=False, return_predecessors=True)
        return distances, before

    @cached_property
    def _segments(self) -> tuple[NDArray[np.int64], Metres, Metres, Metres, Metres]:
        """Of every straight part of all edges: edge, start, vector, squared length, and metres of the edge before."""
        edge_of, starts, vectors, before = [], [], [], []
        for index, edge in enumerate(self._edges):
            line = np.asarray(edge.line)
            steps = np.diff(line, axis=0)
            edge_of.append(np.full(len(steps), index))
            starts.append(line[:-1])
            vectors.append(steps)
            before.append(np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))[:-1]]))
        vector = np.vstack(vectors)
        squared = np.maximum(np.sum(vector**2, axis=1), 1e-12)
        return np.concatenate(edge_of), np.vstack(starts), vector, squared, np.concatenate(before)

    def _nearest(self, point: Point) -> OnStreet:
        edge_of, starts, vectors, squared, before = self._segments
        share = np.clip(np.sum((np.asarray(point) - starts) * vectors, axis=1) / squared, 0.0, 1.0)
        feet = starts + share[:, None] * vectors
        off = np.hypot(feet[:, 0] - point[0], feet[:, 1] - point[1])
        best = int(np.argmin(off))
        along_m = float(before[best] + share[best] * np.sqrt(squared[best]))
        return OnStreet(int(edge_of[best]), along_m, float(off[best]), (float(feet[best, 0]), float(feet[best, 1])))


def _inner(edge: Edge, start_m: float, end_m: float) -> list[Point]:
    """The bends of the edge between two places on it, in the order of the way."""
    low, high = min(start_m, end_m), max(start_m, end_m)
    at_m, found = 0.0, []
    for point, after in zip(edge.line, edge.line[1:], strict=False):
        if low < at_m < high:
            found.append(point)
        at_m += float(np.hypot(after[0] - point[0], after[1] - point[1]))
    return found if start_m <= end_m else found[::-1]


def _without_repeats(points: list[Point]) -> list[Point]:
    return [point for before, point in zip([None, *points], points, strict=False) if point != before]
