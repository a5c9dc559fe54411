"""The mailbox as pages, for a shop that has one."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from fastapi.responses import HTMLResponse

from shop.kit.app import service_of
from shop.kit.pages import Cursor, cut_page, decode_cursor
from shop.kit.routing import router as make_router
from shop.notification.service import NotificationService

MAILS_PER_PAGE = 50
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Service = Annotated[NotificationService, Depends(service_of)]

router = make_router(prefix="/mailbox", include_in_schema=False)


@router.get("")
async def list_page(service: Service, cursor: Cursor = None) -> HTMLResponse:
    """The mails, latest first. Without sign-in: only a shop without a mail server has this page."""
    before = decode_cursor(cursor, UUID)[0] if cursor else None
    rows = await service.mailbox().page(before, None, MAILS_PER_PAGE + 1)
    mails, older = cut_page(rows, MAILS_PER_PAGE, lambda row: (row["id"],))
    return _html(service, "list", mails=mails, older=older, first=before is None)


@router.get("/{mail_id}")
async def mail_page(mail_id: UUID, service: Service) -> HTMLResponse:
    """One mail. Its HTML is shown in a sandboxed frame without scripts, forms or external content."""
    return _html(service, "mail", mail=await service.mailbox().read(mail_id))


def _html(service: NotificationService, name: str, **values: Any) -> HTMLResponse:
    return HTMLResponse(service.pages.get_template(f"mailbox/{name}.html").render(values), headers=HEADERS)
