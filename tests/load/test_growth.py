"""The growth tool: which sizes it takes, where it stops, and what it draws."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.load import growth, growth_fill, growth_picture


def test_sizes_are_taken_in_order_and_within_limits() -> None:
    assert growth.arguments(["--orders", "1e5,10000"]).orders == (10_000, 100_000)
    for refused in ("0", str(10 * growth_fill.MAX_ORDERS)):
        with pytest.raises(SystemExit):
            growth.arguments(["--orders", refused])
    with pytest.raises(SystemExit):
        growth.arguments(["--what", "weather"])


def test_a_disk_that_is_too_small_is_not_filled(tmp_path: Path) -> None:
    growth.require_space(tmp_path, 1)
    with pytest.raises(SystemExit, match="GiB left"):
        growth.require_space(tmp_path, 1 << 60)


def test_orders_older_than_any_history_need_less_space() -> None:
    with_history = growth_fill.bytes_of_orders(growth_fill.WITH_HISTORY)
    assert growth_fill.bytes_of_orders(100_000) * 10 == with_history
    older = growth_fill.bytes_of_orders(2 * growth_fill.WITH_HISTORY) - with_history
    assert 0 < older < with_history


def test_a_picture_has_a_line_for_each_figure_and_what_limits() -> None:
    rates = [{"cores": 1, "sustained_per_s": 120.0}, {"cores": 2, "sustained_per_s": 230.0}]
    (drawn,) = growth_picture.pictures({"cores": {"speed": {}, "found": rates}}).values()
    root = ET.fromstring(drawn)
    texts = [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "everything and the load generator: 120, 230" in texts
    assert set(growth_picture.PANELS["cores"].notes) <= set(texts)
    first, second = root.iter("{http://www.w3.org/2000/svg}circle")
    assert float(first.attrib["cx"]) < float(second.attrib["cx"])
    assert float(first.attrib["cy"]) > float(second.attrib["cy"])


def test_a_figure_that_is_missing_leaves_a_gap() -> None:
    found: list[growth_picture.Json] = [
        {"orders": 10, "removal_of_1000_ms": 5.0},
        {"orders": 100, "removal_of_1000_ms": None},
    ]
    drawn = growth_picture.picture(growth_picture.PANELS["orders"], found)
    assert "removing 1,000 histories: 5, -" in drawn
