"""Something of everything that requests to the arcade's services name, in a running shop."""

from __future__ import annotations

from typing import Any

from shop.games import GAMES, Impossible
from tests.architecture.source import ROOT
from tests.contracts.known import call

GAME, BOARD, CODE = "stack", "quiz", "quiz-champion"
EXTERNAL_BOARD = f"- {{board: {BOARD}, title: Quiz, source: {BOARD}, external: true, operator: best}}\n"
EXTERNAL_RULE = f"  - {{code: {CODE}, name: Champion, description: Win a quiz., xp: 10, external: true}}\n"
REACTION_TICKS = 60
"""Of the press by which a round ends; it must be possible at once."""
BODY = ("token", "moves")
"""Of the result of a round."""
Json = dict[str, Any]


def with_externals() -> dict[str, dict[str, str]]:
    """Variables by service: the shop's own boards and rules, with one more that game servers post to."""
    boards, rules = (
        (ROOT / "services" / noun / "src" / "shop" / noun / name).read_text(encoding="utf-8")
        for noun, name in (("leaderboard", "boards.yaml"), ("achievement", "rules.yaml"))
    )
    return {
        "leaderboard": {"SHOP_BOARDS": boards + EXTERNAL_BOARD},
        "achievement": {"SHOP_ACHIEVEMENT_RULES": rules + EXTERNAL_RULE},
    }


def missed(seed: int) -> list[int]:
    """The moves of a round that the first press ends."""
    for tick in range(REACTION_TICKS):
        outcome = GAMES[GAME].replay(seed, [tick])
        if not isinstance(outcome, Impossible) and outcome.ticks <= 2 * REACTION_TICKS:
            return [tick]
    raise AssertionError("every press meets the pile")


def arcade(url: str, token: str) -> Json:
    """A round that may be posted by the owner of ``token``, a game server with its token, and another player who is on
    the board of game servers."""
    session = call(url, "POST", f"/games/{GAME}/sessions", token)
    server = call(url, "POST", "/games/servers", token, json={"name": "Server of the tests", "sources": [BOARD]})
    login = {"email": "player@example.com", "password": "a long enough password"}
    other = call(url, "POST", "/users", json=login | {"name": "Pia"})["id"]
    other_token = call(url, "POST", "/tokens", json=login)["access_token"]
    call(url, "GET", "/players/me", other_token)
    posted = {"board": BOARD, "score": 7}
    call(url, "POST", f"/players/{other}/scores", json=posted, headers={"X-Game-Server-Token": server["token"]})
    return {
        "game": GAME,
        "session_id": session["id"],
        "token": session["token"],
        "moves": missed(session["seed"]),
        "player_id": other,
        "friend_id": other,
        "server_id": server["id"],
        "X-Game-Server-Token": server["token"],
        "board": BOARD,
        "code": CODE,
    }
