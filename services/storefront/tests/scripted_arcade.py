"""The scripted player, leaderboard and achievement services."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from services.storefront.tests.scripted_data import NOW, Person, page_of, product_id
from shop.contracts.achievement import Achievement, Progress
from shop.games import GAMES, Outcome
from shop.kit.errors import Problem

if TYPE_CHECKING:
    from services.storefront.tests.scripted import ScriptedShop

PAGE_WAIT_S = 30.0
SEED = 4711
FIRST_LEVELS = (0, 100, 300, 600, 1000)
"""XP at which levels 1 to 5 begin."""
PRESENT, ENDED = "2026-03-05", "2026-03-04"
LATER = "2126-03-06T00:00:00+00:00"


def board(name: str, title: str, source: str = "stack", reset: str = "never") -> dict[str, Any]:
    return {
        "board": name,
        "title": title,
        "source": source,
        "operator": "best",
        "reset": reset,
        "external": False,
        "season": PRESENT if reset != "never" else "all",
    }


def boards() -> list[dict[str, Any]]:
    return [
        board("stack", "All time"),
        board("stack-daily", "Today", reset="daily"),
        board("stack-weekly", "This week", reset="weekly"),
        board("buyers", "Buyers of the month", "orders", "monthly"),
    ]


def rival(number: int) -> str:
    """The id of a player who is none of the test's people."""
    return product_id(f"rival {number}")


def achievement(code: str, name: str, need: int = 1, **more: Any) -> Achievement:
    common = {"description": f"How to get {name}.", "xp": 50, "progress": Progress(have=0, need=need)}
    return Achievement(code=code, name=name, **{**common, **more})


@dataclass
class ScriptedArcade:
    """``refuse`` is the Problem of the next rounds; ``places`` are the scores of each board, by player."""

    players: dict[str, dict[str, Any]] = field(default_factory=dict)
    boards: list[dict[str, Any]] = field(default_factory=boards)
    places: dict[str, dict[str, int]] = field(default_factory=dict)
    seasons: list[str] = field(default_factory=lambda: [ENDED])
    """Of boards that reset, in which somebody has scored."""
    rules: list[Achievement] = field(default_factory=lambda: [achievement("first_round", "First round")])
    unlocked: dict[str, list[str]] = field(default_factory=dict)
    friends: dict[str, list[str]] = field(default_factory=dict)
    ledger: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    coupon: dict[str, Any] | None = None
    refuse: Problem | None = None
    lost_answers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    listening: int = 0
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def player(self, player_id: str, name: str = "Quick Otter 42", **more: Any) -> dict[str, Any]:
        """A player, made when first asked for."""
        fresh = {"id": player_id, "name": name, "xp": 0, "streak": 0, "best_streak": 0, "private": False}
        own = {"mails": False, "time_zone": "Europe/Berlin", "coupons": [], "statistics": {}}
        known = self.players.setdefault(player_id, {**fresh, **own})
        known.update(more)
        return known

    def view(self, player: dict[str, Any]) -> dict[str, Any]:
        level = sum(player["xp"] >= least for least in FIRST_LEVELS)
        ends = {"level_xp": FIRST_LEVELS[level - 1], "next_level_xp": (*FIRST_LEVELS, 1500)[level]}
        return {**player, "level": level, "avatar_url": f"/api/v1/players/{player['id']}/avatar.svg", **ends}

    def public(self, player_id: str) -> dict[str, Any]:
        if player_id not in self.players:
            raise Problem(404, "unknown_player", "There is no such player.")
        if self.players[player_id]["private"]:
            nothing = {"level": None, "xp": None, "streak": None}
            return {"id": player_id, "name": "Private player", "private": True, **nothing}
        hidden = {"mails", "time_zone", "coupons"}
        return {name: value for name, value in self.view(self.players[player_id]).items() if name not in hidden}

    def score(self, board: str, player_id: str, score: int, name: str = "") -> None:
        """Puts a score on a board, as a player of that name."""
        self.player(player_id, **({"name": name} if name else {}))
        self.places.setdefault(board, {})[player_id] = score

    def gain(self, player_id: str, cause: str, xp: int) -> None:
        self.player(player_id)["xp"] += xp
        self.ledger.setdefault(player_id, []).insert(0, {"cause": cause, "xp": xp, "at": NOW})

    def lines(self, board: str, among: set[str] | None = None) -> list[dict[str, Any]]:
        if board not in {one["board"] for one in self.boards}:
            raise Problem(404, "unknown_board", "There is no such board.")
        listed = {one: score for one, score in self.places.get(board, {}).items() if not self.players[one]["private"]}
        best = sorted(listed.items(), key=lambda item: -item[1])
        return [
            {"rank": rank, "player": {"id": one, "name": self.players[one]["name"]}, "score": score, "at": NOW}
            for rank, (one, score) in enumerate(best, 1)
            if among is None or one in among
        ]

    def unlock(self, player_id: str, code: str) -> list[Achievement]:
        """What is new, which the player's streams are sent."""
        mine = self.unlocked.setdefault(player_id, [])
        if code in mine:
            return []
        mine.append(code)
        self.changed.set()
        self.changed = asyncio.Event()
        return [one for one in self.of(player_id) if one.code == code]

    def of(self, player_id: str) -> list[Achievement]:
        mine = self.unlocked.get(player_id, [])
        at = datetime.fromisoformat(NOW)
        done = [rule.model_copy(update={"unlocked_at": at}) for rule in self.rules if rule.code in mine]
        return done + [rule for rule in self.rules if rule.code not in mine and not rule.hidden]

    def play(self, person: Person, session_id: str, moves: list[int]) -> dict[str, Any]:
        """The answer to a round's result, the same when it comes again."""
        if self.refuse:
            raise self.refuse
        if session_id in self.results:
            return self.results[session_id]
        outcome = GAMES["stack"].replay(SEED, moves)
        if not isinstance(outcome, Outcome):
            raise Problem(422, "moves_impossible", outcome.reason)
        self.score("stack", person.id, max(outcome.score, self.places.get("stack", {}).get(person.id, 0)))
        self.gain(person.id, f"result:{session_id}", 7)
        new = self.unlock(person.id, "first_round")
        rank = next(line["rank"] for line in self.lines("stack") if line["player"]["id"] == person.id)
        self.results[session_id] = {
            "result_id": session_id, "score": outcome.score, "rank": rank, "xp": 7, "level": 1, "coupon": self.coupon,
            "standings": [{"board": "stack", "season": "all", "score": outcome.score, "rank": rank}],
            "unlocked": [one.model_dump(mode="json") for one in new],
        }  # fmt: skip
        return self.results[session_id]

    async def events(self, player_id: str) -> AsyncIterator[str]:
        sent = len(self.unlocked.get(player_id, []))
        self.listening += 1
        try:
            yield ": open\n\n"
            while True:
                changed, mine = self.changed, self.unlocked.get(player_id, [])
                for number, code in enumerate(mine[sent:], sent + 1):
                    found = next(one for one in self.of(player_id) if one.code == code)
                    yield f"id: {number}\nevent: unlocked\ndata: {found.model_dump_json()}\n\n"
                sent = len(mine)
                await asyncio.wait_for(changed.wait(), PAGE_WAIT_S)
        finally:
            self.listening -= 1


