"""HTTP: parse, call the service, answer."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Response
from fastapi.responses import StreamingResponse

from shop.achievement.schemas import AchievementsView
from shop.achievement.service import AchievementService
from shop.contracts.achievement import (
    EVALUATE,
    OF_PLAYER,
    UNLOCK,
    Achievements,
    EvaluateScore,
    Unlocked,
    UnlockRequest,
    UnlockResult,
)
from shop.kit.app import service_of
from shop.kit.auth import CurrentUser, internal_only
from shop.kit.lean import document, lean
from shop.kit.routing import router as make_router

STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MAX_NUMBER = 2**31 - 1

Service = Annotated[AchievementService, Depends(service_of)]
LastEventId = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=MAX_NUMBER)]

router = make_router(prefix="/api/v1/achievements", tags=["achievements"])
internal = make_router(tags=["internal"], dependencies=[Depends(internal_only)])


@router.get("")
async def list_achievements(service: Service) -> AchievementsView:
    """What can be achieved, except for the hidden ones; for anyone."""
    return AchievementsView(items=service.catalogue())


@router.get("/me")
async def list_own_achievements(person: CurrentUser, service: Service) -> AchievementsView:
    """What the caller has, the newest first, then the others with the caller's progress, the nearest first."""
    return AchievementsView(items=await service.of_player(person.user_id))


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "`unlocked` events (Achievement)"}},
)
async def watch_achievements(person: CurrentUser, service: Service, last_event_id: LastEventId = None) -> Response:
    """What the caller unlocks from now on. Last-Event-ID resumes."""
    service.streams.check_capacity(person.user_id)
    events = service.streams.events(person.user_id, last_event_id)
    return StreamingResponse(events, media_type="text/event-stream", headers=STREAM_HEADERS)


@internal.post(EVALUATE.path, response_model=Unlocked)
@lean
async def evaluate_score(request: EvaluateScore, service: Service) -> Response:
    """Take a round's event now; idempotent by the event's id."""
    unlocked = Unlocked(unlocked=await service.evaluate(request))
    return document(unlocked)


@internal.post(UNLOCK.path)
async def unlock_achievement(request: UnlockRequest, service: Service) -> UnlockResult:
    """Unlock for a game server; idempotent by player and code."""
    return await service.unlock(request)


@internal.get(OF_PLAYER.path)
async def get_achievements_of(player_id: UUID, service: Service) -> Achievements:
    """What a player has and how far the others are."""
    return Achievements(items=await service.of_player(player_id))
