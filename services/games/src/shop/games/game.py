"""What every game has: a replay that computes a round's score from its seed and its moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

SEED_LIMIT = 1 << 32
"""Seeds are below this."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A round by the rules; it took ``ticks`` of 1/60 s."""

    score: int
    ticks: int
    statistics: dict[str, int]


@dataclass(frozen=True, slots=True)
class Impossible:
    """Nobody can have made these moves; ``reason`` is a sentence for the client."""

    reason: str


Replay = Callable[[int, Sequence[int]], Outcome | Impossible]


@dataclass(frozen=True, slots=True)
class Game:
    """``source`` names the game in scores: boards and achievements select by it."""

    title: str
    source: str
    replay: Replay
