"""HTTP of games: sessions, results, and the game servers."""

from __future__ import annotations

from uuid import UUID

from fastapi import Response

from shop.games import GAMES, rules
from shop.kit.auth import CurrentAdmin, CurrentUser
from shop.kit.lean import document, lean
from shop.kit.routing import router as make_router
from shop.player import errors, schemas
from shop.player.api import Service

router = make_router(prefix="/api/v1/games", tags=["games"])


@router.get("")
async def list_games(service: Service) -> schemas.GamesView:
    """The shop's games."""
    return schemas.GamesView(items=[await _view(name, service) for name in GAMES])


@router.post("/servers", status_code=201)
async def add_game_server(new: schemas.NewServer, admin: CurrentAdmin, service: Service) -> schemas.NewServerView:
    """Register a game server, for administrators. Its token is shown only now."""
    return schemas.NewServerView.with_token(*await service.servers.add(new.name, new.sources, admin))


@router.get("/servers")
async def list_game_servers(_: CurrentAdmin, service: Service) -> schemas.ServersView:
    """All game servers, for administrators."""
    return schemas.ServersView(items=[schemas.ServerView.of(one) for one in await service.servers.all()])


@router.delete("/servers/{server_id}", status_code=204)
async def remove_game_server(server_id: UUID, admin: CurrentAdmin, service: Service) -> Response:
    """Remove a game server, for administrators: its token is refused from now on."""
    await service.servers.remove(server_id, admin)
    return Response(status_code=204)


@router.get("/{game}")
async def get_game(game: str, service: Service) -> schemas.GameDetail:
    """One game with its rules."""
    if game not in GAMES:
        raise errors.unknown_game(game)
    view = await _view(game, service)
    return schemas.GameDetail(**view.model_dump(), rules=rules(game))


@router.post("/{game}/sessions", status_code=201)
async def open_game_session(game: str, person: CurrentUser, service: Service) -> schemas.SessionView:
    """Begin a round: a seed, and a token to post its moves with."""
    player = await service.own(person)
    return schemas.SessionView.of(*service.rounds.open(game, player.id))


@router.post("/{game}/sessions/{session_id}/result", response_model=schemas.ResultView)
@lean
async def finish_game_session(
    game: str, session_id: UUID, new: schemas.NewResult, person: CurrentUser, service: Service
) -> Response:
    """Post a round's moves: the score is computed from them. The same moves again have the same answer."""
    finished = await service.rounds.finish(game, session_id, person.user_id, new.token, new.moves)
    return document(schemas.ResultView.of(finished))


async def _view(name: str, service: Service) -> schemas.GameView:
    game = GAMES[name]
    return schemas.GameView(game=name, title=game.title, board=await service.arcade.main_board(game.source))