def player_routes(app: FastAPI, shop: ScriptedShop) -> None:
    arcade = shop.arcade

    @app.get("/api/v1/players/me")
    async def me(request: Request) -> dict[str, Any]:
        return arcade.view(arcade.player(shop.person_of(request).id))

    @app.patch("/api/v1/players/me")
    async def change(request: Request) -> dict[str, Any]:
        player = arcade.player(shop.person_of(request).id)
        changes = await request.json()
        if changes["name"] == "Admin":
            wrong = {"field": "name", "message": "This name is not allowed."}
            raise Problem(422, "validation_failed", "The request is not valid.", errors=[wrong])  # type: ignore[list-item]
        player.update(changes)
        return arcade.view(player)

    @app.get("/api/v1/players/me/ledger")
    async def ledger(request: Request) -> dict[str, Any]:
        entries = arcade.ledger.get(shop.person_of(request).id, [])
        cause = request.query_params.get("cause")
        return page_of([entry for entry in entries if cause in {None, entry["cause"]}], request)


def friend_routes(app: FastAPI, shop: ScriptedShop) -> None:
    arcade = shop.arcade

    @app.get("/api/v1/players/me/friends")
    async def friends(request: Request) -> dict[str, Any]:
        mine = arcade.friends.get(shop.person_of(request).id, [])
        return {"items": [{"id": one, "name": arcade.players[one]["name"]} for one in mine]}

    @app.put("/api/v1/players/me/friends/{player_id}", status_code=204)
    async def befriend(player_id: str, request: Request) -> None:
        arcade.public(player_id)
        mine = arcade.friends.setdefault(shop.person_of(request).id, [])
        if player_id not in mine:
            mine.append(player_id)

    @app.delete("/api/v1/players/me/friends/{player_id}", status_code=204)
    async def unfriend(player_id: str, request: Request) -> None:
        arcade.friends[shop.person_of(request).id].remove(player_id)


