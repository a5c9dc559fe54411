"""The application factory: everything that services have in common."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute

from shop.kit import dead_letters, observe, spans, upstreams
from shop.kit.application import NO_FRAMEWORK_TELEMETRY, Application
from shop.kit.auth import Authenticator, internal_only
from shop.kit.backoff import backoff_s
from shop.kit.bus import Bus
from shop.kit.clock import Clock
from shop.kit.compression import Compress
from shop.kit.db import Database
from shop.kit.discovery.choose import discovery_of
from shop.kit.discovery.interface import Discovery
from shop.kit.docs import OPENAPI_URL, docs_router
from shop.kit.errors import Unavailable, install_error_handlers
from shop.kit.exposition import exposition, measure_lag, turn_off
from shop.kit.http import Clients
from shop.kit.http.pool import ServicePool
from shop.kit.inbox import Consumer, Inbox
from shop.kit.lean import Lean, operations
from shop.kit.methods import Methods
from shop.kit.observe import Observe
from shop.kit.outbox import Outbox
from shop.kit.settings import ServiceSettings, shown
from shop.kit.tasks import Tasks
from shop.kit.upstreams import GrpcCaller
from shop.kit.version import version_of

log = logging.getLogger(__name__)

CHECK_TIMEOUT_S = 1.0
DATABASE_WAIT_S = 60.0
DEGRADING = frozenset({"broker", "events"})
"""Checks whose failure readiness reports without answering 503."""
ReadinessCheck = Callable[[Any], Awaitable[None]]


class BesideServer(Protocol):
    """A server beside the HTTP one, such as ``shop.kit.grpc.GrpcServer``."""

    def running(
        self, service: Any, authenticator: Authenticator, ready: Callable[[], Awaitable[bool]]
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """Serve with the service object inside the context; ``ready()`` is what /health/ready answers."""


@dataclass
class Context:
    """The resources of a service, for as long as the application runs."""

    settings: Any
    bus: Bus
    clients: Clients
    tasks: Tasks
    authenticator: Authenticator
    discovery: Discovery
    clock: Clock = field(default_factory=Clock)
    own_pools: Mapping[str, ServicePool] | None = None
    """Where an application does not call other services by ``clients``: its pools by service."""
    grpc_clients: list[GrpcCaller] = field(default_factory=list)
    """The clients of gRPC servers, for whose calls there are levers as well (`shop.kit.upstreams`)."""
    _database: Database | None = None
    _outbox: Outbox | None = None

    @property
    def pools(self) -> Mapping[str, ServicePool]:
        """The called services."""
        return self.clients.pools if self.own_pools is None else self.own_pools

    @property
    def database(self) -> Database:
        if self._database is None:
            raise RuntimeError("this service has no database: SHOP_DATABASE_URL is not set")
        return self._database

    @property
    def outbox(self) -> Outbox:
        if self._outbox is None:
            raise RuntimeError("this service has no outbox: SHOP_DATABASE_URL is not set")
        return self._outbox


async def service_of(request: Request) -> Any:
    """The service object that ``build`` returned. A coroutine, because a plain dependency would run in a thread."""
    return request.app.state.service


def create_app(
    settings: ServiceSettings,
    *,
    title: str,
    routers: Sequence[APIRouter] = (),
    build: Callable[[Context], Any] | None = None,
    consumers: Callable[[Any], Sequence[Consumer]] | None = None,
    middleware: Sequence[tuple[type, dict[str, Any]]] = (),
    readiness: Sequence[tuple[str, ReadinessCheck]] = (),
    beside: Sequence[BesideServer] = (),
    uses_bus: bool = True,
    documented: bool = True,
    behind_gateway: bool = True,
) -> FastAPI:
    """A FastAPI application with health, metrics, problem documents, tracing, outbox relay and consumers.

    ``build(context)``, which may be a coroutine, returns the service object; its ``close()``, if it has one, is
    awaited at the end. ``readiness`` adds named checks, called with the service object, which raise to fail.
    ``beside`` are further servers, which run as long as the application.
    """

    async def ready() -> bool:
        return not _failed(await _checks(app, settings, uses_bus, readiness))

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _configure_spans(settings)
        async with _running(settings, uses_bus) as context:
            app.state.context, app.state.authenticator = context, context.authenticator
            service = build(context) if build else None
            app.state.service = await service if inspect.isawaitable(service) else service
            if consumers is not None:
                _consume(app, context, consumers(app.state.service))
            try:
                async with contextlib.AsyncExitStack() as stack:
                    for server in beside:
                        await stack.enter_async_context(server.running(app.state.service, context.authenticator, ready))
                    await context.discovery.known()
                    context.discovery.announce(context.tasks, ready)
                    yield
            finally:
                await context.tasks.stop()
                if hasattr(app.state.service, "close"):
                    await app.state.service.close()
                await spans.close()

    app = Application(
        title=title,
        version="0.1.0",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=OPENAPI_URL if documented else None,
        telemetry=NO_FRAMEWORK_TELEMETRY,
    )
    app.state.internal_token = settings.internal_token
    install_error_handlers(app)
    documentation = [docs_router(title)] if documented else []
    letters = [dead_letters.router] if consumers is not None else []
    operational = _operational_routes(settings, uses_bus, readiness), upstreams.upstream_router()
    _add_routes(app, (*routers, *operational, *letters, *documentation))
    observe.expect(_templates(routers))
    if found := operations(app.router.routes):
        app.add_middleware(Lean, operations=found)
    app.add_middleware(Compress)
    app.add_middleware(Methods)
    for kind, options in middleware:
        app.add_middleware(kind, **options)  # type: ignore[arg-type]
    app.add_middleware(Observe, max_body_bytes=settings.max_body_bytes, behind_gateway=behind_gateway)
    return app


def _consume(app: FastAPI, context: Context, consumers: Sequence[Consumer]) -> None:
    inbox = Inbox(context.settings.service, context.database, context.bus)
    inbox.start(consumers, context.tasks)
    app.state.dead_letters = dead_letters.DeadLetters(context.database, inbox, consumers)


def _configure_spans(settings: ServiceSettings) -> None:
    sampling = settings.trace_sample_ratio, settings.traces_per_second
    spans.configure(settings.service, settings.tracing_endpoint, *sampling)


def _add_routes(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Routes of an included router are searched twice, which costs more than all else that a small request needs."""
    for router in routers:
        app.router.routes.extend(router.routes)


