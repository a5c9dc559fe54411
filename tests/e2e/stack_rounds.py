"""Rounds of Stack that a test plays: the ticks of good presses, and of one that misses the pile."""

from __future__ import annotations

from shop.games import GAMES, Outcome, rules

LONGEST_WAIT_TICKS = 240
"""Within it a piece has slid over the whole field."""
OFF_TICKS = 2
"""A browser's press may be counted so much earlier or later."""


def good_round(seed: int, placed: int) -> list[int]:
    """Presses that each leave as much of the piece as can be, and a last one that misses the pile."""
    moves: list[int] = []
    for _ in range(placed):
        moves.append(max(_next_ticks(moves), key=lambda tick: (_outcome(seed, [*moves, tick]).score, -tick)))
    return [*moves, next(tick for tick in _next_ticks(moves)[OFF_TICKS:] if _misses(seed, moves, tick))]


def _next_ticks(moves: list[int]) -> range:
    first = (moves[-1] if moves else 0) + int(rules("stack")["settle_ticks"])
    return range(first, first + LONGEST_WAIT_TICKS)


def _misses(seed: int, moves: list[int], tick: int) -> bool:
    """Whether a press at about ``tick`` ends the round."""
    placed = _outcome(seed, moves).statistics["placed"]
    ticks = range(tick - OFF_TICKS, tick + OFF_TICKS + 1)
    return all(_outcome(seed, [*moves, each]).statistics["placed"] == placed for each in ticks)


def _outcome(seed: int, moves: list[int]) -> Outcome:
    outcome = GAMES["stack"].replay(seed, moves)
    assert isinstance(outcome, Outcome), outcome
    return outcome


def score_of(seed: int, moves: list[int]) -> int:
    return _outcome(seed, moves).score
