"""The page that asks before something is done that cannot be undone. It needs no JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from shop.storefront.web import page

CONFIRMED = "confirmed"
"""The field that says that the question was answered with yes."""


@dataclass(frozen=True)
class Question:
    """`back` is the address of the page on which nothing was done."""

    title: str
    explanation: str
    button: str
    back: str


async def ask_first(request: Request, form: Mapping[str, str], question: Question) -> Response | None:
    """The question, whose answer sends the same form again; None when it was answered."""
    if CONFIRMED in form:
        return None
    return await ask(request, request.url.path, form, question)


async def ask(request: Request, action: str, fields: Mapping[str, str], question: Question) -> Response:
    """The question; yes posts `fields` to `action`."""
    return await page(request, "confirm.html", action=action, fields={**fields, CONFIRMED: "1"}, question=question)
