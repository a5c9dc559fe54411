"""Write the town's data: `python -m shop.town.generate`; with `--check` only say whether it is fresh."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from shop.town.generate import land
from shop.town.generate.land import Line
from shop.town.generate.lines import all_ways
from shop.town.generate.naming import Street, streets
from shop.town.generate.network import Edge, Network, build, crossings, simplified

SEED = 7
NAME = "Millbridge"
ORIGIN = {"lat": 51.9, "lon": -0.2}
"""Of the market square: the middle of the plane that the data's metres are measured in."""
FRONTAGE_M = 12.0
"""Between neighbouring houses of one side."""
CORNER_M = 14.0
"""Without houses at each end of an edge."""
OUTLINE_TOLERANCE_M = 0.8
DATA = Path(__file__).parents[1] / "millbridge.json"


def generated() -> str:
    """The data as it is stored: one line for each street, junction and edge."""
    random = Random(SEED)
    ways = all_ways(random)
    network = build(ways)
    return _text(_data(network, streets(network, ways, random)))


def _data(network: Network, named: list[Street]) -> dict[str, Any]:
    used = sorted(network.at())
    number = {junction: i for i, junction in enumerate(used)}
    return {
        "name": NAME,
        "origin": ORIGIN,
        "width_m": land.WIDTH_M,
        "height_m": land.HEIGHT_M,
        "frontage_m": FRONTAGE_M,
        "corner_m": CORNER_M,
        "junctions": [_rounded(network.junctions[junction]) for junction in used],
        "streets": [_street(name, edges, number) for name, edges in named],
        "river": {"name": "River Mell", "line": _outline(land.RIVER), "outline": _outline(_river_outline())},
        "stream": _outline(land.STREAM),
        "lake": _outline(land.LAKE),
        "square": _outline(land.SQUARE),
        "parks": [{"name": name, "outline": _outline(outline)} for name, outline in land.PARKS.items()],
    }


def _street(name: str, edges: list[Edge], number: dict[int, int]) -> dict[str, Any]:
    """``houses`` of an edge are pairs of an odd and an even number, which count on along the street."""
    first, listed = 0, []
    for edge in edges:
        bridge = any(True for _ in crossings(edge.line, land.RIVER))
        houses = 0 if bridge else max(0, int((edge.length_m - 2 * CORNER_M) / FRONTAGE_M))
        inner = [_rounded(point) for point in edge.line[1:-1]]
        ends = {"from": number[edge.start], "to": number[edge.end]}
        listed.append({**ends, "first": first, "houses": houses, "bridge": bridge, "points": inner})
        first += houses
    return {"name": name, "rank": max(edge.rank for edge in edges), "edges": listed}


def _river_outline() -> Line:
    """Down the left bank and back up the right one."""
    left = land.RIVER + (land.offset(land.RIVER, 1) - land.RIVER) * land.RIVER_HALF_WIDTH_M[:, None]
    right = 2 * land.RIVER - left
    return np.vstack([left, right[::-1], left[:1]])


def _outline(line: Line) -> list[list[float]]:
    middle = len(line) // 2
    parts = simplified(line[: middle + 1], OUTLINE_TOLERANCE_M)[:-1], simplified(line[middle:], OUTLINE_TOLERANCE_M)
    return [_rounded(point) for part in parts for point in part]


def _rounded(point: Any) -> list[float]:
    return [round(float(value), 1) + 0.0 for value in point]


def _text(data: dict[str, Any]) -> str:
    """JSON with a line for each member of the long lists, so that a change shows as a short difference."""
    lines = []
    for key, value in data.items():
        if key in ("streets", "parks"):
            members = ",\n".join(json.dumps(member, separators=(",", ":")) for member in value)
            lines.append(f"{json.dumps(key)}: [\n{members}\n]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(arguments: list[str]) -> int:
    """0 when the stored data is what the generator makes, or was just written."""
    text = generated()
    if "--check" in arguments:
        return 0 if DATA.read_text(encoding="utf-8") == text else 1
    DATA.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
