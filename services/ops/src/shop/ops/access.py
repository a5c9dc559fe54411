"""Who may see the control room: an administrator who is signed in at the storefront, whose session this reads."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

from fastapi import Depends, Request
from starlette.responses import RedirectResponse, Response

from shop.kit.auth import Authenticator
from shop.kit.errors import Problem
from shop.kit.sessions import Session, Visitor, posted_form

EXPIRY_MARGIN_S = 30
"""As the storefront's: an access token that expires sooner is renewed there."""
PAGES_WITH_FORMS = re.compile(r"/ops/(levers|letters|services/[a-z]+|orders/[0-9a-f-]{36})")
FRESH_S = 600.0
"""How long after typing the password an administrator may change the running shop."""


class SignInRequired(Exception):
    """Answered by a redirect to the storefront's sign-in page, which leads back.

    ``again``: to type the password although there is a session.
    """

    def __init__(self, back: str = "", *, again: bool = False) -> None:
        super().__init__()
        self.back = back
        self.again = again


def to_sign_in(request: Request, required: SignInRequired) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    back = required.back or (f"{request.url.path}{query}" if request.method == "GET" else "/ops")
    return RedirectResponse("/sign-in?" + urlencode({"next": back, **({"again": "1"} if required.again else {})}), 303)


def visitor_of(request: Request) -> Visitor:
    visitor: Visitor = request.state.visitor
    return visitor


async def admin(request: Request) -> Session:
    """The session of an administrator, whose access token was verified; Problem 403 for another user."""
    session = visitor_of(request).session
    if session is None or session.expires_at - time.time() <= EXPIRY_MARGIN_S:
        raise SignInRequired
    authenticator: Authenticator = request.app.state.authenticator
    try:
        person = await authenticator.principal(session.access_token)
    except Problem as problem:
        # A redirect would lead back here at once, because the storefront takes the session for a good one.
        raise Problem(403, "session_refused", "Your session is not valid any more. Please sign in again.") from problem
    if person.role != "admin":
        raise Problem(403, "admin_only", "The control room is for administrators only.")
    return session


Admin = Annotated[Session, Depends(admin)]


async def fresh_admin(request: Request, session: Admin) -> Session:
    """An administrator who typed the password in the last FRESH_S seconds."""
    if not session.is_fresh(time.time(), FRESH_S):
        raise SignInRequired(page_of(request), again=True)
    return session


def page_of(request: Request) -> str:
    """The page with the form that was sent, by the browser's word if it is one of the control room."""
    found = PAGES_WITH_FORMS.match(urlsplit(request.headers.get("referer", "")).path)
    return found[0] if found else "/ops"


Fresh = Annotated[Session, Depends(fresh_admin)]
PostedForm = Annotated[dict[str, Any], Depends(posted_form)]