def _templates(routers: Sequence[APIRouter]) -> Iterator[tuple[str, str, int]]:
    """Method, path template and status of a success, of every operation."""
    for route in (route for router in routers for route in router.routes if isinstance(route, APIRoute)):
        for method in route.methods or ():
            yield method, route.path, route.status_code or 200


@contextlib.asynccontextmanager
async def _running(settings: ServiceSettings, uses_bus: bool) -> AsyncIterator[Context]:
    bus = Bus(settings.nats_url, settings.service, settings.stream_bytes)
    discovery = discovery_of(settings, bus, observe.inflight)
    context = Context(
        settings=settings,
        bus=bus,
        clients=Clients(settings.internal_token, discovery),
        tasks=Tasks(),
        authenticator=Authenticator(settings.jwks_url, discovery),
        discovery=discovery,
    )
    if settings.metrics:
        context.tasks.start("event loop lag", measure_lag)
    context.tasks.start("health checks", context.clients.check)
    try:
        if uses_bus:
            context.bus.start(context.tasks)
        elif settings.discovery == "registry":
            context.bus.connect(context.tasks)
        discovery.start(context.tasks)
        if settings.database_url:
            context._database = await _connect(settings)
            retention_s = settings.outbox_retention_hours * 3600
            context._outbox = Outbox(context.database, context.bus, settings.service, retention_s)
            if uses_bus:
                context.tasks.start("outbox", context.outbox.run)
                context.tasks.start("outbox age", context.outbox.watch)
                context.tasks.start("outbox wake-ups", context.outbox.receive_wake_ups)
        yield context
    finally:
        await discovery.leave()
        await context.tasks.stop()
        await context.clients.close()
        await context.bus.close()
        if context._database is not None:
            await context.database.close()


async def _connect(settings: ServiceSettings) -> Database:
    """Connect to the database, for up to DATABASE_WAIT_S seconds: it may be starting at the same time."""
    deadline = asyncio.get_running_loop().time() + DATABASE_WAIT_S
    attempt = 0
    while True:
        try:
            return await Database.connect(
                settings.database_url,
                pool_size=settings.database_pool_size,
                application=settings.service,
                pooler=settings.database_pooler,
            )
        except Unavailable as error:
            if asyncio.get_running_loop().time() > deadline:
                raise
            log.warning("waiting for the database: %s", error, extra={"event": "database_awaited"})
            await asyncio.sleep(backoff_s(attempt, max_s=2.0))
            attempt += 1


def _operational_routes(
    settings: ServiceSettings, uses_bus: bool, readiness: Sequence[tuple[str, ReadinessCheck]]
) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    about = {"service": settings.service, "version": version_of(settings.service)}

    @router.get("/health/live")
    async def live() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/health/ready")
    @router.get("/health")
    async def ready(request: Request) -> Response:
        """503 when the service cannot work. Events that cannot be published only degrade it: they are stored in the
        outbox, and taking every pod out of service would not help."""
        checks = await _checks(request.app, settings, uses_bus, readiness)
        if not request.app.state.context.discovery.announced():
            checks["registration"] = "not registered yet"
        failed = _failed(checks)
        status = "unavailable" if failed else "degraded" if set(checks.values()) != {"ok"} and checks else "ok"
        return JSONResponse({"status": status, **about, "checks": checks}, 503 if failed else 200)

    @router.get("/internal/settings", dependencies=[Depends(internal_only)])
    async def shown_settings() -> Response:
        return JSONResponse(shown(settings))

    if settings.metrics:
        router.add_api_route("/metrics", _metrics)
    else:
        turn_off()
    return router


async def _metrics(request: Request) -> Response:
    # Of a service with many routes this takes some 20 ms, for which no request may wait.
    content, content_type = await asyncio.to_thread(exposition, request.headers.get("Accept", ""))
    return Response(content, headers={"Content-Type": content_type})


def _failed(checks: Mapping[str, str]) -> list[str]:
    """The checks that make the service unavailable."""
    return [name for name, result in checks.items() if result != "ok" and name not in DEGRADING]


async def _checks(
    app: FastAPI, settings: ServiceSettings, uses_bus: bool, readiness: Sequence[tuple[str, ReadinessCheck]]
) -> dict[str, str]:
    context: Context = app.state.context
    service = app.state.service
    checks: dict[str, str] = {}
    if settings.database_url:
        checks["database"] = await _result(context.database.check())
    if settings.jwks_url:
        checks["keys"] = await _result(context.authenticator.ready())
    if uses_bus:
        checks["broker"] = context.bus.state()
        if settings.database_url:
            checks["events"] = context.outbox.state()
    for name, check in readiness:
        checks[name] = await _result(check(service))
    if context.tasks.failed():
        checks["tasks"] = ", ".join(context.tasks.failed())
    return checks


async def _result(check: Awaitable[Any]) -> str:
    try:
        await asyncio.wait_for(check, CHECK_TIMEOUT_S)
    except Exception as error:  # noqa: BLE001 - any failure is reported as its text
        return f"{type(error).__name__}: {error}"[:200]
    return "ok"
