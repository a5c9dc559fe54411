"""The map: well-formed SVG without inline styles, names on it that do not overlap, and the parts that are asked for."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import pytest

from shop.town import Position, town

TOWN = town()
DRAWING = TOWN.drawing()
SVG = "{http://www.w3.org/2000/svg}"
MAX_SHAPES_BYTES = 40_000


def parsed(inner: str) -> ElementTree.Element:
    return ElementTree.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{DRAWING.view_box}">{inner}</svg>')


def home(line: str) -> Position:
    position = TOWN.locate(line)
    assert position is not None
    return position


def test_it_is_svg_without_inline_styles_or_scripts() -> None:
    picture = parsed(DRAWING.markup)
    assert not [
        node.tag for node in picture.iter() if "style" in node.attrib or node.tag in (f"{SVG}style", f"{SVG}script")
    ]
    assert len(DRAWING.shapes.encode()) < MAX_SHAPES_BYTES


def test_every_class_that_is_used_has_a_rule() -> None:
    used = {name for node in parsed(DRAWING.markup).iter() for name in node.get("class", "").split()}
    assert used - set(re.findall(r"\.([a-z-]+)", DRAWING.style)) == {"town-secondary-name"}, "as the group's text"
    assert "prefers-color-scheme: dark" in DRAWING.style


def test_every_reference_leads_to_a_path() -> None:
    picture = parsed(DRAWING.markup)
    ids = [node.get("id") for node in picture.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    assert {node.get("href", "#")[1:] for node in picture.iter() if node.get("href")} <= set(ids)


def test_streets_water_parks_and_bridges_are_drawn() -> None:
    classes = {node.get("class") for node in parsed(DRAWING.shapes).iter()}
    assert {
        "town-side",
        "town-main",
        "town-secondary",
        "town-water",
        "town-park",
        "town-bridge",
        "town-square",
    } <= classes


@pytest.mark.parametrize("metres_per_pixel", [1.5, 4, 10])
def test_the_closer_the_map_the_more_names_and_the_main_roads_always(metres_per_pixel: float) -> None:
    names = DRAWING.names(metres_per_pixel)
    assert {"High Street", "River Mell"} <= set(re.findall(r">([^<>]+)</text", names.replace("</textPath>", "")))
    assert names.count("<text ") >= DRAWING.names(metres_per_pixel * 2).count("<text ") > 0


def test_names_do_not_lie_on_each_other() -> None:
    size = float(parsed(DRAWING.names(4))[0].get("font-size", "0"))
    lines = [numbers_of(node) for node in parsed(DRAWING.names(4)).iter(f"{SVG}path")]
    middles = [line[2:-2] for line in lines]
    assert size
    assert len(middles) > 20
    for one, two in combinations(middles, 2):
        assert min(math.dist(a, b) for a in one for b in two) > size


def numbers_of(node: ElementTree.Element) -> list[tuple[float, float]]:
    """The points of a path."""
    numbers = [float(number) for number in re.findall(r"-?\d+", node.get("d", ""))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_names_read_from_left_to_right() -> None:
    for node in parsed(DRAWING.names(4)).iter(f"{SVG}path"):
        points = numbers_of(node)
        assert points[-1][0] >= points[0][0], node.get("d")


def test_a_position_is_projected_into_the_view_box_with_north_up() -> None:
    square = DRAWING.project(Position(51.9, -0.2))
    north = DRAWING.project(Position(51.901, -0.2))
    east = DRAWING.project(Position(51.9, -0.199))
    assert square == pytest.approx((2000, 1500))
    assert north[0] == pytest.approx(square[0])
    assert square[1] - north[1] == pytest.approx(111.2, abs=0.2), "metres"
    assert east[0] - square[0] == pytest.approx(68.6, abs=0.2)


def test_a_frame_shows_all_positions_with_a_margin_in_its_proportions() -> None:
    positions = [home("4 Bridge Street"), home("20 Medlar Avenue")]
    left, top, width, height = DRAWING.frame(positions, aspect=1.5)
    assert width / height == pytest.approx(1.5, abs=0.01)
    for x, y in map(DRAWING.project, positions):
        assert left + 0.05 * width < x < left + 0.95 * width
        assert top + 0.05 * height < y < top + 0.95 * height


def test_a_frame_of_one_position_still_shows_streets_around_it() -> None:
    assert DRAWING.frame([home("4 Bridge Street")])[2] == 700
