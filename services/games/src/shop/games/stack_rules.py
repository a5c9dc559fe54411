"""The numbers of Stack, as stored in ``rules/stack.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Speed:
    """Units per tick: each piece adds ``step`` and up to ``step_spread`` - 1, and differs by ``vary`` at most."""

    start: int
    limit: int
    step: int
    step_spread: int
    vary: int


@dataclass(frozen=True, slots=True)
class Widen:
    """After each ``every`` perfect drops in a row the pile widens by ``by``."""

    every: int
    by: int


@dataclass(frozen=True, slots=True)
class Bonus:
    """After the first ``after`` pieces one in ``one_in`` is a bonus piece, faster by ``speed``."""

    after: int
    one_in: int
    speed: int


@dataclass(frozen=True, slots=True)
class Points:
    """A perfect drop has ``streak`` more for each perfect one just before it, of which ``streak_limit`` count."""

    placed: int
    perfect: int
    streak: int
    streak_limit: int
    bonus: int
    finished: int


@dataclass(frozen=True, slots=True)
class Rules:
    """Lengths in units of the field. The next piece appears ``settle_ticks`` after a drop."""

    version: int
    ticks_per_second: int
    max_ticks: int
    max_pieces: int
    settle_ticks: int
    field: int
    width: int
    min_width: int
    tolerance: int
    speed: Speed
    widen: Widen
    bonus: Bonus
    points: Points


def parse(stored: dict[str, Any]) -> Rules:
    return Rules(
        **{
            **stored,
            "speed": Speed(**stored["speed"]),
            "widen": Widen(**stored["widen"]),
            "bonus": Bonus(**stored["bonus"]),
            "points": Points(**stored["points"]),
        }
    )


def stored() -> dict[str, Any]:
    """The file's content, as the client needs it."""
    text = resources.files("shop.games").joinpath("rules/stack.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


RULES = parse(stored())
