"""Cursor pagination: the next page starts after the last row, whatever was inserted or deleted since."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import orjson
from fastapi import Query
from pydantic import BaseModel

from shop.kit.errors import Problem

MAX_LIMIT = 100
MAX_CURSOR_LENGTH = 512

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items per page")]
Cursor = Annotated[str | None, Query(max_length=MAX_CURSOR_LENGTH, description="next_cursor of the page before")]


class Page[T](BaseModel):
    items: list[T]
    next_cursor: str | None = None


def encode_cursor(*parts: Any) -> str:
    """An opaque cursor of JSON-able ``parts`` (the sort key of the last row)."""
    return base64.urlsafe_b64encode(orjson.dumps(parts, default=str)).decode().rstrip("=")


def cut_page[Row](
    rows: Sequence[Row], limit: int, sort_key: Callable[[Row], tuple[Any, ...]]
) -> tuple[Sequence[Row], str | None]:
    """The first ``limit`` of ``rows``, and the cursor of the next page; None if there are no more.

    ``rows`` are read with a limit that is greater by one.
    """
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], encode_cursor(*sort_key(rows[limit - 1]))


def decode_cursor(cursor: str, *types: type) -> tuple[Any, ...]:
    """The parts of ``cursor``, each made a ``types[i]``; a Problem 400 ``invalid_cursor`` for anything else."""
    try:
        raw = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(raw, list) or len(raw) != len(types):
            raise ValueError
        return tuple(part if isinstance(part, kind) else kind(part) for kind, part in zip(types, raw, strict=True))
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise Problem(400, "invalid_cursor", "The cursor is not one of this service.") from None
