"""The Idempotency-Key header: a request that is sent again with the same key is carried out once."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header

from shop.kit.errors import Problem

IDEMPOTENCY_KEY = "Idempotency-Key"
KEY_PATTERN = r"^[!-~]{1,255}$"
"""1 to 255 visible ASCII characters."""

OptionalKey = Annotated[
    str | None, Header(alias=IDEMPOTENCY_KEY, pattern=KEY_PATTERN, description="Names this request.")
]
"""A malformed key is Problem 422 ``invalid_request``."""


async def required_key(key: OptionalKey = None) -> str:
    """The key; Problem 400 ``idempotency_key_missing`` without one."""
    if key is None:
        raise key_missing()
    return key


RequiredKey = Annotated[str, Depends(required_key)]


def key_missing() -> Problem:
    return Problem(400, "idempotency_key_missing", "Send an Idempotency-Key header that names this request.")


def key_malformed() -> Problem:
    return Problem(400, "idempotency_key_malformed", "An Idempotency-Key has 1 to 255 visible ASCII characters.")


def key_in_flight() -> Problem:
    detail = "The first request with this Idempotency-Key is still being processed."
    return Problem(409, "idempotency_key_in_flight", detail, headers={"Retry-After": "1"})


def key_reused() -> Problem:
    return Problem(422, "idempotency_key_reused", "This Idempotency-Key was used for another request.")
