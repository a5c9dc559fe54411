"""Joins the lines of `lines` into a street network: junctions where lines meet, and edges that cross nothing."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from shop.town.generate import land
from shop.town.generate.land import Line
from shop.town.generate.lines import STEP_M, Way, resample, spacing_m

MERGE_M = 24.0
"""Junctions nearer than this become one."""
REACH_SPACINGS = 1.5
"""A line's end goes on at most this many spacings to meet a cross street."""
OVERSHOOT_M = 3.0
MIN_DEAD_END_M = 70.0
MIN_GAP_M = 40.0
"""Between the end of a dead end and another street."""
MIN_ANGLE = math.radians(24)
"""Two edges leave a junction at least this far apart."""
SIMPLIFY_M = 1.2
Point = tuple[float, float]


@dataclass
class Edge:
    """Between junctions ``start`` and ``end`` along ``line``, whose ends they are; ``way`` is the index of its line."""

    start: int
    end: int
    line: Line
    way: int
    rank: int

    @property
    def length_m(self) -> float:
        return float(np.sum(np.hypot(*np.diff(self.line, axis=0).T)))

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """West, south, east and north end; ``line`` never changes."""
        (west, south), (east, north) = self.line.min(axis=0).tolist(), self.line.max(axis=0).tolist()
        return west, south, east, north

    def near(self, box: tuple[float, float, float, float], within_m: float) -> bool:
        """Whether its own box comes so near to the other one."""
        return (
            self.box[0] <= box[2] + within_m
            and self.box[2] >= box[0] - within_m
            and self.box[1] <= box[3] + within_m
            and self.box[3] >= box[1] - within_m
        )

    def other(self, junction: int) -> int:
        return self.end if junction == self.start else self.start

    def heading(self, junction: int) -> float:
        """The direction in which it leaves the junction, in radians, measured over its first 25 m."""
        line = self.line if junction == self.start else self.line[::-1]
        near = next((p for p in line[1:] if math.dist(p, line[0]) > 25), line[-1])
        return math.atan2(near[1] - line[0][1], near[0] - line[0][0])


