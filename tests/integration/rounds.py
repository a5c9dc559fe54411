"""Rounds of a game that a person could play, computed from their seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from shop.devkit.testing import wait_until
from shop.games import GAMES, Impossible, Outcome
from tests.load.shoppers import Shop, ShopError

GAME = "stack"
REACTION_TICKS = 15
SEARCHED_TICKS = 600
"""How far the next press is looked for; a piece crosses the field several times in it."""
OPEN_WITHIN_S = 60.0
LOOK_EVERY_S = 0.25
"""Between two attempts to post a result that is still too early."""


def short_round(seed: int, perfect: int = 3) -> list[int]:
    """The moves of a round with so many perfect drops and then a miss, which ends it."""
    moves: list[int] = []
    for dropped in range(1, perfect + 1):
        moves.append(_next(seed, moves, partial(_has_dropped, dropped)))
    moves.append(_next(seed, moves, _is_over))
    return moves


def _has_dropped(perfect: int, outcome: Outcome, _tick: int) -> bool:
    return outcome.statistics["perfect"] == perfect


def _is_over(outcome: Outcome, tick: int) -> bool:
    return outcome.ticks < tick + SEARCHED_TICKS


def _next(seed: int, moves: Sequence[int], wanted: Callable[[Outcome, int], bool]) -> int:
    """The first tick at which a press has the ``wanted`` outcome."""
    first = (moves[-1] if moves else 0) + REACTION_TICKS
    for tick in range(first, first + SEARCHED_TICKS):
        outcome = GAMES[GAME].replay(seed, [*moves, tick])
        if not isinstance(outcome, Impossible) and wanted(outcome, tick):
            return tick
    raise AssertionError(f"no press after {list(moves)} of seed {seed} does that")


async def play(api: Shop, player: str, perfect: int = 3) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Play a round in the time that it takes: its path, what was posted, and the answer."""
    session = await api.call("POST", f"/games/{GAME}/sessions", player)
    body = {"token": session["token"], "moves": short_round(session["seed"], perfect)}
    path = f"/games/{GAME}/sessions/{session['id']}/result"

    async def accepted() -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = await api.call("POST", path, player, json=body)
        except ShopError as error:
            if "moves_impossible" not in str(error):
                raise
            return None
        return answer

    return path, body, await wait_until(accepted, OPEN_WITHIN_S, "the end of the round", LOOK_EVERY_S)
