"""Each request is authenticated, rate-limited and sent to its service."""

from __future__ import annotations

import functools
import math
from typing import Any

from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from shop.gateway import cors, services
from shop.gateway.headers import API_SECURITY, NO_STORE, STRICT_TRANSPORT, RequestHeaders, read_request
from shop.gateway.limits import RateLimiter, client_address, client_key, is_trusted
from shop.gateway.openapi import MergedOpenApi
from shop.gateway.overload import ConcurrencyLimits
from shop.gateway.pages import failure_page
from shop.gateway.proxy import ProxiedRequest
from shop.gateway.routing import (
    OWN_TARGET,
    STOREFRONT_SIGN_IN,
    STOREFRONT_TARGET,
    UNKNOWN_SERVICE,
    Refusal,
    Target,
    route,
)
from shop.gateway.settings import Settings
from shop.gateway.upstreams import JoinedServices, check, open_pools, probe
from shop.kit import telemetry
from shop.kit.app import Context
from shop.kit.auth import Principal
from shop.kit.errors import Problem, Unavailable, unavailable_problem
from shop.kit.exposition import start_at_zero
from shop.kit.http.client_span import client_span
from shop.kit.http.connections import Connections

LIMITED = Counter("shop_gateway_rate_limited_total", "Requests refused because a client sends too many", ["bucket"])
start_at_zero(LIMITED, ["client", "sign_in"])
HTTP_VERSIONS = frozenset({"1.0", "1.1"})
"""The parser accepts HTTP/0.9 as well, whose requests have no headers."""
Headers = list[tuple[bytes, bytes]]


