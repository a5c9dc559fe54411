"""The problems that leaderboard answers with; their codes are part of the API."""

from __future__ import annotations

from uuid import UUID

from shop.kit.errors import Problem


def unknown_board(board: str) -> Problem:
    return Problem(404, "unknown_board", f"There is no board {board[:64]}.")


def unknown_season(board: str, season: str) -> Problem:
    return Problem(404, "unknown_season", f"The board {board} has no season {season[:64]}.")


def not_on_board(board: str, player_id: UUID) -> Problem:
    return Problem(404, "not_on_board", f"The board {board} does not list the player {player_id}.")
