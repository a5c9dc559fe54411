"""HTTP of players: parse, call the service, answer."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Response

from shop.contracts.achievement import Achievement
from shop.kit.app import service_of
from shop.kit.auth import CurrentUser, MaybeUser, current_user
from shop.kit.idempotency import RequiredKey
from shop.kit.pages import Cursor, Limit, Page, cut_page, decode_cursor
from shop.kit.routing import router as make_router
from shop.player import errors, schemas
from shop.player.avatar import avatar
from shop.player.game_servers import Poster
from shop.player.service import PlayerService

AVATAR_MEDIA_TYPE = "image/svg+xml"
AVATAR_HEADERS = {"Cache-Control": "public, max-age=604800, immutable", "Content-Security-Policy": "default-src 'none'"}
MAX_CAUSE_CHARACTERS = 128

Service = Annotated[PlayerService, Depends(service_of)]
ServerToken = Annotated[str | None, Header(alias="X-Game-Server-Token", max_length=256)]


async def poster(request: Request, service: Service, server_token: ServerToken = None) -> Poster:
    """A game server by its token, or an administrator."""
    if server_token is not None:
        return await service.servers.of_token(server_token)
    person = await current_user(request)
    if person.role != "admin":
        raise errors.game_servers_only()
    return Poster(person.user_id, None)


CurrentPoster = Annotated[Poster, Depends(poster)]

router = make_router(prefix="/api/v1/players", tags=["players"])


@router.get("/me")
async def get_player_me(person: CurrentUser, service: Service) -> schemas.OwnProfileView:
    """The caller's own profile; the first request creates the player."""
    return schemas.OwnProfileView.own(*await service.own_profile(person))


@router.patch("/me")
async def change_player_me(
    change: schemas.PlayerChange, person: CurrentUser, service: Service
) -> schemas.OwnProfileView:
    """Change name, privacy, mails or time zone."""
    await service.change(person, change.fields())
    return schemas.OwnProfileView.own(*await service.own_profile(person))


@router.get("/me/ledger")
async def list_player_ledger(
    person: CurrentUser,
    service: Service,
    limit: Limit = 20,
    cursor: Cursor = None,
    cause: Annotated[str | None, Query(max_length=MAX_CAUSE_CHARACTERS)] = None,
) -> Page[schemas.EntryView]:
    """What the caller got experience points for, the newest first; ``cause`` names one entry."""
    before = decode_cursor(cursor, int)[0] if cursor else None
    found = await service.ledger_page(person, cause, before, limit + 1)
    shown, next_cursor = cut_page(found, limit, lambda row: (row["id"],))
    items = [schemas.EntryView(cause=row["cause"], xp=row["xp"], at=row["at"]) for row in shown]
    return Page(items=items, next_cursor=next_cursor)


@router.get("/me/friends")
async def list_player_friends(person: CurrentUser, service: Service) -> schemas.ProfilesView:
    """Whom the caller added, as others see them."""
    friends = await service.friends(person)
    return schemas.ProfilesView(items=[schemas.ProfileView.for_others(one) for one in friends])


@router.put("/me/friends/{friend_id}", status_code=204)
async def add_player_friend(friend_id: UUID, person: CurrentUser, service: Service) -> Response:
    """Add a friend, who need not agree: friends are only how boards are compared."""
    await service.add_friend(person, friend_id)
    return Response(status_code=204)


@router.delete("/me/friends/{friend_id}", status_code=204)
async def remove_player_friend(friend_id: UUID, person: CurrentUser, service: Service) -> Response:
    """Remove a friend."""
    await service.remove_friend(person, friend_id)
    return Response(status_code=204)


@router.get("/{player_id}")
async def get_player(player_id: UUID, person: MaybeUser, service: Service) -> schemas.ProfileView:
    """A player's profile, as far as privacy allows."""
    profile = await service.profile(player_id)
    own = person is not None and person.user_id == player_id
    return schemas.ProfileView.of(profile) if own else schemas.ProfileView.for_others(profile)


@router.get("/{player_id}/avatar.svg", response_class=Response, responses={200: {"content": {AVATAR_MEDIA_TYPE: {}}}})
async def get_player_avatar(player_id: UUID) -> Response:
    """A picture that follows from the id."""
    return Response(avatar(player_id), media_type=AVATAR_MEDIA_TYPE, headers=AVATAR_HEADERS)


@router.get("/{player_id}/achievements")
async def list_player_achievements(player_id: UUID, person: MaybeUser, service: Service) -> schemas.AchievementsView:
    """What the player has unlocked, and progress."""
    return schemas.AchievementsView(items=await service.achievements(player_id, person))


@router.post("/{player_id}/scores", status_code=201)
async def add_player_score(
    player_id: UUID, new: schemas.NewScore, posted_by: CurrentPoster, key: RequiredKey, service: Service
) -> schemas.ScoreView:
    """Post a score to an external board, for game servers (`X-Game-Server-Token`) and administrators."""
    posted = await service.servers.post_score(posted_by, key, player_id, new.board, new.score)
    return schemas.ScoreView.of(posted)


@router.post("/{player_id}/achievements")
async def unlock_player_achievement(
    player_id: UUID, new: schemas.NewUnlock, _: CurrentPoster, service: Service
) -> Achievement:
    """Unlock an external achievement, for game servers (`X-Game-Server-Token`) and administrators."""
    return await service.servers.unlock(player_id, new.code)