class Gateway:
    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings = settings
        self._authenticator = context.authenticator
        self._connections = Connections(
            connect_timeout_s=settings.connect_timeout_s, read_timeout_s=settings.stream_idle_timeout_s
        )
        nouns = {*services.API.values(), *services.PREFIXES.values(), services.FALLBACK}
        present = sorted(filter(settings.urls, nouns))
        self.discovery = context.discovery
        self.upstreams = open_pools(present, settings, self._connections, self.discovery)
        self.joined = JoinedServices(self.upstreams, settings, self._connections, self.discovery)
        self.limits = ConcurrencyLimits(settings.latency_target_s)
        self._clients = RateLimiter(settings.rate_limit_per_second, settings.rate_limit_burst)
        self._sign_ins = RateLimiter(settings.sign_in_rate_limit_per_second, settings.sign_in_rate_limit_burst)
        documented = [self.upstreams[name] for name in present if name in services.API.values()]
        self.openapi = MergedOpenApi(self._connections, documented, settings.openapi_ttl_s)

    @classmethod
    async def build(cls, context: Context) -> Gateway:
        """The gateway, on the running event loop, to which its connections belong."""
        gateway = cls(context.settings, context)
        context.own_pools = gateway.upstreams
        context.tasks.start("lag of the event loop", gateway.limits.watch)
        context.tasks.start("probing", functools.partial(probe, gateway.upstreams.values()))
        context.tasks.start("health checks of instances", functools.partial(check, gateway.upstreams.values()))
        return gateway

    async def close(self) -> None:
        await self._connections.close()

    async def handle(self, scope: Scope, receive: Receive, send: Send, target: Target | Refusal) -> None:
        """Answer one request, by its target or with a problem document."""
        if target is UNKNOWN_SERVICE:
            target = self.joined.target(scope["path"]) or target
        if isinstance(target, Target) and target.service not in self.upstreams:
            target = UNKNOWN_SERVICE
        extra: Headers = []
        accept = ""
        try:
            headers = read_request(scope["headers"])
            accept = headers.accept if target in (STOREFRONT_TARGET, STOREFRONT_SIGN_IN) else ""
            extra = self._extra_headers(scope, target, headers)
            if isinstance(target, Target) and not self._is_preflight(scope, target, headers):
                self.limits.check(target.service)
            address = await self._admit(scope, target, headers)
            if isinstance(target, Refusal):
                raise target.problem()
            scope["route"] = target
            if await self._answer_preflight(scope, send, target, headers):
                return
            headers.forwarded += self._forwarded(scope, headers, address)
            with client_span(scope["method"], target.service):
                headers.forwarded.append(("traceparent", telemetry.traceparent()))
                proxied = ProxiedRequest(self.settings, self.upstreams[target.service], target, self.limits)
                await proxied.run(scope, receive, send, headers, extra)
        except Problem as problem:
            await _respond(problem, scope, receive, send, extra, accept)
        except Unavailable as error:
            await _respond(unavailable_problem(error), scope, receive, send, extra)

    def _extra_headers(self, scope: Scope, target: Target | Refusal, headers: RequestHeaders) -> Headers:
        extra: Headers = []
        if isinstance(target, Target) and target.api and headers.origin:
            extra += cors.response_headers(headers.origin, self.settings.cors_origins)
        if self._scheme(scope, headers) == "https":
            extra.append(STRICT_TRANSPORT)
        return extra

    def _is_preflight(self, scope: Scope, target: Target, headers: RequestHeaders) -> bool:
        return bool(scope["method"] == "OPTIONS" and target.api and headers.origin and self.settings.cors_origins)

    async def _answer_preflight(self, scope: Scope, send: Send, target: Target, headers: RequestHeaders) -> bool:
        if not self._is_preflight(scope, target, headers):
            return False
        answer = cors.preflight_headers(headers.origin, self.settings.cors_origins)
        await send({"type": "http.response.start", "status": 204 if answer else 403, "headers": answer})
        await send({"type": "http.response.body", "body": b""})
        return True

    async def _admit(self, scope: Scope, target: Target | Refusal, headers: RequestHeaders) -> str:
        """The client's address; Problem 401 without a good token where one is needed, 429 for too many requests."""
        peer = scope["client"][0] if scope.get("client") else "unknown"
        address = client_address(peer, headers.forwarded_for, self.settings.trusted_proxies)
        person, refusal = await self._identify(target, headers)
        _limit(self._clients, f"user {person.user_id}" if person else client_key(address), "client")
        if isinstance(target, Refusal) or self._is_preflight(scope, target, headers):
            return address
        if target.signs_in:
            _limit(self._sign_ins, client_key(address), "sign_in")
        if refusal and target.needs_token:
            raise refusal
        return address

    async def _identify(
        self, target: Target | Refusal, headers: RequestHeaders
    ) -> tuple[Principal | None, Problem | None]:
        """The user of the access token, or what is wrong with it.

        A bad token is ignored where none is needed: a browser with an expired one can still read products.
        """
        if isinstance(target, Refusal) or not target.api:
            return None, None
        scheme, _, token = headers.authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            challenge = {"WWW-Authenticate": "Bearer"}
            return None, Problem(401, "token_missing", "Sign in: this needs an access token.", headers=challenge)
        try:
            return await self._authenticator.principal(token.strip()), None
        except Problem as problem:
            return None, problem
        except Unavailable as error:
            return None, unavailable_problem(error)

    def _forwarded(self, scope: Scope, headers: RequestHeaders, address: str) -> list[tuple[str, str]]:
        peer = scope["client"][0] if scope.get("client") else "unknown"
        trusted = is_trusted(peer, self.settings.trusted_proxies)
        chain = f"{headers.forwarded_for}, {peer}" if trusted and headers.forwarded_for else peer
        host = headers.forwarded_host if trusted and headers.forwarded_host else headers.host
        return [
            ("x-forwarded-for", chain),
            ("x-real-ip", address),
            ("x-forwarded-proto", self._scheme(scope, headers)),
            ("x-forwarded-host", host),
            ("x-request-id", telemetry.request_id()),
        ]

    def _scheme(self, scope: Scope, headers: RequestHeaders) -> str:
        peer = scope["client"][0] if scope.get("client") else "unknown"
        if headers.forwarded_proto in ("http", "https") and is_trusted(peer, self.settings.trusted_proxies):
            return headers.forwarded_proto
        scheme: str = scope["scheme"]
        return scheme


def _limit(limiter: RateLimiter, client: str, bucket: str) -> None:
    wait_s = limiter.take(client)
    if wait_s:
        LIMITED.labels(bucket).inc()
        headers = {"Retry-After": str(math.ceil(wait_s))}
        raise Problem(429, "rate_limited", "Too many requests; please slow down.", headers=headers)


async def _respond(
    problem: Problem, scope: Scope, receive: Receive, send: Send, extra: Headers, accept: str = ""
) -> None:
    response = failure_page(problem, accept) or problem.response()
    response.raw_headers += [*API_SECURITY, NO_STORE, *extra]
    await response(scope, receive, send)


class GatewayMiddleware:
    """ASGI middleware that sends requests on; only what the gateway answers itself reaches FastAPI.

    FastAPI's own routing would cost each request more than everything else here together.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        target = route(scope["method"], scope["path"], scope["raw_path"])
        if scope["http_version"] not in HTTP_VERSIONS:
            target = Refusal(400, "malformed_request", "HTTP/1.0 and HTTP/1.1 are supported.")
        if target is OWN_TARGET:
            await self._app(scope, receive, send)
            return
        state: Any = scope["app"].state
        gateway: Gateway = state.service
        await gateway.handle(scope, receive, send, target)
