"""The order of the policies in a small simulation; docs/balancing.md has the large one."""

from __future__ import annotations

import pytest

from tests.load.balancing_picture import picture
from tests.load.balancing_simulation import PICTURE, SCENARIOS, Result, compare, table

SIZE = 10
REQUESTS = 6_000


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Result]]:
    return {scenario: compare(scenario, SIZE, max_requests=REQUESTS) for scenario in SCENARIOS}


def test_unequal_instances_are_used_by_their_speed(results: dict[str, dict[str, Result]]) -> None:
    found = results["unequal speeds"]
    assert found["ours"].p99_ms < 1.2 * found["least requests"].p99_ms
    assert 5 * found["ours"].p99_ms < min(found["round robin"].p99_ms, found["random"].p99_ms)


def test_a_slow_instance_gets_little(results: dict[str, dict[str, Result]]) -> None:
    found = results["one instance 200 ms slower"]
    assert found["ours"].at_ill < found["least requests"].at_ill < 0.02 < found["round robin"].at_ill


def test_an_instance_that_fails_fast_does_not_attract_requests(results: dict[str, dict[str, Result]]) -> None:
    found = results["one instance fails at once"]
    assert found["ours"].failed < 0.005 < found["round robin"].failed < found["least requests"].failed


def test_the_picture_in_the_documents_has_every_scenario(results: dict[str, dict[str, Result]]) -> None:
    everything = [one for found in results.values() for one in found.values()]
    assert len(list(table(everything))) == 2 + len(everything)
    larger = [Result(one.scenario, 2 * SIZE, one.policy, one.p50_ms, one.p99_ms, 0.0, 0.0) for one in everything]
    drawn = picture([each for pair in zip(everything, larger, strict=True) for each in pair])
    for scenario in SCENARIOS:
        assert scenario in drawn
        assert scenario in PICTURE.read_text(encoding="utf-8")
