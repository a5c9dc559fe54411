"""Made-up rounds of Stack: players of several skills, and lists of moves that nobody can have made."""

from __future__ import annotations

import random
from collections.abc import Callable

from shop.games.stack import Piece, Round
from shop.games.stack_rules import RULES

REACTION_TICKS = 15
SKILLS = (0.0, 0.5, 1.0, 1.5, 2.5, 4.0, 8.0)
"""Standard deviations of a player's timing in ticks."""


def aimed(piece: Piece, target: int) -> int:
    """The tick at which the piece lies best over ``target`` for the first time that a person can react to."""
    travel = RULES.field - piece.width
    way = travel - target if piece.from_right else target
    passes = (turn + side for turn in range(0, 8 * travel, 2 * travel) for side in (way, 2 * travel - way))
    return piece.appeared + next(tick for each in passes if (tick := round(each / piece.speed)) >= REACTION_TICKS)


def play(seed: int, chance: random.Random, deviation: float, most: int = RULES.max_pieces) -> list[int]:
    """The moves of a player who aims at the pile and presses too early or too late by ``deviation`` ticks."""
    current, moves = Round(seed, RULES), list[int]()
    while not current.over and len(moves) < most:
        off = round(chance.gauss(0, deviation)) if deviation else 0
        tick = max(current.piece.appeared, aimed(current.piece, current.left) + off)
        if tick > RULES.max_ticks:
            break
        moves.append(tick)
        current.press(tick)
    return moves


def spoil(moves: list[int], chance: random.Random) -> list[int]:
    """Most of these lists are impossible, each kind for another reason."""
    if not moves:
        return [-1]
    spoilt = [
        [*moves, moves[-1] + 200],
        moves[::-1],
        [*moves[:-1], RULES.max_ticks + 1],
        [-5, *moves],
        [tick // 2 for tick in moves],
        moves * (RULES.max_pieces // len(moves) + 1),
    ]
    return chance.choice(spoilt)


def games(count: int, seed: int) -> list[tuple[int, list[int]]]:
    """Seeds and moves: of good and bad players, blind ones, rounds that were not ended, impossible ones."""
    chance, made = random.Random(seed), list[tuple[int, list[int]]]()
    for number in range(count):
        drawn = chance.choice((0, 0xFFFFFFFF)) if number % 100 == 0 else chance.getrandbits(32)
        most = chance.randint(0, 30) if number % 4 else chance.randint(0, RULES.max_pieces)
        moves = play(drawn, chance, chance.choice(SKILLS), most)
        if number % 5 == 0:
            moves = sorted(chance.sample(range(RULES.max_ticks), most))
        if number % 7 == 0:
            moves = spoil(moves, chance)
        made.append((drawn, moves))
    return made


def exact(wanted: Callable[[int, int], bool], ticks: int = 1000) -> tuple[int, list[int]]:
    """A seed and a first move for which ``wanted(piece's left end, pile's left end)`` holds."""
    for seed in range(10_000):
        current = Round(seed, RULES)
        for tick in range(ticks):
            if wanted(current.piece.left_at(tick, RULES.field), current.left):
                return seed, [tick]
    raise AssertionError("no round has such a first move")
