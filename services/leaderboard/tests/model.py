"""A simple model of boards: what the service must answer, computed from lists in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from shop.leaderboard.domain import MAX_SCORE, Board, Operator

SeasonOf = tuple[str, str]
"""Board and season."""


@dataclass
class Held:
    """A player's entry; ``seq`` is when it last changed."""

    score: int
    at: datetime
    seq: int
    position: int = 0


@dataclass
class Order:
    player: UUID
    score: int
    at: datetime


@dataclass
class Model:
    boards: list[Board]
    entries: dict[SeasonOf, dict[UUID, Held]] = field(default_factory=dict)
    orders: dict[UUID, Order] = field(default_factory=dict)
    cancelled: set[UUID] = field(default_factory=set)
    public: dict[UUID, tuple[int, bool]] = field(default_factory=dict)
    deleted: set[UUID] = field(default_factory=set)
    changes: int = 0

    def score(self, player: UUID, source: str, score: int, at: datetime, position: int) -> None:
        for board in self._fed_by(source, player):
            held = self.entries.setdefault((board.board, board.season(at).name), {})
            self.changes += 1
            new = Held(score, at, self.changes, position)
            old = held.get(player)
            if board.operator is Operator.BEST:
                if old is None or (board.sort_key(score), at) < (board.sort_key(old.score), old.at):
                    held[player] = new
            elif old is None or position > old.position:
                if old is not None and old.score == score:
                    new = Held(score, old.at, old.seq, position)
                held[player] = new

    def order(self, order_id: UUID, player: UUID, score: int, at: datetime) -> None:
        if player in self.deleted or order_id in self.orders or order_id in self.cancelled:
            return
        self.orders[order_id] = Order(player, score, at)
        for board in self._fed_by("orders", player):
            held = self.entries.setdefault((board.board, board.season(at).name), {})
            self.changes += 1
            live = self._live(board, board.season(at).name, player)
            old = held.get(player)
            if old is None or len(live) == 1:
                held[player] = Held(score, at, self.changes)
            elif score > 0:
                total = min(sum(one.score for one in live), MAX_SCORE)
                held[player] = Held(total, max(old.at, at), self.changes)

    def cancel(self, order_id: UUID, player: UUID) -> None:
        if player in self.deleted or order_id in self.cancelled:
            return
        self.cancelled.add(order_id)
        if (order := self.orders.get(order_id)) is None:
            return
        for board in self._fed_by("orders", player):
            season = board.season(order.at).name
            live = self._live(board, season, player)
            self.changes += 1
            old = self.entries[board.board, season].pop(player)
            if live:
                scoring = [one.at for one in live if one.score > 0]
                at = max(scoring) if scoring else min(one.at for one in live)
                total = min(sum(one.score for one in live), MAX_SCORE)
                self.entries[board.board, season][player] = Held(total, at, self.changes)
            assert old is not None

    def change(self, player: UUID, version: int, public: bool) -> None:
        if player not in self.deleted and self.public.get(player, (0, False))[0] < version:
            self.public[player] = (version, public)

    def delete(self, player: UUID) -> None:
        self.deleted.add(player)
        self.public.pop(player, None)
        for held in self.entries.values():
            held.pop(player, None)
        self.orders = {order_id: one for order_id, one in self.orders.items() if one.player != player}

    def expected(self) -> Iterator[tuple[SeasonOf, list[tuple[int, UUID, int]]]]:
        """Rank, player and score of each entry of each season."""
        for board in self.boards:
            for (name, season), held in self.entries.items():
                if name == board.board:
                    yield (name, season), self._ranked(board, held)

    def _ranked(self, board: Board, held: dict[UUID, Held]) -> list[tuple[int, UUID, int]]:
        listed = [(player, one) for player, one in held.items() if self.public.get(player, (0, False))[1]]
        listed.sort(key=lambda pair: (board.sort_key(pair[1].score), pair[1].at, pair[1].seq))
        return [(rank, player, one.score) for rank, (player, one) in enumerate(listed, 1)]

    def _fed_by(self, source: str, player: UUID) -> list[Board]:
        return [] if player in self.deleted else [board for board in self.boards if board.source == source]

    def _live(self, board: Board, season: str, player: UUID) -> list[Order]:
        return [
            one
            for order_id, one in self.orders.items()
            if one.player == player and order_id not in self.cancelled and board.season(one.at).name == season
        ]
