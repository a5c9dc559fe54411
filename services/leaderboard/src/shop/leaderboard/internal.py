"""The internal routes that player calls."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Response

from shop.contracts.leaderboard import BOARDS, RECORD, BoardSources, RecordedScore, RecordScore
from shop.kit.app import service_of
from shop.kit.auth import internal_only
from shop.kit.lean import document, lean
from shop.kit.routing import router as make_router
from shop.leaderboard.service import LeaderboardService

Service = Annotated[LeaderboardService, Depends(service_of)]

router = make_router(tags=["internal"], dependencies=[Depends(internal_only)])


@router.post(RECORD.path, response_model=RecordedScore)
@lean
async def record_score(request: RecordScore, service: Service) -> Response:
    """Take a score at once; idempotent by the event's id, and one with the event that the broker brings."""
    recorded = await service.record(request)
    return document(recorded)


@router.get(BOARDS.path)
async def list_sources(service: Service) -> BoardSources:
    """Every board with its source."""
    return service.sources()