@dataclass
class Network:
    junctions: dict[int, Point]
    edges: list[Edge] = field(default_factory=list)

    def at(self) -> dict[int, list[Edge]]:
        """The edges of each junction."""
        found: dict[int, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            found[edge.start].append(edge)
            found[edge.end].append(edge)
        return found

    def degree(self) -> dict[int, int]:
        """How many edges each junction has."""
        return {junction: len(edges) for junction, edges in self.at().items()}


def build(ways: list[Way]) -> Network:
    """The connected network of the ways, without short dead ends."""
    for way in ways:
        way.line = resample(way.line, STEP_M)
    for way in ways:
        way.line = _joined_ends(way, ways)
    network = _cut(ways, _meetings(ways))
    _drop_doubles(network)
    _drop_crossing(network)
    _drop_sharp(network)
    _prune(network)
    _keep_largest(network)
    _dissolve(network)
    return network


def _joined_ends(way: Way, ways: list[Way]) -> Line:
    """The way's line, each open end of it extended to the next street ahead where one is near."""
    line = way.line
    if math.dist(line[0], line[-1]) < 1:
        return line
    for _ in range(2):
        line = line[::-1]
        end, before = line[-1], line[max(-4, -len(line))]
        direction = (end - before) / max(1e-9, math.dist(end, before))
        reach = REACH_SPACINGS * spacing_m(end[0], end[1], way.family)
        target = end + direction * reach
        hits = [
            hit
            for other in ways
            if other is not way
            for hit, _ in crossings(np.vstack([end - direction * STEP_M, target]), other.line)
        ]
        ahead = [hit for hit in hits if np.dot(np.subtract(hit, end), direction) > 0]
        if len(ahead) != len(hits) or not ahead:
            continue
        hit = np.asarray(min(ahead, key=lambda point: math.dist(point, end)))
        middle = (hit + end) / 2
        if not land.blocked(middle[0], middle[1]):
            line = np.vstack([line, hit + direction * OVERSHOOT_M])
    return line


def crossings(one: Line, other: Line) -> Iterator[tuple[Point, tuple[float, float]]]:
    """Points where two polylines cross, with the place along each (index of the segment plus a share of it)."""
    if (other.max(axis=0) < one.min(axis=0)).any() or (other.min(axis=0) > one.max(axis=0)).any():
        return
    p, r = one[:-1, None], np.diff(one, axis=0)[:, None]
    q, s = other[None, :-1], np.diff(other, axis=0)[None]
    cross = r[..., 0] * s[..., 1] - r[..., 1] * s[..., 0]
    gap = q - p
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (gap[..., 0] * s[..., 1] - gap[..., 1] * s[..., 0]) / cross
        u = (gap[..., 0] * r[..., 1] - gap[..., 1] * r[..., 0]) / cross
    for i, j in zip(*np.nonzero((t >= 0) & (t < 1) & (u >= 0) & (u < 1)), strict=True):
        x, y = one[i] + t[i, j] * (one[i + 1] - one[i])
        yield (float(x), float(y)), (float(i + t[i, j]), float(j + u[i, j]))


def _meetings(ways: list[Way]) -> dict[int, list[tuple[float, Point]]]:
    """For each way the places along it where it meets another, and its two ends."""
    places: dict[int, list[tuple[float, Point]]] = {
        i: [(0.0, _point(way.line[0])), (len(way.line) - 1.0, _point(way.line[-1]))] for i, way in enumerate(ways)
    }
    for i, way in enumerate(ways):
        for j in range(i + 1, len(ways)):
            for point, (along, across) in crossings(way.line, ways[j].line):
                places[i].append((along, point))
                places[j].append((across, point))
    return places


def _point(xy: Line) -> Point:
    return float(xy[0]), float(xy[1])


def _cut(ways: list[Way], places: dict[int, list[tuple[float, Point]]]) -> Network:
    """Edges between the meeting places; places that lie close together are one junction."""
    points = sorted({point for found in places.values() for _, point in found})
    junction_of, junctions = _merged(points)
    network = Network(junctions)
    for i, way in enumerate(ways):
        stops = sorted(places[i])
        for (before, first), (after, second) in itertools.pairwise(stops):
            start, end = junction_of[first], junction_of[second]
            between = way.line[math.floor(before) + 1 : math.ceil(after)]
            if start == end and len(between) * STEP_M < 3 * MERGE_M:
                continue
            ends = np.asarray(junctions[start]), np.asarray(junctions[end])
            inner = [p for p in between if min(math.dist(p, ends[0]), math.dist(p, ends[1])) > MERGE_M]
            line = simplified(np.asarray([ends[0], *inner, ends[1]]), SIMPLIFY_M)
            network.edges.append(Edge(start, end, line, i, way.rank))
    return network


def _merged(points: Sequence[Point]) -> tuple[dict[Point, int], dict[int, Point]]:
    group = list(range(len(points)))

    def root(i: int) -> int:
        while group[i] != i:
            i = group[i]
        return i

    for i, point in enumerate(points):
        for j in range(i):
            if abs(points[j][0] - point[0]) < MERGE_M and math.dist(points[j], point) < MERGE_M:
                group[root(j)] = root(i)
    members: dict[int, list[Point]] = defaultdict(list)
    for i, point in enumerate(points):
        members[root(i)].append(point)
    centres = {
        i: (sum(x for x, _ in found) / len(found), sum(y for _, y in found) / len(found))
        for i, found in members.items()
    }
    return {point: root(i) for i, point in enumerate(points)}, centres


def _drop_doubles(network: Network) -> None:
    """Of two edges between the same junctions the better stays, and none leads back to where it began."""
    best: dict[tuple[int, int], Edge] = {}
    for edge in network.edges:
        key = (min(edge.start, edge.end), max(edge.start, edge.end))
        if edge.start != edge.end and (
            key not in best or (best[key].rank, -best[key].length_m) < (edge.rank, -edge.length_m)
        ):
            best[key] = edge
    network.edges = list(best.values())


def _drop_crossing(network: Network) -> None:
    """Merging junctions moves ends a little: an edge that now crosses a better one goes."""
    kept: list[Edge] = []
    for edge in sorted(network.edges, key=lambda edge: (-edge.rank, -edge.length_m)):
        if not any(_cross(edge, other) for other in kept):
            kept.append(edge)
    network.edges = kept


def _cross(one: Edge, other: Edge) -> bool:
    if not one.near(other.box, 0):
        return False
    shared = [
        end
        for end in (one.line[0], one.line[-1])
        if any(math.dist(end, o) < 1e-6 for o in (other.line[0], other.line[-1]))
    ]
    return any(all(math.dist(point, end) > 1e-3 for end in shared) for point, _ in crossings(one.line, other.line))


def _drop_sharp(network: Network) -> None:
    """Of two edges that leave a junction nearly in one direction the lesser goes."""
    dropped: set[int] = set()
    for junction, edges in network.at().items():
        ranked = sorted(edges, key=lambda edge: (-edge.rank, -edge.length_m))
        for i, edge in enumerate(ranked):
            close = (better for better in ranked[:i] if id(better) not in dropped)
            if any(_angle(edge.heading(junction), better.heading(junction)) < MIN_ANGLE for better in close):
                dropped.add(id(edge))
    network.edges = [edge for edge in network.edges if id(edge) not in dropped]


def _angle(one: float, other: float) -> float:
    return abs((one - other + math.pi) % (2 * math.pi) - math.pi)


def _prune(network: Network) -> None:
    """Dead ends that are short or stop just before another street go, again and again."""
    while True:
        degree = network.degree()
        kept = [edge for edge in network.edges if not _useless(edge, degree, network)]
        if len(kept) == len(network.edges):
            return
        network.edges = kept


def _useless(edge: Edge, degree: dict[int, int], network: Network) -> bool:
    ends = [end for end in (edge.start, edge.end) if degree[end] == 1]
    if not ends:
        return False
    x, y = network.junctions[ends[0]]
    near = [other for other in network.edges if other is not edge and other.near((x, y, x, y), MIN_GAP_M)]
    others = (resample(other.line, STEP_M) for other in near)
    return edge.length_m < MIN_DEAD_END_M or any(land.nearest_m(line, x, y) < MIN_GAP_M for line in others)


def _keep_largest(network: Network) -> None:
    at, seen, best = network.at(), set[int](), set[int]()
    for first in at:
        if first in seen:
            continue
        part, queue = {first}, [first]
        while queue:
            for edge in at[junction := queue.pop()]:
                if (other := edge.other(junction)) not in part:
                    part.add(other)
                    queue.append(other)
        seen |= part
        best = max(best, part, key=len)
    network.edges = [edge for edge in network.edges if edge.start in best]


def _dissolve(network: Network) -> None:
    """A junction of two edges of one way is none: the two become one."""
    for junction, edges in sorted(network.at().items()):
        current = [edge for edge in network.edges if junction in (edge.start, edge.end)]
        if len(edges) != 2 or len(current) != 2 or current[0].way != current[1].way:
            continue
        one, two = current
        start, end = one.other(junction), two.other(junction)
        if start == end or any({edge.start, edge.end} == {start, end} for edge in network.edges):
            continue
        first = one.line if one.end == junction else one.line[::-1]
        second = two.line if two.start == junction else two.line[::-1]
        network.edges = [edge for edge in network.edges if edge is not one and edge is not two]
        network.edges.append(Edge(start, end, np.vstack([first, second[1:]]), one.way, max(one.rank, two.rank)))


def simplified(line: Line, tolerance_m: float) -> Line:
    """The polyline without points that lie nearer than the tolerance to the rest (Douglas-Peucker)."""
    if len(line) < 3:
        return line
    start, end = line[0], line[-1]
    chord = end - start
    length = float(np.hypot(*chord))
    if length < 1e-9:
        off = np.hypot(*(line - start).T)
    else:
        off = np.abs(chord[0] * (line[:, 1] - start[1]) - chord[1] * (line[:, 0] - start[0])) / length
    worst = int(np.argmax(off))
    if off[worst] <= tolerance_m:
        return np.vstack([start, end])
    return np.vstack([simplified(line[: worst + 1], tolerance_m)[:-1], simplified(line[worst:], tolerance_m)])
