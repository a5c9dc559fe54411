"""The lines that streets are laid along: main roads by hand, the rest traced through a field of directions.

Side streets follow a direction field (along or across) that bends round the old town, turns with the river and is
straighter in the outer quarters; a line keeps its distance from others of its family and ends at a cross street.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np

from shop.town.generate import land
from shop.town.generate.land import Line

ALONG, ACROSS = 0, 1
"""The two families: round the centre or along the river, and away from them."""
STEP_M = 8.0
QUAY_M = 78
"""From the middle of the river to the streets on its banks."""
MIN_LINE_M = 75.0
SEED_TRIES = 6_000
QUARTERS = (
    (60, 60, 0.2),
    (-1000, 800, 0.45),
    (1250, 900, -0.3),
    (-1250, -500, -0.25),
    (900, -900, 0.6),
    (0, -1000, 0.1),
)
"""Quarters with straighter streets: the centre of each, and the direction of its streets in radians."""
QUARTER_RADIUS_M = 520.0
OLD_TOWN_RADIUS_M = 420.0


@dataclass
class Way:
    """A line of a future street; ``rank`` is 3 for a main road, 2 for a secondary one, 1 for a side street.

    ``name`` is empty where `naming` chooses it.
    """

    line: Line
    family: int
    rank: int
    name: str = ""


MAIN_ROADS: list[tuple[str, int, list[tuple[float, float]]]] = [
    ("North Road", 3, [(0, 0), (60, 300), (20, 580), (120, 1000), (160, 1470)]),
    ("Eastgate", 3, [(0, 0), (330, 60), (560, 120), (1000, 180), (1270, 350), (1560, 420), (1970, 500)]),
    ("Lake Road", 2, [(60, 300), (240, 400), (430, 560), (540, 860), (780, 1060), (1080, 1470)]),
    ("Bridge Street", 3, [(0, 0), (150, -150), (300, -290), (480, -480), (800, -760), (1100, -1000), (1420, -1470)]),
    ("High Street", 3, [(0, 0), (-60, -180), (-80, -340), (-70, -620), (-150, -1000), (-60, -1470)]),
    ("Weir Road", 2, [(0, 0), (-280, -120), (-500, -270), (-720, -500), (-1040, -720), (-1500, -900), (-1970, -1020)]),
    ("Westgate", 3, [(0, 0), (-300, 40), (-560, 90), (-930, 150), (-1250, 215), (-1600, 400), (-1970, 660)]),
    ("Chapel Hill", 2, [(0, 0), (-80, 200), (-260, 400), (-560, 730), (-900, 1080), (-1180, 1470)]),
]
LOOPS: list[tuple[str, int, list[tuple[float, float]]]] = [
    ("Old Wall Road", 3, [
        (540, -20), (470, 300), (240, 510), (0, 575), (-260, 520), (-470, 330), (-545, 0), (-500, -270), (-390, -480),
        (-230, -610), (0, -640), (240, -600), (430, -450), (515, -240),
    ]),
    ("Parkway", 2, [
        (120, 1000), (-380, 980), (-800, 830), (-990, 500), (-940, 150), (-900, -60), (-980, -380), (-1040, -720),
        (-900, -990), (-500, -1050), (-150, -1000), (350, -1000), (800, -1010), (1080, -900), (1215, -620),
        (1310, -330), (1270, 20), (1270, 350), (1325, 720), (1130, 1010), (740, 1050), (400, 1060),
    ]),
]  # fmt: skip


def main_ways() -> list[Way]:
    """Roads out of the town, the two rings, the quays and the road round the lake's park."""
    ways = [Way(_from_square(land.smooth(points, STEP_M)), ACROSS, rank, name) for name, rank, points in MAIN_ROADS]
    ways += [Way(_closed(points), ALONG, rank, name) for name, rank, points in LOOPS]
    ways += [
        Way(land.blob(890, 680, 312, 266, 0.35, 0.10, 0.4), ALONG, 1, "Lakeside"),
        Way(land.SQUARE, ALONG, 2, "Market Square"),
    ]
    for name, side_m in (("North Quay", QUAY_M), ("South Quay", -QUAY_M)):
        ways += [Way(part, ALONG, 2, name) for part in _outside_parks(land.offset(land.RIVER, side_m), -1150, 1290)]
    return ways


def _from_square(line: Line) -> Line:
    """The line without the part that lies on the market square, but for a few metres to cross its edge."""
    on_square = [land.inside(land.SQUARE, x, y) for x, y in line]
    return line[max(0, on_square.count(True) - 1) :] if on_square[0] else line


def _closed(points: list[tuple[float, float]]) -> Line:
    """A smooth closed line: the first points are run through again and the doubled part cut off."""
    round_twice = land.smooth([*points, *points[:3]], STEP_M)
    start = len(land.smooth(points[:2], STEP_M)) - 1
    curve = round_twice[start:]
    first = curve[0]
    ends = np.hypot(*(curve[50:] - first).T)
    return np.vstack([curve[: 50 + int(np.argmin(ends))], first])


def _outside_parks(line: Line, west: float, east: float) -> list[Line]:
    parts: list[list[tuple[float, float]]] = [[]]
    for x, y in line:
        if west < x < east and not any(land.inside(park, x, y) for park in land.PARKS.values()):
            parts[-1].append((x, y))
        elif parts[-1]:
            parts.append([])
    return [np.asarray(part) for part in parts if len(part) > 5]


