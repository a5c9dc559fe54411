"""Stack: pieces slide over a pile, and a press drops the current one on it.

Lengths are in units of the field, times in ticks. All arithmetic is on integers, because ``stack-rules.js`` of the
storefront has to compute exactly the same: a change of one is a change of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shop.games.game import SEED_LIMIT, Impossible, Outcome
from shop.games.random32 import Random32
from shop.games.stack_rules import RULES, Rules


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece that slides from the left or the right edge since the tick ``appeared``."""

    width: int
    speed: int
    from_right: bool
    bonus: bool
    appeared: int

    def left_at(self, tick: int, field: int) -> int:
        """Its left end. It turns around at the edges."""
        travel = field - self.width
        way = self.speed * (tick - self.appeared) % (2 * travel)
        left = way if way <= travel else 2 * travel - way
        return travel - left if self.from_right else left


class Round:
    """A round in progress: ``left`` and ``width`` are of the top of the pile."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self._random = Random32(seed)
        self._rules = rules
        self._speed = rules.speed.start
        self.width = rules.width
        self.left = (rules.field - rules.width) // 2
        self.score = self.placed = self.perfect = self.streak = self.best_streak = 0
        self.over = False
        self.piece = self._next_piece(0)

    def press(self, tick: int) -> None:
        """Drops the piece."""
        piece = self.piece
        left = piece.left_at(tick, self._rules.field)
        if abs(left - self.left) <= self._rules.tolerance:
            self._place_perfectly()
        elif not self._cut(left):
            self.over = True
            return
        self._finish_piece(tick, piece)

    def _next_piece(self, tick: int) -> Piece:
        rules, drawn = self._rules, self._random.next()
        self._speed = min(rules.speed.limit, self._speed + rules.speed.step + (drawn >> 1) % rules.speed.step_spread)
        bonus = self.placed >= rules.bonus.after and (drawn >> 8) % rules.bonus.one_in == 0
        speed = self._speed + (drawn >> 16) % (2 * rules.speed.vary + 1) - rules.speed.vary
        return Piece(self.width, speed + rules.bonus.speed * bonus, bool(drawn & 1), bonus, tick)

    def _place_perfectly(self) -> None:
        rules = self._rules
        self.perfect += 1
        self.streak += 1
        self.best_streak = max(self.best_streak, self.streak)
        self.score += rules.points.perfect + rules.points.streak * min(self.streak - 1, rules.points.streak_limit)
        if self.streak % rules.widen.every == 0:
            self._widen()

    def _widen(self) -> None:
        """To both sides, within the field."""
        rules = self._rules
        width = min(rules.width, self.width + rules.widen.by)
        self.left = max(0, min(rules.field - width, self.left - (width - self.width) // 2))
        self.width = width

    def _cut(self, left: int) -> bool:
        """Leaves what lies on the pile; False when too little does."""
        start, end = max(left, self.left), min(left, self.left) + self.width
        if end - start < self._rules.min_width:
            return False
        self.left, self.width = start, end - start
        self.streak = 0
        return True

    def _finish_piece(self, tick: int, piece: Piece) -> None:
        rules = self._rules
        self.placed += 1
        self.score += rules.points.placed + rules.points.bonus * piece.bonus
        if self.placed == rules.max_pieces:
            self.score += rules.points.finished
            self.over = True
        else:
            self.piece = self._next_piece(tick + rules.settle_ticks)


def replay(seed: int, moves: Sequence[int], rules: Rules = RULES) -> Outcome | Impossible:
    """The round with the presses at the ticks ``moves``. Without a miss it lasts as long as a round may."""
    if not 0 <= seed < SEED_LIMIT:
        raise ValueError(f"a seed is at least 0 and below {SEED_LIMIT}")
    if len(moves) > rules.max_pieces:
        return Impossible(f"A round has at most {rules.max_pieces} moves.")
    current = Round(seed, rules)
    for number, tick in enumerate(moves, start=1):
        if reason := _objection(current, number, tick, rules):
            return Impossible(reason)
        current.press(tick)
    statistics = {"placed": current.placed, "perfect": current.perfect, "best_streak": current.best_streak}
    return Outcome(current.score, moves[-1] if current.over else rules.max_ticks, statistics)


def _objection(current: Round, number: int, tick: int, rules: Rules) -> str:
    """Why this move cannot be, or ""."""
    if current.over:
        return f"The round had ended before move {number}."
    if not 0 <= tick <= rules.max_ticks:
        return f"Move {number} is not within the {rules.max_ticks} ticks of a round."
    if tick < current.piece.appeared:
        return f"Move {number} is before its piece appeared, at tick {current.piece.appeared}."
    return ""
