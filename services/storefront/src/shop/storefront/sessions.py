"""Who is looking at a page: the three signed cookies, and the headers that every page carries.

The cookies are signed with the shop's own key, so what they say about the visitor is what this service once wrote;
the access token inside is verified again by each service that it is sent to.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, Literal

from itsdangerous import BadSignature, URLSafeTimedSerializer
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop.kit.errors import Problem

log = logging.getLogger(__name__)

VISITOR_TTL_S = 30 * 24 * 3600
SESSION_TTL_S = 30 * 24 * 3600
FLASH_TTL_S = 120

BARE_PREFIXES = (
    "/static/",
    "/favicon.ico",
    "/robots.txt",
    "/sitemap.xml",
    "/health",
    "/metrics",
    "/docs",
    "/redoc",
    "/openapi.json",
)
"""Paths of files and machines: no cookies, no page headers."""

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Session(BaseModel):
    """A signed-in person; `expires_at` is the end of the access token in seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    access_token: str
    refresh_token: str
    user_id: str
    role: Literal["customer", "admin"]
    email: str
    name: str
    expires_at: int


@dataclass
class Visit:
    """The cookies of one request; what a handler changes here is written back with the answer."""

    visitor_id: str
    session: Session | None = None
    flash: str | None = None
    sign: Callable[[str], str] = str
    as_read: dict[str, Any] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether there can be a cart: somebody is signed in, or the browser brought the visitor's cookie."""
        return self.session is not None or self.as_read.get("shop_visitor") is not None

    @property
    def cart_owner(self) -> str:
        """Whose cart and purchases these are: the user's on every browser, else this visitor's."""
        return f"user:{self.session.user_id}" if self.session else self.visitor_id

    @property
    def csrf_token(self) -> str:
        """What a form must carry: it names visitor and user, so it ends with the sign-in that it was made in."""
        return self.sign(f"{self.visitor_id}:{self.session.user_id}" if self.session else self.visitor_id)

    def forget(self) -> None:
        """Ends the session; the next user of this browser is another visitor, with other forms and another cart."""
        self.session = None
        self.visitor_id = new_visitor_id()

    def take_flash(self) -> str | None:
        message, self.flash = self.flash, None
        return message

    def values(self) -> dict[str, Any]:
        session = self.session.model_dump() if self.session else None
        return {"shop_visitor": self.visitor_id, "shop_session": session, "shop_flash": self.flash}


def new_visitor_id() -> str:
    return secrets.token_urlsafe(18)


TTL_S = {"shop_visitor": VISITOR_TTL_S, "shop_session": SESSION_TTL_S, "shop_flash": FLASH_TTL_S}


class Cookies:
    """Reads and writes the signed cookies with one key."""

    def __init__(self, secret: str) -> None:
        if not secret:
            log.warning("no SHOP_SESSION_SECRET and no SHOP_INTERNAL_TOKEN: cookies end with this process")
        self._key = hashlib.sha256(f"storefront cookies:{secret or secrets.token_hex()}".encode()).digest()

    def visit(self, headers: Headers) -> Visit:
        """The visit that the cookies tell of; unsigned, old or damaged ones count as absent."""
        jar = cookie_parser(headers.get("cookie", ""))
        read = {name: self._load(name, jar.get(name, "")) for name in TTL_S}
        visitor = read["shop_visitor"] or new_visitor_id()
        return Visit(visitor, _session(read["shop_session"]), read["shop_flash"], self.form_token, read)

    def form_token(self, owner: str) -> str:
        """What a form made for `owner` carries; only this service can make it."""
        return hmac.new(self._key, f"csrf:{owner}".encode(), hashlib.sha256).hexdigest()

    def changes(self, visit: Visit, *, secure: bool) -> list[str]:
        """The Set-Cookie values for what differs from what was read."""
        changed = [(name, value) for name, value in visit.values().items() if value != visit.as_read.get(name)]
        return [self._cookie(name, value, secure) for name, value in changed]

    def _load(self, name: str, text: str) -> Any:
        try:
            return self._serializer(name).loads(text, max_age=TTL_S[name]) if text else None
        except BadSignature:
            return None

    def _cookie(self, name: str, value: Any, secure: bool) -> str:
        jar: SimpleCookie = SimpleCookie()
        jar[name] = self._serializer(name).dumps(value) if value is not None else ""
        morsel = jar[name]
        morsel["path"], morsel["samesite"], morsel["httponly"], morsel["secure"] = "/", "lax", True, secure
        morsel["max-age"] = str(TTL_S[name] if value is not None else 0)
        return morsel.OutputString()

    def _serializer(self, name: str) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._key, salt=name, signer_kwargs={"digest_method": hashlib.sha256})


def _session(value: Any) -> Session | None:
    try:
        return Session.model_validate(value) if value else None
    except ValidationError:
        return None


def check_same_site(headers: Headers, visit: Visit, token: str) -> None:
    """A Problem 403 unless the form came from a page of this shop that was made for this visitor."""
    origin = headers.get("origin")
    host = headers.get("host", "")
    foreign = origin is not None and origin.partition("://")[2] != host
    if foreign or not hmac.compare_digest(token.encode(), visit.csrf_token.encode()):
        raise Problem(403, "form_expired", "This form has expired or was sent from another site. Nothing was changed.")


class VisitMiddleware:
    """Puts the `Visit` into the request's state, and cookies and page headers onto the answer."""

    def __init__(self, app: ASGIApp, cookies: Cookies) -> None:
        self._app = app
        self._cookies = cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(BARE_PREFIXES):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visit = self._cookies.visit(headers)
        scope.setdefault("state", {})["visit"] = visit
        secure = scope["scheme"] == "https"

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._decorate(message, visit, secure)
            await send(message)

        await self._app(scope, receive, send_with_cookies)

    def _decorate(self, message: MutableMapping[str, Any], visit: Visit, secure: bool) -> None:
        headers = MutableHeaders(scope=message)
        private = "no-store" if visit.session else "private, no-cache"
        for name, value in {**PAGE_HEADERS, "Cache-Control": private}.items():
            headers.setdefault(name, value)
        for cookie in self._cookies.changes(visit, secure=secure):
            headers.append("Set-Cookie", cookie)
