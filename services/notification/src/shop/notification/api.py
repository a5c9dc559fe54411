"""HTTP endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from pydantic import BaseModel

from shop.kit.app import service_of
from shop.kit.auth import CurrentAdmin, CurrentUser
from shop.kit.db import Record
from shop.kit.pages import Cursor, Limit, Page, cut_page, decode_cursor
from shop.kit.routing import router as make_router
from shop.kit.text import ascii_address
from shop.notification.domain import State
from shop.notification.schemas import MailView, NotificationDetail, NotificationView, Recipient
from shop.notification.service import NotificationService

Service = Annotated[NotificationService, Depends(service_of)]

router = make_router(prefix="/api/v1/notifications", tags=["notifications"])


@router.get("")
async def list_my_notifications(
    person: CurrentUser, service: Service, limit: Limit = 20, cursor: Cursor = None
) -> Page[NotificationView]:
    """The messages to the signed-in user, latest first."""
    return _page(await service.list_own(person.user_id, _before(cursor), limit + 1), limit, NotificationView)


@router.get("/all")
async def list_all_notifications(
    _: CurrentAdmin,
    service: Service,
    limit: Limit = 20,
    cursor: Cursor = None,
    state: State | None = None,
    recipient: Recipient = None,
    order_id: UUID | None = None,
) -> Page[NotificationDetail]:
    """All messages, latest first, for administrators; those about one order, if it is given, whatever their state."""
    before = _before(cursor)
    rows = (
        await service.list_of_order(order_id, before, limit + 1)
        if order_id
        else await service.list_all(before, state, recipient, limit + 1)
    )
    return _page(rows, limit, NotificationDetail)


@router.get("/mailbox")
async def list_mailbox_messages(
    _: CurrentAdmin, service: Service, limit: Limit = 20, cursor: Cursor = None, recipient: Recipient = None
) -> Page[MailView]:
    """The mailbox, latest first; 404 ``no_mailbox`` in a shop with a mail server."""
    rows = await service.mailbox().page(_before(cursor), _ascii(recipient), limit + 1)
    return _page(rows, limit, MailView)


def _ascii(recipient: str | None) -> str | None:
    """The address as mail is sent to it; text that is no address is left as it is."""
    try:
        return ascii_address(recipient) if recipient else recipient
    except ValueError:
        return recipient


def _before(cursor: str | None) -> UUID | None:
    return decode_cursor(cursor, UUID)[0] if cursor else None


def _page[View: BaseModel](rows: Sequence[Record], limit: int, view: type[View]) -> Page[View]:
    shown, next_cursor = cut_page(rows, limit, lambda row: (row["id"],))
    items = [view.model_validate(dict(row.items())) for row in shown]
    return Page[View](items=items, next_cursor=next_cursor)
