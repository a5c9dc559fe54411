"""How long to wait before the next try, for services and, as nothing else is imported, for small programs."""

from __future__ import annotations

import random

FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 15.0


def backoff_s(attempt: int, first_s: float = FIRST_BACKOFF_S, max_s: float = MAX_BACKOFF_S) -> float:
    """Seconds to wait before try ``attempt`` (0, 1, ...): exponential, capped, with full jitter above one half."""
    return min(max_s, first_s * 2.0 ** min(attempt, 30)) * random.uniform(0.5, 1.0)
