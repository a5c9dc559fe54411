"""Each line of a log has a stable event name, given where it is written."""

from __future__ import annotations

import json
import re

import pytest

from tests.architecture.source import ROOT
from tests.telemetry import log_lines
from tests.telemetry.log_events import COMPUTED, log_calls

SOURCES = sorted(path for path in (ROOT / "services").glob("*/src/**/*.py") if "devkit" not in path.parts)
CALLS = [call for path in SOURCES for call in log_calls(path)]
NAME = re.compile(r"[a-z]+(_[a-z]+)*_?\*?|\*")
OWN_NAMES = {
    ("payment", "refunds.py"),  # how a refund ended
    ("restaurant", "service.py"),  # what was done to a restaurant
}
"""Where a name is an argument of the function around the call."""


def test_there_are_log_calls() -> None:
    assert len(CALLS) > 70


def test_each_log_call_names_its_event() -> None:
    unnamed = [f"{call.path}:{call.line}: {call.event!r}" for call in CALLS if not NAME.fullmatch(call.event)]
    assert unnamed == []


def test_a_name_is_written_where_it_is_used() -> None:
    computed = {(call.path.parts[-2], call.path.name) for call in CALLS if call.event == COMPUTED}
    assert computed == OWN_NAMES


@pytest.mark.parametrize(
    ("event", "level", "known"),
    [("order_confirmed", "info", True), ("order_confirmed", "error", False), ("invented", "info", False)],
)
def test_a_line_is_compared_with_the_matrix(event: str, level: str, known: bool) -> None:
    line = json.dumps(dict.fromkeys(log_lines.ALWAYS, "x") | {"event": event, "level": level})
    assert list(log_lines.strange("order-1", line)) == ([] if known else [f"order-1: {line}"])


def test_a_line_that_is_no_json_is_strange() -> None:
    assert list(log_lines.strange("order-1", "Traceback (most recent call last):")) != []
