"""The stored town is a town: connected, planar, with water that only bridges cross, and every house is found."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop.town import Position, town
from shop.town.addresses import SET_BACK_M
from shop.town.data import Data, load
from shop.town.generate.__main__ import DATA, generated
from shop.town.generate.network import crossings
from shop.town.geometry import Plane, Point, length_m

TOWN = town()
HOUSES = [(street, number) for street in TOWN.streets() for number in TOWN.house_numbers(street)]
ROUNDING_M = 2
"""Lengths are whole metres: a sum of three is off by less than this."""
GPS_JITTER = 0.0003
MAX_FRONTAGE_M = 24
"""Between two neighbours: houses spread over their piece of the street."""


@pytest.fixture(scope="module")
def data() -> Data:
    return load()


def house(index: int) -> Position:
    street, number = HOUSES[index]
    position = TOWN.locate(f"{number} {street}")
    assert position is not None
    return position


houses = st.integers(0, len(HOUSES) - 1).map(house)
anywhere = st.builds(
    lambda position, lat, lon: Position(position.lat + lat, position.lon + lon),
    houses,
    st.floats(-GPS_JITTER, GPS_JITTER),
    st.floats(-GPS_JITTER, GPS_JITTER),
)


def test_the_stored_data_is_what_the_generator_makes() -> None:
    assert DATA.read_text(encoding="utf-8") == generated(), "run python -m shop.town.generate"


def test_the_town_has_the_size_that_was_asked_for(data: Data) -> None:
    assert 350 <= len(data.junctions) <= 500
    assert len(TOWN.streets()) == len(set(TOWN.streets())) > 100
    assert list(TOWN.streets()) == sorted(TOWN.streets())


def test_every_junction_can_be_reached_and_belongs_to_a_street(data: Data) -> None:
    assert np.isfinite(TOWN.distances_m(house(0))).all()
    assert {end for edge in data.edges for end in (edge.start, edge.end)} == set(range(len(data.junctions)))


def test_streets_meet_only_at_junctions(data: Data) -> None:
    lines = [np.asarray(edge.line) for edge in data.edges]
    for (one, first), (two, second) in combinations(zip(data.edges, lines, strict=True), 2):
        ends = [data.junctions[end] for end in {one.start, one.end} & {two.start, two.end}]
        for point, _ in crossings(first, second):
            assert any(math.dist(point, end) < 1 for end in ends), (one, two, point)


def test_no_two_edges_join_the_same_junctions(data: Data) -> None:
    pairs = [frozenset((edge.start, edge.end)) for edge in data.edges]
    assert len(set(pairs)) == len(pairs)
    assert all(len(pair) == 2 for pair in pairs)


def test_only_bridges_cross_the_river_and_every_bridge_does(data: Data) -> None:
    river = np.asarray(data.land.river_line)
    over = [any(True for _ in crossings(np.asarray(edge.line), river)) for edge in data.edges]
    assert over == [edge.bridge for edge in data.edges]
    assert over.count(True) >= 4
    assert not any(edge.houses for edge in data.edges if edge.bridge)


def test_a_street_is_one_line_and_its_house_numbers_go_on(data: Data) -> None:
    for street in data.streets:
        for before, edge in zip(street.edges, street.edges[1:], strict=False):
            assert before.end == edge.start, street.name
            assert edge.first == before.first + before.houses
        assert street.edges[0].first == 0


def test_every_house_is_found_on_its_own_street(data: Data) -> None:
    plane = data.plane
    lines = {street.name: [point for edge in street.edges for point in edge.line] for street in data.streets}
    for index, (street, _) in enumerate(HOUSES):
        assert distance_to(lines[street], plane.point(house(index))) < 9.5, HOUSES[index]
    assert len({house(index) for index in range(len(HOUSES))}) == len(HOUSES)


def distance_to(line: list[Point], point: Point) -> float:
    """Metres to the nearest straight part of the line."""
    points = np.asarray(line)
    steps = np.diff(points, axis=0)
    squared = np.maximum(np.sum(steps**2, axis=1), 1e-9)
    share = np.clip(np.sum((np.asarray(point) - points[:-1]) * steps, axis=1) / squared, 0, 1)
    return float(np.min(np.hypot(*(points[:-1] + share[:, None] * steps - point).T)))


@pytest.mark.parametrize(
    "line",
    [
        "12 Mill Lane",
        "Mill Lane 12",
        "  12   mill  LANE ",
        "12, Mill Ln.",
        "Mill-Lane 12",
        "12a Mill Láne",
        "12 B Mill Lane",
    ],
)
def test_a_street_line_is_read_in_either_order_and_forgivingly(line: str) -> None:
    assert TOWN.locate(line, " millbridge") == TOWN.locate("12 Mill Lane") != None  # noqa: E711


@pytest.mark.parametrize(
    "line",
    [
        "",
        "12",
        "Mill Lane",
        "0 Mill Lane",
        "9999 Mill Lane",
        "-1 Mill Lane",
        "12 Nowhere Lane",
        "1" * 500,
        "12 Mill Lane 12",
    ],
)
def test_what_is_no_address_of_the_town_is_not_found(line: str) -> None:
    assert TOWN.locate(line) is None


def test_an_address_of_another_town_is_not_found() -> None:
    assert TOWN.locate("12 Mill Lane", "Berlin") is None


@given(anywhere, anywhere)
@settings(max_examples=150, deadline=None)
def test_a_route_is_as_long_as_its_parts_and_runs_from_start_to_end(start: Position, end: Position) -> None:
    route = TOWN.route(start, end)
    plane = Plane(Position(51.9, -0.2))
    assert (route.points[0], route.points[-1]) == (start, end)
    assert route.length_m == pytest.approx(length_m([plane.point(point) for point in route.points]), abs=ROUNDING_M)
    assert route.length_m == TOWN.distance_m(start, end)


@given(anywhere, anywhere, anywhere)
@settings(max_examples=150, deadline=None)
def test_distances_are_symmetric_and_no_detour_is_shorter(a: Position, b: Position, c: Position) -> None:
    assert TOWN.distance_m(a, b) == TOWN.distance_m(b, a)
    assert TOWN.distance_m(a, c) <= TOWN.distance_m(a, b) + TOWN.distance_m(b, c) + ROUNDING_M


@given(houses)
@settings(max_examples=50, deadline=None)
def test_distances_from_all_junctions_are_those_of_the_routes(end: Position) -> None:
    distances = TOWN.distances_m(end)
    for junction in range(0, len(distances), 37):
        assert distances[junction] == pytest.approx(TOWN.route(TOWN.junctions[junction], end).length_m, abs=ROUNDING_M)


@given(houses)
@settings(max_examples=50, deadline=None)
def test_the_nearest_junction_is_the_nearest(position: Position) -> None:
    plane = Plane(Position(51.9, -0.2))
    off = [math.dist(plane.point(junction), plane.point(position)) for junction in TOWN.junctions]
    assert off[TOWN.nearest(position)] == pytest.approx(min(off), abs=0.1)


def test_neighbours_do_not_go_round_by_a_junction(data: Data) -> None:
    """But for a few at sharp corners, whose nearest street is the other one."""
    direct = []
    for street in data.streets:
        for edge in street.edges:
            one, two = (TOWN.locate(f"{2 * edge.first + number} {street.name}") for number in (1, 3))
            if edge.houses > 1 and one and two:
                direct.append(TOWN.distance_m(one, two) <= MAX_FRONTAGE_M + 2 * SET_BACK_M + ROUNDING_M)
    assert direct.count(True) > 0.95 * len(direct) > 500


def test_every_way_from_a_junction_leads_along_a_street_to_a_neighbour() -> None:
    junctions = set(TOWN.junctions)
    for number in range(len(TOWN.junctions)):
        ways = TOWN.ways_from(number)
        assert ways
        assert {way[-1] for way in ways} <= junctions - {TOWN.junctions[number]}
        for way in ways:
            back = TOWN.ways_from(TOWN.junctions.index(way[-1]))
            assert (*way[-2::-1], TOWN.junctions[number]) in back


def test_a_route_from_a_place_to_itself_has_no_length() -> None:
    assert TOWN.route(house(0), house(0)).length_m == 0


def test_addresses_and_the_map_need_neither_numpy_nor_scipy() -> None:
    code = (
        "import sys; from shop.town import town; town().locate('12 Mill Lane'); town().drawing().markup;"
        "sys.exit(sorted({'numpy', 'scipy'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
