"""Ids ordered by time, so that rows inserted together stand together in an index."""

from __future__ import annotations

import os
import time
from uuid import UUID


def new_id(now_ms: int | None = None) -> UUID:
    """A version 7 UUID (RFC 9562) of ``now_ms`` milliseconds since 1970, by default the present."""
    milliseconds = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)
