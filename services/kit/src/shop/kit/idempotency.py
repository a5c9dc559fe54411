"""The Idempotency-Key header: a request that is sent again with the same key is carried out once."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header

from shop.kit.errors import Problem

IDEMPOTENCY_KEY = "Idempotency-Key"
KEY = re.compile(r"[\x21-\x7e]{1,255}")

Value = Annotated[
    str | None, Header(alias=IDEMPOTENCY_KEY, description="Names this request; 1-255 visible ASCII characters.")
]


async def optional_key(value: Value = None) -> str | None:
    """The key, None without one; Problem 400 ``idempotency_key_malformed``."""
    if value is not None and not KEY.fullmatch(value):
        detail = "An Idempotency-Key has 1 to 255 visible ASCII characters."
        raise Problem(400, "idempotency_key_malformed", detail)
    return value


async def required_key(value: Value = None) -> str:
    """The key; Problem 400 ``idempotency_key_missing`` or ``idempotency_key_malformed``."""
    key = await optional_key(value or None)
    if key is None:
        raise Problem(400, "idempotency_key_missing", "Send an Idempotency-Key header that names this request.")
    return key


RequiredKey = Annotated[str, Depends(required_key)]
OptionalKey = Annotated[str | None, Depends(optional_key)]


def key_in_flight() -> Problem:
    detail = "The first request with this Idempotency-Key is still being processed."
    return Problem(409, "idempotency_key_in_flight", detail, headers={"Retry-After": "1"})


def key_reused() -> Problem:
    return Problem(422, "idempotency_key_reused", "This Idempotency-Key was used for another request.")