class Field:
    """The direction of the family `ALONG` at every point."""

    def __init__(self, random: Random) -> None:
        self._phases = [random.uniform(0, 2 * math.pi) for _ in range(6)]
        self._river = np.arctan2(*np.gradient(land.RIVER, axis=0).T[::-1])

    def direction(self, x: float, y: float, family: int) -> float:
        """Radians from east."""
        distance = math.hypot(x, y)
        round_centre = math.atan2(y, x) + math.pi / 2
        parts = [
            (
                1.2 * math.exp(-((distance / 800) ** 2)) * (1 - 0.6 * math.exp(-((distance / 260) ** 2))) + 0.2,
                round_centre,
            )
        ]
        for centre_x, centre_y, angle in QUARTERS:
            off = math.hypot(x - centre_x, y - centre_y)
            parts.append((1.5 * math.exp(-((off / QUARTER_RADIUS_M) ** 2)), angle))
        squared = (land.RIVER[:, 0] - x) ** 2 + (land.RIVER[:, 1] - y) ** 2
        nearest = int(np.argmin(squared))
        parts.append((1.8 * math.exp(-float(squared[nearest]) / 190**2), float(self._river[nearest])))
        angle = 0.5 * math.atan2(
            sum(weight * math.sin(2 * part) for weight, part in parts),
            sum(weight * math.cos(2 * part) for weight, part in parts),
        )
        return angle + self._unevenness(x, y, distance) + (math.pi / 2 if family == ACROSS else 0)

    def _unevenness(self, x: float, y: float, distance: float) -> float:
        a, b, c, d, e, f = self._phases
        wave = math.sin(x / 170 + a) * math.cos(y / 150 + b) + 0.6 * math.sin((x + y) / 110 + c) * math.cos(y / 95 + d)
        slow = math.sin(x / 430 + e) * math.cos(y / 390 + f)
        return 0.13 * slow + wave * (0.05 + 0.24 * math.exp(-((distance / OLD_TOWN_RADIUS_M) ** 2)))


def spacing_m(x: float, y: float, family: int) -> float:
    """How far apart two neighbours of a family lie: closer in the old town, wider outside."""
    distance = math.hypot(x, y * 1.15)
    return (66 if family == ALONG else 74) + 44 * min(1.0, max(0.0, (distance - 250) / 800))


class Tracer:
    """Lays side streets between the main roads until no place is left."""

    def __init__(self, random: Random, ways: list[Way]) -> None:
        self._random, self._field = random, Field(random)
        self.ways = ways
        self._points: list[Line] = [self._of(family) for family in (ALONG, ACROSS)]

    def _of(self, family: int) -> Line:
        lines = [resample(way.line, STEP_M) for way in self.ways if way.family == family]
        return np.vstack(lines) if lines else np.empty((0, 2))

    def run(self) -> None:
        for attempt in range(SEED_TRIES):
            reach = 0.35 + 0.65 * min(1.0, attempt / (0.5 * SEED_TRIES))  # the old town first
            x = self._random.uniform(-land.WIDTH_M / 2, land.WIDTH_M / 2) * reach
            y = self._random.uniform(-land.HEIGHT_M / 2, land.HEIGHT_M / 2) * reach
            family = attempt % 2
            if self._free(x, y, family, 1.0):
                self._trace(x, y, family)

    def _free(self, x: float, y: float, family: int, share: float) -> bool:
        near = land.nearest_m(self._points[family], x, y)
        return near > share * spacing_m(x, y, family) and land.inside(land.TOWN, x, y) and not land.blocked(x, y)

    def _trace(self, x: float, y: float, family: int) -> None:
        limit_m = self._random.uniform(260, 1000)
        ahead = self._walk(x, y, family, 1, limit_m / 2)
        back = self._walk(x, y, family, -1, limit_m / 2)
        line = np.asarray([*reversed(back), (x, y), *ahead])
        if len(line) * STEP_M >= MIN_LINE_M:
            self.ways.append(Way(line, family, 1))
            self._points[family] = np.vstack([self._points[family], line])

    def _walk(self, x: float, y: float, family: int, sign: int, limit_m: float) -> list[tuple[float, float]]:
        heading = self._field.direction(x, y, family) + (0 if sign > 0 else math.pi)
        points: list[tuple[float, float]] = []
        while len(points) * STEP_M < limit_m:
            middle = self._turned(
                x + STEP_M / 2 * math.cos(heading), y + STEP_M / 2 * math.sin(heading), family, heading
            )
            x, y, heading = x + STEP_M * math.cos(middle), y + STEP_M * math.sin(middle), middle
            if not self._free(x, y, family, 0.6):
                break
            points.append((x, y))
        return points

    def _turned(self, x: float, y: float, family: int, heading: float) -> float:
        """The field's direction there, of its two senses the one nearer to the heading."""
        angle = self._field.direction(x, y, family)
        return angle if math.cos(angle - heading) >= 0 else angle + math.pi


def resample(line: Line, step_m: float) -> Line:
    """The same line with a point about every ``step_m``."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    at = np.linspace(0, along[-1], max(2, round(float(along[-1]) / step_m) + 1))
    return np.column_stack([np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1])])


def all_ways(random: Random) -> list[Way]:
    """Main roads and side streets, not yet joined."""
    ways = main_ways()
    tracer = Tracer(random, ways)
    tracer.run()
    return tracer.ways
