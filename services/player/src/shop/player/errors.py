"""The problems that player answers with; their codes are part of the API."""

from __future__ import annotations

from shop.kit.errors import Problem


def unknown_player() -> Problem:
    return Problem(404, "unknown_player", "There is no such player.")


def private_player() -> Problem:
    return Problem(404, "private_player", "This player's profile is private.")


def unknown_game(game: str) -> Problem:
    return Problem(404, "unknown_game", f"There is no game {game[:64]}.")


def session_invalid() -> Problem:
    return Problem(422, "session_invalid", "The token is not one of this session.")


def session_foreign() -> Problem:
    return Problem(403, "session_foreign", "The session is another player's.")


def session_expired() -> Problem:
    return Problem(410, "session_expired", "The session has expired; open a new one.")


def session_used() -> Problem:
    return Problem(409, "session_used", "The session has a result of other moves.")


def moves_impossible(reason: str) -> Problem:
    """``reason`` is a sentence."""
    return Problem(422, "moves_impossible", reason)


def too_frequent(limit: int, period_s: int) -> Problem:
    detail = f"A player has at most {limit} results in {period_s} seconds."
    return Problem(429, "too_frequent", detail, headers={"Retry-After": str(period_s)})


def friends_full(limit: int) -> Problem:
    return Problem(409, "friends_full", f"A player has at most {limit} friends.")


def own_friend() -> Problem:
    return Problem(422, "own_friend", "A player cannot be the player's own friend.")


def game_server_token_invalid() -> Problem:
    return Problem(401, "game_server_token_invalid", "The token is not one of a game server.")


def game_servers_only() -> Problem:
    return Problem(403, "game_servers_only", "Only game servers and administrators may do this.")


def unknown_game_server() -> Problem:
    return Problem(404, "unknown_game_server", "There is no such game server.")


def too_many_game_servers(limit: int) -> Problem:
    return Problem(409, "too_many_game_servers", f"There are at most {limit} game servers.")


def name_taken(name: str) -> Problem:
    return Problem(409, "name_taken", f"There is a game server called {name} already.")


def unknown_board(board: str) -> Problem:
    return Problem(404, "unknown_board", f"There is no board {board[:64]}.")


def board_not_external(board: str) -> Problem:
    return Problem(403, "board_not_external", f"The scores of the board {board} are not posted from outside.")


def source_not_allowed(source: str) -> Problem:
    return Problem(403, "source_not_allowed", f"This game server may not post scores of {source}.")


def unknown_achievement(code: str) -> Problem:
    return Problem(404, "unknown_achievement", f"There is no achievement {code}.")


def achievement_not_external(code: str) -> Problem:
    return Problem(403, "achievement_not_external", f"The achievement {code} is decided by its rule alone.")
