"""Something of everything that requests to the arcade's services name, in a running shop."""

from __future__ import annotations

from typing import Any

from tests.contracts.known import call
from tests.integration.rounds import GAME, short_round

BOARD, CODE = "quiz", "quiz-champion"
BOARDS = f"""\
- {{board: {GAME}, title: Stack, source: {GAME}, operator: best}}
- {{board: {BOARD}, title: Quiz, source: {BOARD}, external: true, operator: best}}
"""
RULES = f"""\
rules:
  - code: first-round
    name: First
    description: Finish a round.
    xp: 10
    when: {{rounds: {{source: {GAME}, at_least: 1}}}}
  - {{code: {CODE}, name: Champion, description: Win a quiz., xp: 10, external: true}}
"""
WITH_EXTERNALS = {"leaderboard": {"SHOP_BOARDS": BOARDS}, "achievement": {"SHOP_ACHIEVEMENT_RULES": RULES}}
"""Variables by service, for a shop with a board and an achievement of game servers."""
BODY = ("token", "moves")
"""Of the result of a round."""
Json = dict[str, Any]


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


def remove_other_servers(url: str, token: str, known: Json) -> None:
    """Game servers that earlier requests made: their names are taken."""
    for server in call(url, "GET", "/games/servers", token)["items"]:
        if server["id"] != known["server_id"]:
            call(url, "DELETE", f"/games/servers/{server['id']}", token)