def profile_routes(app: FastAPI, shop: ScriptedShop) -> None:
    arcade = shop.arcade

    @app.get("/api/v1/players/{player_id}")
    async def one(player_id: str, request: Request) -> dict[str, Any]:
        if "authorization" in request.headers and shop.person_of(request).id == player_id:
            return arcade.view(arcade.player(player_id))
        return arcade.public(player_id)

    @app.get("/api/v1/players/{player_id}/achievements")
    async def achievements(player_id: str, request: Request) -> dict[str, Any]:
        if (await one(player_id, request)).get("level") is None:
            raise Problem(404, "private_player", "This player is private.")
        return listed(arcade.of(player_id))


def round_routes(app: FastAPI, shop: ScriptedShop) -> None:
    arcade = shop.arcade

    @app.post("/api/v1/games/{game}/sessions", status_code=201)
    async def open_session(game: str, request: Request) -> dict[str, Any]:
        shop.person_of(request)
        if arcade.refuse:
            raise arcade.refuse
        session_id = product_id(f"session {next(arcade.numbers)}")
        return {"id": session_id, "seed": SEED, "token": f"token of {session_id}", "expires_at": LATER}

    @app.post("/api/v1/games/{game}/sessions/{session_id}/result")
    async def result(game: str, session_id: str, request: Request) -> Response:
        body = await request.json()
        if body["token"] != f"token of {session_id}":
            raise Problem(422, "session_invalid", "The token is not of this session.")
        answer = arcade.play(shop.person_of(request), session_id, body["moves"])
        if arcade.lost_answers:
            arcade.lost_answers -= 1
            return Response(status_code=503)
        return JSONResponse(answer)


def leaderboard_routes(app: FastAPI, shop: ScriptedShop) -> None:
    arcade = shop.arcade

    @app.get("/api/v1/leaderboards")
    async def all_boards() -> dict[str, Any]:
        return {"items": arcade.boards}

    @app.get("/api/v1/leaderboards/{name}")
    async def ranking(name: str, request: Request) -> dict[str, Any]:
        query = request.query_params
        lines = arcade.lines(name, set(query["players"].split(",")) if "players" in query else None)
        board = next(one for one in arcade.boards if one["board"] == name)
        season = query.get("season", board["season"])
        if season not in {board["season"], *arcade.seasons}:
            raise Problem(404, "unknown_season", "There is no such season.")
        start, top = int(query.get("cursor", 0)), int(query.get("top", 10))
        lines = lines if season == board["season"] else lines[:1]
        next_cursor = str(start + top) if len(lines) > start + top else None
        ends = LATER if name == "stack-daily" else None
        found = {"board": name, "title": board["title"], "season": season, "ends_at": ends, "total": len(lines)}
        return {**found, "items": lines[start : start + top], "next_cursor": next_cursor}

    @app.get("/api/v1/leaderboards/{name}/seasons")
    async def seasons(name: str) -> dict[str, Any]:
        arcade.lines(name)
        return {"items": [{"season": one} for one in (arcade.seasons if name != "stack" else ["all"])]}

    @app.get("/api/v1/leaderboards/{name}/players/{player_id}")
    async def place(name: str, player_id: str, neighbours: int = 0) -> dict[str, Any]:
        lines = arcade.lines(name)
        at = next((number for number, line in enumerate(lines) if line["player"]["id"] == player_id), None)
        if at is None:
            raise Problem(404, "not_on_board", "The player is not on this board.")
        around = lines[max(0, at - neighbours) : at + neighbours + 1]
        return {"rank": lines[at]["rank"], "score": lines[at]["score"], "at": NOW, "neighbours": around}


def achievement_routes(app: FastAPI, shop: ScriptedShop) -> None:
    arcade = shop.arcade

    @app.get("/api/v1/achievements")
    async def rules() -> dict[str, Any]:
        return listed([rule for rule in arcade.rules if not rule.hidden])

    @app.get("/api/v1/achievements/me")
    async def mine(request: Request) -> dict[str, Any]:
        return listed(arcade.of(shop.person_of(request).id))

    @app.get("/api/v1/achievements/events")
    async def events(request: Request) -> Response:
        return StreamingResponse(arcade.events(shop.person_of(request).id), media_type="text/event-stream")


def listed(found: list[Achievement]) -> dict[str, Any]:
    return {"items": [one.model_dump(mode="json") for one in found]}
