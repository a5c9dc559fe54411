"""Calls between services keep the shape that both sides know, because pods of two versions call each other."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from shop.contracts.calls import BatchCall
from shop.kit.ids import new_id
from tests.contracts import golden

NAME = re.compile(r"[a-z]+\.[a-z_]+")
SIDES = [name for name in golden.names() if name.startswith("calls/")]
QUOTE_REQUEST, QUOTE_RESULT = "calls/pricing.quote.request", "calls/pricing.quote.result"
CHARGE_RESULT = "calls/payment.charge.result"


@pytest.mark.parametrize("name", SIDES)
def test_call_is_what_its_golden_schema_says(name: str) -> None:
    golden.assert_current(name)


def test_no_call_was_dropped() -> None:
    known = {f"calls/{path.stem}" for path in (golden.FOLDER / "calls").glob("*.json")}
    assert known == set(SIDES), "a service of the previous version still makes the call"


def test_calls_are_named_by_service_and_verb() -> None:
    assert len(golden.CALLS) >= 9
    for call in golden.CALLS.values():
        assert NAME.fullmatch(call.name)
        assert call.path.startswith(("/internal/", "/api/v1/"))


def models(adapter: TypeAdapter[Any]) -> list[dict[str, Any]]:
    schema = adapter.json_schema()
    return [one for one in (schema, *schema.get("$defs", {}).values()) if "properties" in one]


@pytest.mark.parametrize("name", sorted(golden.CALLS))
def test_members_that_are_not_known_are_ignored(name: str) -> None:
    call = golden.CALLS[name]
    sides = (call.item if isinstance(call, BatchCall) else call.query, call.result)
    found = [model for side in sides for model in models(side)]
    assert found
    assert not [model["title"] for model in found if model.get("additionalProperties") is False]


def test_a_newer_service_may_add_fields() -> None:
    adapter = golden.CALLS["payment.void"].result
    result = {"order_id": str(new_id()), "status": "voided", "refunded_at": "2030-01-01T00:00:00Z"}
    assert adapter.validate_python(result).status == "voided"


def remove_field(schema: golden.Schema) -> None:
    del schema["properties"]["user_id"]
    schema["required"].remove("user_id")


def narrow_field(schema: golden.Schema) -> None:
    schema["$defs"]["LineToPrice"]["properties"]["category"]["maxLength"] = 10


def new_required_field(schema: golden.Schema) -> None:
    schema["properties"]["channel"] = {"type": "string"}
    schema["required"].append("channel")


def new_status(schema: golden.Schema) -> None:
    schema["$defs"]["ChargeStatus"]["enum"].append("authorised")


def remove_field_of_one_result(schema: golden.Schema) -> None:
    del schema["$defs"]["QuoteRejected"]["properties"]["detail"]
    schema["$defs"]["QuoteRejected"]["required"].remove("detail")


def drop_a_kind_of_result(schema: golden.Schema) -> None:
    schema["oneOf"].pop()


BREAKING: list[tuple[str, Callable[[golden.Schema], None], str]] = [
    (QUOTE_REQUEST, remove_field, "$.user_id: removed"),
    (QUOTE_REQUEST, narrow_field, "$.lines[].category: maxLength was None, is 10"),
    (QUOTE_REQUEST, new_required_field, "$.channel: newly required"),
    (CHARGE_RESULT, new_status, "$.status: enum was"),
    (QUOTE_RESULT, remove_field_of_one_result, "detail: removed"),
    (QUOTE_RESULT, drop_a_kind_of_result, "$: oneOf was"),
]


@pytest.mark.parametrize(("name", "change", "message"), BREAKING, ids=[change.__name__ for _, change, _ in BREAKING])
def test_breaking_change_of_a_call_is_found(name: str, change: Callable[[golden.Schema], None], message: str) -> None:
    before = golden.schema_of(name)
    after = copy.deepcopy(before)
    change(after)
    assert any(message in found for found in golden.breaking_changes(before, after))


def test_command_writes_nothing_over_a_breaking_change_of_a_call(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    stricter = golden.schema_of(QUOTE_REQUEST)
    stricter["properties"]["channel"] = {"type": "string"}
    golden.golden_path(QUOTE_REQUEST).parent.mkdir()
    golden.golden_path(QUOTE_REQUEST).write_text(json.dumps(stricter), encoding="utf-8")
    assert golden.main() == 1
    assert f"{QUOTE_REQUEST} $.channel: removed" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "calls").iterdir()] == ["pricing.quote.request.json"]
