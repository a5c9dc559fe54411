"""Ids ordered by time, so that rows inserted together are neighbours in an index and lists are in order."""

from __future__ import annotations

import os
import threading
import time
from uuid import UUID

RANDOM_BITS = 74
MAX_STEP_BITS = 32
"""Largest distance between two ids of one millisecond: too large to be guessed, small enough never to run out."""

_lock = threading.Lock()
_last = 0


def new_id() -> UUID:
    """A version 7 UUID (RFC 9562) of the current time, greater than all earlier ones of this process."""
    global _last  # noqa: PLW0603 - the order is process-wide
    random = int.from_bytes(os.urandom(10)) >> 6
    with _lock:
        value = time.time_ns() // 1_000_000 << RANDOM_BITS | random
        if value <= _last:
            value = _last + 1 + random % (1 << MAX_STEP_BITS)
        _last = value
    timed, random = value >> 62, value & (1 << 62) - 1
    return UUID(int=(timed >> 12) << 80 | 0x7 << 76 | (timed & 0xFFF) << 64 | 0x2 << 62 | random)
