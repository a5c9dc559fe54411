"""Visitors of pages: signed cookies, CSRF tokens, and the security headers of every page.

All services with pages share the shop's key, so a visitor who signs in at one of them is signed in at all. One of them
signs visitors in and out and renews their access tokens; the others read what it wrote. The access token in the cookie
is verified by each service that it is sent to.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Collection, MutableMapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, Literal

from itsdangerous import BadSignature, URLSafeTimedSerializer
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop.kit.errors import Problem

log = logging.getLogger(__name__)

VISITOR_TTL_S = 30 * 24 * 3600
SESSION_TTL_S = 30 * 24 * 3600
FLASH_TTL_S = 120
MAX_FORM_FIELDS = 60

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
    """A signed-in user; `expires_at` is the access token's expiry in seconds since 1970.

    `signed_in_at` is when the user last typed the password, in the same unit; renewing the tokens does not change it.
    """

    model_config = ConfigDict(frozen=True)

    access_token: str
    refresh_token: str
    user_id: str
    role: Literal["customer", "admin"]
    email: str
    name: str
    expires_at: int
    signed_in_at: int = 0

    def is_fresh(self, now: float, within_s: float) -> bool:
        """Whether the user typed the password in the last `within_s` seconds; `now` is in seconds since 1970."""
        return 0 <= now - self.signed_in_at <= within_s


@dataclass
class Visitor:
    """The cookies of one request; changes are written back with the response."""

    id: str
    session: Session | None = None
    flash: str | None = None
    sign: Callable[[str], str] = str
    loaded: dict[str, Any] = field(default_factory=dict)

    @property
    def csrf_token(self) -> str:
        """What forms must carry. It is derived from visitor and user, so it is void after sign-in or sign-out."""
        return self.sign(f"{self.id}:{self.session.user_id}" if self.session else self.id)

    def sign_out(self) -> None:
        """End the session and become a new visitor, with other form tokens."""
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


class Cookies[V: Visitor]:
    """Reads and writes the signed cookies of visitors, which are made as `kind`.

    Services of one shop have the same `secret`; without one the cookies end with the process.
    """

    def __init__(self, secret: str, kind: type[V]) -> None:
        if not secret:
            log.warning(
                "no SHOP_SESSION_SECRET and no SHOP_INTERNAL_TOKEN: cookies end with this process",
                extra={"event": "session_secret_missing"},
            )
        self._kind = kind
        # The name is that of the service which made the cookies first; another one would end every session.
        self._key = hashlib.sha256(f"storefront cookies:{secret or secrets.token_hex()}".encode()).digest()

    def read(self, headers: Headers) -> V:
        """The visitor of the cookies; unsigned, expired or damaged ones count as absent."""
        jar = cookie_parser(headers.get("cookie", ""))
        read = {name: self._load(name, jar.get(name, "")) for name in TTL_S}
        visitor = read["shop_visitor"] or new_visitor_id()
        return self._kind(visitor, _session(read["shop_session"]), read["shop_flash"], self.form_token, read)

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


async def posted_form(request: Request) -> dict[str, str]:
    """The fields of a submitted form; Problem 403 if its CSRF token is not this visitor's."""
    form = await request.form(max_files=0, max_fields=MAX_FORM_FIELDS)
    values = {name: value for name, value in form.items() if isinstance(value, str)}
    check_same_site(request.headers, request.state.visitor, values.pop("csrf_token", ""))
    return values


class SessionMiddleware:
    """Puts the visitor into the request's state, and cookies and page headers onto the answer.

    Paths that begin with one of `other_paths` are no pages: they get no cookie and no page header.
    """

    def __init__(self, app: ASGIApp, cookies: Cookies[Any], other_paths: Collection[str]) -> None:
        self._app = app
        self._cookies = cookies
        self._other_paths = tuple(other_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(self._other_paths):
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
