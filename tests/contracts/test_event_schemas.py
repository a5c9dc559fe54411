"""Events keep the shape that their readers know."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from shop.contracts.events import EVENTS
from tests.contracts import golden

NAME = re.compile(r"[a-z]+\.[a-z_]+\.v[1-9][0-9]*")
LINES = "order.confirmed.v1"


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_event_is_what_its_golden_schema_says(name: str) -> None:
    golden.assert_current(name)


def test_no_published_event_type_was_dropped() -> None:
    published = {path.stem for path in golden.FOLDER.glob("*.json")} - {"envelope"}
    assert published <= EVENTS.keys(), f"still in outboxes and streams: {sorted(published - EVENTS.keys())}"


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_event_type_is_noun_fact_version(name: str) -> None:
    assert NAME.fullmatch(name)
    event = EVENTS[name]
    assert event.TYPE == name


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_readers_ignore_fields_that_they_do_not_know(name: str) -> None:
    assert EVENTS[name].model_config.get("extra") == "ignore"
    assert EVENTS[name].model_config.get("frozen") is True


def remove_field(schema: golden.Schema) -> None:
    del schema["properties"]["total"]
    schema["required"].remove("total")


def remove_nested_field(schema: golden.Schema) -> None:
    del schema["$defs"]["Money"]["properties"]["currency"]
    schema["$defs"]["Money"]["required"].remove("currency")


def narrow_text(schema: golden.Schema) -> None:
    schema["properties"]["email"]["maxLength"] = 10


def narrow_list_item(schema: golden.Schema) -> None:
    schema["$defs"]["OrderLine"]["properties"]["quantity"]["maximum"] = 5


def change_type(schema: golden.Schema) -> None:
    schema["properties"]["email"]["type"] = "integer"


def new_enum_value(schema: golden.Schema) -> None:
    schema["properties"]["kind"]["enum"].append("digital")


def new_required_field(schema: golden.Schema) -> None:
    schema["properties"]["gift"] = {"type": "boolean"}
    schema["required"].append("gift")


def field_no_longer_there_always(schema: golden.Schema) -> None:
    schema["required"].remove("address")


BREAKING: list[tuple[Callable[[golden.Schema], None], str]] = [
    (remove_field, "$.total: removed"),
    (remove_nested_field, "$.lines[].unit_price.currency: removed"),
    (narrow_text, "$.email: maxLength was None, is 10"),
    (narrow_list_item, "$.lines[].quantity: maximum was None, is 5"),
    (change_type, "$.email: type was 'string', is 'integer'"),
    (new_enum_value, "$.kind: enum was ['retail', 'food'], is ['retail', 'food', 'digital']"),
    (new_required_field, "$.gift: newly required"),
    (field_no_longer_there_always, "$.address: no longer always there"),
]


@pytest.mark.parametrize(("change", "message"), BREAKING, ids=[change.__name__ for change, _ in BREAKING])
def test_breaking_change_is_found(change: Callable[[golden.Schema], None], message: str) -> None:
    before = golden.schema_of(LINES)
    after = copy.deepcopy(before)
    change(after)
    assert message in golden.breaking_changes(before, after)


def new_optional_field(schema: golden.Schema) -> None:
    schema["properties"]["gift_note"] = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}


def other_words(schema: golden.Schema) -> None:
    schema["description"] = "Better said."
    schema["properties"]["email"]["title"] = "Address"


@pytest.mark.parametrize("change", [new_optional_field, other_words])
def test_additive_change_is_allowed(change: Callable[[golden.Schema], None]) -> None:
    before = golden.schema_of(LINES)
    after = copy.deepcopy(before)
    change(after)
    assert golden.breaking_changes(before, after) == []


def test_command_writes_nothing_over_a_breaking_change(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    stricter = golden.schema_of(LINES)
    stricter["properties"]["loyalty_points"] = {"type": "integer"}
    golden.golden_path(LINES).write_text(json.dumps(stricter), encoding="utf-8")
    assert golden.main() == 1
    assert "$.loyalty_points: removed" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [f"{LINES}.json"]
