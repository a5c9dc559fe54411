"""Fault injection: delays and failures that an administrator adds to the calls of a service, for a limited time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

MAX_LATENCY_S = 10.0
MAX_FAULT_S = 300.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Each request is sent ``latency_s`` seconds later, and instead of some a closed connection is reported.

    ``error_share`` of the requests fail, 0 to 1; ``until`` is the end, on the clock of the service's pool.
    """

    latency_s: float
    error_share: float
    until: float

    async def occur(self, now: float, draw: Callable[[], float] = random.random) -> None:
        """Before a request is sent: wait, then perhaps ServerDisconnectedError. Nothing happens after the end."""
        if now >= self.until:
            return
        await asyncio.sleep(self.latency_s)
        if draw() < self.error_share:
            raise aiohttp.ServerDisconnectedError("a fault that was injected")
