"""The confirmation page before an action that cannot be undone; it needs no JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from shop.storefront.web import page

CONFIRMED = "confirmed"
"""The form field that says that the user confirmed."""


@dataclass(frozen=True)
class Confirmation:
    """`back` is the URL to return to without doing anything."""

    title: str
    explanation: str
    button: str
    back: str


async def require_confirmation(
    request: Request, form: Mapping[str, str], confirmation: Confirmation
) -> Response | None:
    """The confirmation page, which submits the same form again; None when the form was confirmed."""
    if CONFIRMED in form:
        return None
    return await confirmation_page(request, request.url.path, form, confirmation)


async def confirmation_page(
    request: Request, action: str, fields: Mapping[str, str], confirmation: Confirmation
) -> Response:
    """The page; its button posts `fields` to `action`."""
    return await page(
        request, "confirm.html", action=action, fields={**fields, CONFIRMED: "1"}, confirmation=confirmation
    )
