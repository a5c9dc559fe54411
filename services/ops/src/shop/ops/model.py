"""Spans and traces as the control room keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shop.kit.spans import ORDER_ID, USER_ID

type Value = str | int | float | bool


class Layer(StrEnum):
    """What a span is about, by its attributes."""

    HTTP = "http"
    GRPC = "grpc"
    EVENT = "event"
    SQL = "sql"
    CACHE = "cache"
    STEP = "step"


LAYERS: Mapping[str, Layer] = {
    "rpc.system": Layer.GRPC,
    "messaging.system": Layer.EVENT,
    "http.request.method": Layer.HTTP,
}
"""By an attribute that such spans have."""


@dataclass(frozen=True, slots=True)
class Span:
    """One span; times are in nanoseconds since 1970, ids in hexadecimal. ``parent_id`` is empty for a root.

    ``error`` is empty unless it failed; ``links`` are trace ids.
    """

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    began_ns: int
    ended_ns: int
    error: str = ""
    stack: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    links: tuple[str, ...] = ()

    @property
    def duration_ms(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e6

    @property
    def order_id(self) -> str:
        return str(self.attributes.get(ORDER_ID, ""))

    @property
    def user_id(self) -> str:
        return str(self.attributes.get(USER_ID, ""))

    @property
    def layer(self) -> Layer:
        system = self.attributes.get("db.system.name")
        if system:
            return Layer.SQL if system == "postgresql" else Layer.CACHE
        return next((layer for name, layer in LAYERS.items() if name in self.attributes), Layer.STEP)


@dataclass(frozen=True, slots=True)
class Summary:
    """One trace in a list. ``name`` and ``service`` are those of its root, or of the earliest span that is known."""

    trace_id: str
    name: str
    service: str
    began_ns: int
    ended_ns: int
    spans: int
    errors: int
    services: tuple[str, ...]
    order_id: str
    user_id: str

    @property
    def duration_ms(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e6


@dataclass(frozen=True, slots=True)
class Search:
    """Which traces are wanted; what is empty does not matter. Durations are in milliseconds."""

    order_id: str = ""
    user_id: str = ""
    service: str = ""
    name: str = ""
    min_ms: float = 0.0
    failed: bool = False
    limit: int = 50
