"""HTTP: parse, call the service, answer."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from shop.kit.app import service_of
from shop.kit.auth import CurrentUser
from shop.kit.pages import Cursor, Limit, Page, decode_cursor, encode_cursor
from shop.kit.routing import router as make_router
from shop.player.schemas import EntryView, NewEntry
from shop.player.service import PlayerService

Service = Annotated[PlayerService, Depends(service_of)]

router = make_router(prefix="/api/v1/players", tags=["players"])


@router.post("", status_code=201)
async def add_entry(entry: NewEntry, user: CurrentUser, service: Service) -> EntryView:
    """Add an entry."""
    return EntryView.of(await service.add(user.user_id, entry.note))


@router.get("")
async def list_entries(
    user: CurrentUser, service: Service, limit: Limit = 20, cursor: Cursor = None
) -> Page[EntryView]:
    """The user's entries, the newest first."""
    before = decode_cursor(cursor, UUID)[0] if cursor else None
    found = await service.entries(user.user_id, before, limit + 1)
    items = [EntryView.of(entry) for entry in found[:limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > limit else None)


@router.get("/{entry_id}")
async def get_entry(entry_id: UUID, user: CurrentUser, service: Service) -> EntryView:
    """One of the user's entries."""
    return EntryView.of(await service.entry(user.user_id, entry_id))
