"""Fault injection: delays and failures that an administrator adds to the calls of a service, for a limited time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

MAX_LATENCY_S = 10.0
MAX_FAULT_S = 300.0
INJECTED = "a fault that was injected"


@dataclass(frozen=True, slots=True)
class Fault:
    """Each request or gRPC call is sent ``latency_s`` seconds later, and some are not sent but fail.

    ``error_share`` of the requests fail, 0 to 1; ``until`` is the end, on the clock of the service's pool.
    """

    latency_s: float
    error_share: float
    until: float

    async def fails(self, now: float, draw: Callable[[], float] = random.random) -> bool:
        """Wait, before a request is sent; whether it is to fail instead. Nothing happens after the end."""
        if now >= self.until:
            return False
        await asyncio.sleep(self.latency_s)
        return draw() < self.error_share
