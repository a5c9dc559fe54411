"""HEAD and OPTIONS for every route, and 405 answers that name every method of the path.

The framework has one route per method, and a route does not know the others of its path.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
READS = frozenset({"GET", "HEAD"})
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
"""Sent twice, they do no more than sent once (RFC 9110, 9.2.2)."""


class _HeadersSent(Exception):
    """The headers of the answer to HEAD are sent; its body is not needed."""


class Methods:
    """The innermost middleware, so that the others see the method that was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        elif scope["method"] == "OPTIONS" and (methods := allowed(scope)):
            await Response(status_code=204, headers={"Allow": methods})(scope, receive, send)
        else:
            await self._app(scope, receive, _with_allow_header(scope, send))

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The headers of GET; a stream is ended after them."""
        as_get = {**scope, "method": "GET"}

        async def headers_only(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                raise _HeadersSent

        try:
            await self._app(as_get, receive, _with_allow_header(as_get, headers_only))
        except* _HeadersSent:
            pass
        finally:
            scope["route"] = as_get.get("route")


def _with_allow_header(scope: Scope, send: Send) -> Send:
    original = {name: scope.get(name) for name in ("path", "root_path")}  # a mounted folder changes them

    async def send_with_allow(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 405:
            others = [(name, value) for name, value in message["headers"] if name.lower() != b"allow"]
            message = {**message, "headers": [*others, (b"allow", allowed({**scope, **original}).encode())]}
        await send(message)

    return send_with_allow


def allowed(scope: Scope) -> str:
    """The methods of the request's path, as an Allow header lists them; "" when there is no such path."""
    routes = [route for route in scope["app"].router.routes if route.matches(scope)[0] is not Match.NONE]
    if not routes:
        return ""
    found = {method for method in METHODS if any(_takes(route, scope, method) for route in routes)}
    if "GET" in found:
        found.add("HEAD")
    return ", ".join(sorted(found | {"OPTIONS"}))


def _takes(route: BaseRoute, scope: Scope, method: str) -> bool:
    """A mounted folder of files matches every method, and its files can be read."""
    if isinstance(route, Mount):
        return method == "GET"
    return route.matches({**scope, "method": method})[0] is Match.FULL
