"""Rounds of Stack that a test plays: the ticks of good presses, and of one that misses the pile."""

from __future__ import annotations

from shop.games import GAMES, Outcome, rules

LONGEST_WAIT_TICKS = 240
"""Within it a piece has slid over the whole field."""


def good_round(seed: int, placed: int) -> list[int]:
    """Presses that each leave as much of the piece as can be, and a last one that misses the pile."""
    moves: list[int] = []
    for _ in range(placed):
        moves.append(max(_next_ticks(moves), key=lambda tick: (_outcome(seed, [*moves, tick]).score, -tick)))
    missed = _outcome(seed, moves).statistics["placed"]
    return [*moves, next(t for t in _next_ticks(moves) if _outcome(seed, [*moves, t]).statistics["placed"] == missed)]


def _next_ticks(moves: list[int]) -> range:
    first = (moves[-1] if moves else 0) + int(rules("stack")["settle_ticks"])
    return range(first, first + LONGEST_WAIT_TICKS)


def _outcome(seed: int, moves: list[int]) -> Outcome:
    outcome = GAMES["stack"].replay(seed, moves)
    assert isinstance(outcome, Outcome), outcome
    return outcome


def score_of(seed: int, moves: list[int]) -> int:
    return _outcome(seed, moves).score
