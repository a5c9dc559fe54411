"""Visitors: signed cookies, CSRF tokens, and the security headers of every page.

The cookies are signed with the shop's own key. The access token in them is verified by each service that it is sent to.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, Literal
from uuid import UUID

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

NON_PAGE_PREFIXES = (
    "/static/",
    "/eat-pictures/",
    "/favicon.ico",
    "/robots.txt",
    "/sitemap.xml",
    "/health",
    "/metrics",
    "/docs",
    "/redoc",
    "/openapi.json",
)
"""Paths that are no pages: no cookies, no page headers."""

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
    """A signed-in user; `expires_at` is the access token's expiry in seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    access_token: str
    refresh_token: str
    user_id: str
    role: Literal["customer", "admin"]
    email: str
    name: str
    expires_at: int


@dataclass
class Visitor:
    """The cookies of one request; changes are written back with the response."""

    id: str
    session: Session | None = None
    flash: str | None = None
    sign: Callable[[str], str] = str
    loaded: dict[str, Any] = field(default_factory=dict)
    carts: dict[str, Mapping[UUID, int]] = field(default_factory=dict)
    """By owner: the lines that were read during this request."""

    @property
    def known(self) -> bool:
        """Whether there can be a cart: the visitor is signed in or sent a cookie."""
        return self.session is not None or self.loaded.get("shop_visitor") is not None

    @property
    def cart_owner(self) -> str:
        """The owner of cart and purchases: the user, the same in every browser, or this visitor."""
        return f"user:{self.session.user_id}" if self.session else self.id

    @property
    def csrf_token(self) -> str:
        """What forms must carry. It is derived from visitor and user, so it is void after sign-in or sign-out."""
        return self.sign(f"{self.id}:{self.session.user_id}" if self.session else self.id)

    def sign_out(self) -> None:
        """End the session and become a new visitor, with another cart and other form tokens."""
        self.session = None
        self.id = new_visitor_id()

    def take_flash(self) -> str | None:
        message, self.flash = self.flash, None
        return message

    def values(self) -> dict[str, Any]:
        session = self.session.model_dump() if self.session else None
        return {"shop_visitor": self.id, "shop_session": session, "shop_flash": self.flash}


def new_visitor_id() -> str:
    return secrets.token_urlsafe(18)


TTL_S = {"shop_visitor": VISITOR_TTL_S, "shop_session": SESSION_TTL_S, "shop_flash": FLASH_TTL_S}


class Cookies:
    """Reads and writes the signed cookies."""

    def __init__(self, secret: str) -> None:
        if not secret:
            log.warning(
                "no SHOP_SESSION_SECRET and no SHOP_INTERNAL_TOKEN: cookies end with this process",
                extra={"event": "session_secret_missing"},
            )
        self._key = hashlib.sha256(f"storefront cookies:{secret or secrets.token_hex()}".encode()).digest()

    def read(self, headers: Headers) -> Visitor:
        """The visitor of the cookies; unsigned, expired or damaged ones count as absent."""
        jar = cookie_parser(headers.get("cookie", ""))
        read = {name: self._load(name, jar.get(name, "")) for name in TTL_S}
        visitor = read["shop_visitor"] or new_visitor_id()
        return Visitor(visitor, _session(read["shop_session"]), read["shop_flash"], self.form_token, read)

    def form_token(self, owner: str) -> str:
        """The CSRF token of `owner`, which only this service can make."""
        return hmac.new(self._key, f"csrf:{owner}".encode(), hashlib.sha256).hexdigest()

    def changes(self, visitor: Visitor, *, secure: bool) -> list[str]:
        """The Set-Cookie values for what changed since the request."""
        changed = [(name, value) for name, value in visitor.values().items() if value != visitor.loaded.get(name)]
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


def check_same_site(headers: Headers, visitor: Visitor, token: str) -> None:
    """Raises Problem 403 unless the form came from a page of this shop for this visitor."""
    origin = headers.get("origin")
    host = headers.get("host", "")
    foreign = origin is not None and origin.partition("://")[2] != host
    if foreign or not hmac.compare_digest(token.encode(), visitor.csrf_token.encode()):
        raise Problem(403, "form_expired", "This form has expired or was sent from another site. Nothing was changed.")


class SessionMiddleware:
    """Puts the `Visitor` into the request's state, and cookies and page headers onto the answer."""

    def __init__(self, app: ASGIApp, cookies: Cookies) -> None:
        self._app = app
        self._cookies = cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(NON_PAGE_PREFIXES):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visitor = self._cookies.read(headers)
        scope.setdefault("state", {})["visitor"] = visitor
        secure = scope["scheme"] == "https"

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._decorate(message, visitor, secure)
            await send(message)

        await self._app(scope, receive, send_with_cookies)

    def _decorate(self, message: MutableMapping[str, Any], visitor: Visitor, secure: bool) -> None:
        headers = MutableHeaders(scope=message)
        private = "no-store" if visitor.session else "private, no-cache"
        for name, value in {**PAGE_HEADERS, "Cache-Control": private}.items():
            headers.setdefault(name, value)
        for cookie in self._cookies.changes(visitor, secure=secure):
            headers.append("Set-Cookie", cookie)
