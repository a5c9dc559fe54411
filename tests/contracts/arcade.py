"""Something of everything that requests to the arcade's services name, in a running shop."""

from __future__ import annotations

from typing import Any

from tests.architecture.source import ROOT
from tests.contracts.known import call
from tests.integration.rounds import GAME, short_round

BOARD, CODE = "quiz", "quiz-champion"
EXTERNAL_BOARD = f"- {{board: {BOARD}, title: Quiz, source: {BOARD}, external: true, operator: best}}\n"
EXTERNAL_RULE = f"  - {{code: {CODE}, name: Champion, description: Win a quiz., xp: 10, external: true}}\n"
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
        "moves": short_round(session["seed"], 0),
        "player_id": other,
        "friend_id": other,
        "server_id": server["id"],
        "X-Game-Server-Token": server["token"],
        "board": BOARD,
        "code": CODE,
    }
