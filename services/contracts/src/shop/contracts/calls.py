"""Calls between services over internal routes: one definition per call, used by both sides.

A batch call sends the same request for several orders at once: ``{"items": [...]}`` is answered by
``{"results": [...]}``, one result per item, in order. Both sides ignore members that they do not know, because during
an upgrade the other side may be newer. So a field is never removed, renamed or narrowed, and a new one is optional, as
for events (`events`); tests/contracts holds the golden schemas that enforce this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

MAX_BATCH_ITEMS = 256


class Message(BaseModel):
    """A part of a call; readers ignore members that they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class OrderItem(Message):
    """The request for one order. ``traceparent`` is the order's own trace: a batch has orders of several traces."""

    order_id: UUID
    traceparent: str = ""


class OrderResult(Message):
    """The answer for one order."""

    order_id: UUID


class Batch[Item: OrderItem](Message):
    items: Annotated[list[Item], Field(min_length=1, max_length=MAX_BATCH_ITEMS)]


class Results[Result: OrderResult](Message):
    results: Sequence[Result]


@dataclass(frozen=True)
class BatchCall[Item: OrderItem, Result: OrderResult]:
    """One batch call. ``name`` is ``<called service>.<verb>``; every call is idempotent by order id."""

    name: str
    path: str
    item: TypeAdapter[Item]
    result: TypeAdapter[Result]


@dataclass(frozen=True)
class ReadCall[Query: Message, Result: BaseModel]:
    """A GET whose parameters are the members of ``query``."""

    name: str
    path: str
    query: TypeAdapter[Query]
    result: TypeAdapter[Result]


@dataclass(frozen=True)
class PostCall[Request: Message, Result: BaseModel]:
    """One POST; it is idempotent by an id that the request has."""

    name: str
    path: str
    request: TypeAdapter[Request]
    result: TypeAdapter[Result]


class ReleaseRequest(OrderItem):
    """Release what the order holds; an order that holds nothing yet cannot reserve or redeem anything afterwards."""


class ReleaseStatus(StrEnum):
    RELEASED = "released"


class Released(OrderResult):
    status: Literal[ReleaseStatus.RELEASED] = ReleaseStatus.RELEASED
