"""The problems that achievement answers with; their codes are part of the API."""

from __future__ import annotations

from shop.kit.errors import Problem

RETRY_AFTER_S = 30


def too_many_own_streams(limit: int) -> Problem:
    detail = f"You have {limit} live streams open; close one of them."
    return Problem(429, "too_many_own_streams", detail, headers={"Retry-After": str(RETRY_AFTER_S)})
