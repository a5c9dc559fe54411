"""A small generator of random numbers that JavaScript computes bit by bit the same (mulberry32)."""

from __future__ import annotations

MASK = 0xFFFFFFFF
INCREMENT = 0x6D2B79F5


class Random32:
    """Numbers of 32 bits. Not for secrets."""

    def __init__(self, seed: int) -> None:
        self._state = seed & MASK

    def next(self) -> int:
        self._state = (self._state + INCREMENT) & MASK
        mixed = (self._state ^ self._state >> 15) * (self._state | 1) & MASK
        mixed ^= (mixed + (mixed ^ mixed >> 7) * (mixed | 61)) & MASK
        return mixed ^ mixed >> 14
