"""Event envelopes: CloudEvents 1.0 in JSON, with the trace context of the request that caused the event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple, Protocol, Self
from uuid import UUID

import orjson

from shop.kit import telemetry
from shop.kit.ids import new_id


class EventData(Protocol):
    """What the kit needs of an event; the events themselves are defined in shop.contracts."""

    TYPE: ClassVar[str]

    def subject_id(self) -> str: ...

    def model_dump_json(self) -> str: ...

    @classmethod
    def model_validate(cls, obj: Any) -> Self: ...


class OutboxRow(NamedTuple):
    """A row of the outbox table; ``payload`` is the whole envelope as JSON text."""

    event_id: UUID
    type: str
    subject_id: str
    payload: str


@dataclass(frozen=True, slots=True)
class Received:
    """An event received from the stream and not processed by this consumer before."""

    event_id: UUID
    type: str
    time: datetime
    trace_id: str
    traceparent: str
    event: Any


def row(event: EventData, traceparent: str | None = None, *, event_id: UUID | None = None) -> OutboxRow:
    """The outbox row of ``event``, in the current trace or that of ``traceparent``.

    ``event_id``: one that a call about the same thing names, too, so that call and event have one effect.
    """
    event_id = event_id or new_id()
    noun = event.TYPE.split(".", 1)[0]
    head = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": f"/shop/{noun}",
        "type": event.TYPE,
        "subject": event.subject_id(),
        "time": datetime.now(UTC).isoformat(),
        "traceparent": traceparent or telemetry.traceparent(),
        "datacontenttype": "application/json",
    }
    payload = f'{orjson.dumps(head).decode()[:-1]},"data":{event.model_dump_json()}}}'
    return OutboxRow(event_id, event.TYPE, event.subject_id(), payload)


def open_envelope(payload: bytes, types: dict[str, type[EventData]]) -> Received:
    """Read an envelope; ValueError (pydantic's included) when it is not one of ``types``."""
    document = orjson.loads(payload)
    try:
        kind = types[document["type"]]
        traceparent = document.get("traceparent", "")
        trace = telemetry.parse(traceparent)
        return Received(
            UUID(document["id"]),
            document["type"],
            datetime.fromisoformat(document["time"]),
            trace.trace_id if trace else "",
            traceparent,
            kind.model_validate(document["data"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a known event: {error!r}") from error
