"""Events travel in the envelope that was promised, and what was promised is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest

from shop.contracts.events import EVENTS, UserRegistered
from shop.kit import telemetry
from shop.kit.events import EventData, open_envelope, row
from shop.kit.ids import new_id
from tests.contracts import golden

ENVELOPE = jsonschema_rs.validator_for(
    json.loads(golden.golden_path("envelope").read_text(encoding="utf-8")), validate_formats=True
)
TYPES: dict[str, type[EventData]] = dict(EVENTS)
ADA = UserRegistered(user_id=new_id(), email="ada@example.com", name="Ada \u2603", occurred_at=datetime.now(UTC))


def envelope() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row(ADA).payload)
    return found


def test_event_leaves_in_the_promised_envelope() -> None:
    document = envelope()
    assert [str(error) for error in ENVELOPE.iter_errors(document)] == []
    assert document["type"] == UserRegistered.TYPE
    assert document["subject"] == str(ADA.user_id)
    assert document["source"] == "/shop/user"


def test_data_is_what_the_golden_schema_says() -> None:
    schema = json.loads(golden.golden_path(UserRegistered.TYPE).read_text(encoding="utf-8"))
    del schema["$id"]
    assert [str(error) for error in jsonschema_rs.validator_for(schema).iter_errors(envelope()["data"])] == []


def test_event_that_is_read_is_the_one_that_was_written() -> None:
    written = row(ADA)
    read = open_envelope(written.payload.encode(), TYPES)
    assert read.event == ADA
    assert (read.event_id, read.type) == (written.event_id, written.type)


def test_event_carries_the_trace_of_its_cause() -> None:
    trace = telemetry.begin()
    assert open_envelope(row(ADA).payload.encode(), TYPES).trace_id == trace.trace_id


def test_reader_ignores_additional_fields_of_an_envelope() -> None:
    extended = envelope() | {"dataschema": "later", "tenant": "x"}
    extended["data"]["loyalty_points"] = 7
    assert open_envelope(json.dumps(extended).encode(), TYPES).event == ADA


@pytest.mark.parametrize("missing", ["id", "type", "data", "time"])
def test_envelope_without_a_required_field_is_refused(missing: str) -> None:
    document = envelope()
    del document[missing]
    with pytest.raises(ValueError, match="not a known event"):
        open_envelope(json.dumps(document).encode(), TYPES)


@pytest.mark.parametrize(
    "changed", [{"type": "user.vanished.v1"}, {"id": "seven"}, {"time": "noon"}, {"data": {"name": 1}}]
)
def test_envelope_with_an_invalid_value_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's and the standard library's, each with its own words
        open_envelope(json.dumps(envelope() | changed).encode(), TYPES)


def test_ids_are_unique_and_ordered_by_time() -> None:
    ids = [row(ADA).event_id for _ in range(50)]
    assert len(set(ids)) == 50
    milliseconds = [UUID(str(event_id)).int >> 80 for event_id in ids]
    assert milliseconds == sorted(milliseconds)
