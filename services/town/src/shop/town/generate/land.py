"""Where the water, the parks and the built-up area of the town lie. Metres from the market square, x east, y north."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Line = NDArray[np.float64]
"""Points of a polyline, shape (n, 2), in metres."""

WIDTH_M = 4000.0
HEIGHT_M = 3000.0
EDGE_M = 40.0
"""Roads that leave the town end this far inside the drawn area."""
RIVER_STEP_M = 20.0
RIVER_POINTS = [
    (-2300, 560),
    (-1750, 330),
    (-1300, 30),
    (-850, -60),
    (-450, -290),
    (0, -345),
    (420, -250),
    (800, -330),
    (1250, -620),
    (1700, -640),
    (2300, -820),
]
STREAM_POINTS = [(900, 640), (960, 330), (870, 60), (940, -170), (1030, -450)]
"""From the lake to the river, too narrow to hold streets up."""


def smooth(points: Sequence[tuple[float, float]], step_m: float) -> Line:
    """A Catmull-Rom curve through the points, with a point about every ``step_m``."""
    given = np.asarray(points, dtype=float)
    padded = np.vstack([2 * given[0] - given[1], given, 2 * given[-1] - given[-2]])
    parts = []
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        steps = max(2, round(float(np.hypot(*(end - start))) / step_m))
        t = np.linspace(0, 1, steps, endpoint=False)[:, None]
        parts.append(
            0.5
            * (
                2 * start
                + (end - before) * t
                + (2 * before - 5 * start + 4 * end - after) * t**2
                + (3 * start - before - 3 * end + after) * t**3
            )
        )
    return np.vstack([*parts, given[-1:]])


def blob(x: float, y: float, radius_x: float, radius_y: float, turn: float, wobble: float, phase: float) -> Line:
    """A closed outline like an ellipse with a few dents; its last point is its first."""
    t = np.linspace(0, 2 * math.pi, 49)
    r = 1 + wobble * (0.6 * np.sin(2 * t + phase) + 0.4 * np.sin(3 * t + 2.3 * phase) + 0.2 * np.sin(5 * t - phase))
    px, py = r * radius_x * np.cos(t), r * radius_y * np.sin(t)
    cos, sin = math.cos(turn), math.sin(turn)
    return np.column_stack([x + cos * px - sin * py, y + sin * px + cos * py])


def inside(outline: Line, x: float, y: float) -> bool:
    """Whether the point lies in the closed outline (even-odd rule)."""
    x1, y1 = outline[:-1, 0], outline[:-1, 1]
    x2, y2 = outline[1:, 0], outline[1:, 1]
    spans = (y1 > y) != (y2 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = x1 + (y - y1) / (y2 - y1) * (x2 - x1)
    return bool(np.count_nonzero(spans & (x < crossing)) % 2)


def nearest_m(line: Line, x: float, y: float) -> float:
    """Metres to the nearest point of a densely sampled line."""
    return float(np.sqrt(np.min((line[:, 0] - x) ** 2 + (line[:, 1] - y) ** 2)))


def offset(line: Line, by_m: float) -> Line:
    """The line moved to its left by so many metres."""
    along = np.gradient(line, axis=0)
    normal = np.column_stack([-along[:, 1], along[:, 0]]) / np.hypot(along[:, 0], along[:, 1])[:, None]
    return line + by_m * normal


def _half_width_m(line: Line) -> NDArray[np.float64]:
    return 27 + 7 * np.sin(np.arange(len(line)) / 9.0) + 0.004 * (line[:, 0] + 2000)


RIVER = smooth(RIVER_POINTS, RIVER_STEP_M)
"""The middle of the river, downstream."""
RIVER_HALF_WIDTH_M = _half_width_m(RIVER)
LAKE = blob(905, 690, 150, 95, 0.5, 0.16, 1.1)
STREAM = smooth(STREAM_POINTS, 15)
PARKS: dict[str, Line] = {
    "Lake Park": blob(890, 680, 270, 225, 0.35, 0.10, 0.4),
    "Abbey Gardens": blob(-235, 165, 92, 66, 0.5, 0.12, 2.0),
    "West Common": blob(-1270, 420, 240, 150, -0.5, 0.14, 0.9),
    "Mill Meadow": blob(190, -462, 140, 56, 0.16, 0.10, 3.0),
    "Southfields": blob(-760, -800, 190, 140, 0.3, 0.13, 1.7),
    "Eastwood": blob(1560, 30, 190, 260, 0.3, 0.14, 2.6),
}
SQUARE = blob(0, 0, 58, 40, 0.2, 0.05, 0.7)
"""The market square, which the roads out of the town start from."""
TOWN = blob(-20, -20, 1660, 1180, 0.03, 0.07, 0.6)
"""Within it streets are laid out; only main roads go on to the edge of the map."""


def blocked(x: float, y: float) -> bool:
    """Whether a street cannot lie here: water with its banks, or a park."""
    return nearest_m(RIVER, x, y) < 62 or any(inside(park, x, y) for park in PARKS.values())
