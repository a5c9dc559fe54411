"""A gRPC server that starts and stops with the service's application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from shop.kit import draining
from shop.kit.auth import Authenticator
from shop.kit.grpc.caller import Authentication
from shop.kit.grpc.interceptor import ServerInterceptor, expect
from shop.kit.grpc.settings import GrpcSettings

UNREADY_POLL_S = 1.0
READY_POLL_S = 5.0
"""How long health may lag behind a service that is not ready any more; it finds out by a statement."""
LINGER_S = 1.0
"""How long a stopping server still takes new calls, so that clients can see NOT_SERVING and go elsewhere."""
MAX_SEND_BYTES = 4 << 20
MAX_METADATA_BYTES = 16 << 10
MAX_CONNECTION_AGE_GRACE_S = 60
"""For the calls under way on a connection that has reached its age; none may take longer (``deadline.MAX_S``)."""
KEEPALIVE_S = 30
KEEPALIVE_TIMEOUT_S = 10
MIN_PING_INTERVAL_S = 10
"""Clients that send pings more often are disconnected."""

Register = Callable[[Any, grpc.aio.Server], None]
"""From the service object and a server: adds the servicers."""


def options(settings: GrpcSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", MAX_SEND_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_connection_age_ms", int(settings.grpc_max_connection_age_s * 1_000)),
        ("grpc.max_connection_age_grace_ms", MAX_CONNECTION_AGE_GRACE_S * 1_000),
        ("grpc.keepalive_time_ms", KEEPALIVE_S * 1_000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1_000),
        ("grpc.http2.min_ping_interval_without_data_ms", int(MIN_PING_INTERVAL_S * 1_000)),
        # Each process has a port of its own; two that share one by mistake must fail.
        ("grpc.so_reuseport", 0),
    ]


class GrpcServer:
    """``files`` are the descriptors of the .proto files whose services ``register`` adds.

    Callers have the token that the services share or, for a server that takes ``users``, an access token; methods find
    the caller in ``shop.kit.grpc.caller``.
    """

    def __init__(
        self, settings: GrpcSettings, register: Register, files: Sequence[FileDescriptor], *, users: bool = False
    ) -> None:
        self._settings = settings
        self._users = users
        self._register = register
        services = [service for file in files for service in file.services_by_name.values()]
        self._services = [service.full_name for service in services]
        expect(f"/{service.full_name}/{method.name}" for service in services for method in service.methods)
        self.port = settings.grpc_port
        """Where it listens, once it runs."""

    @contextlib.asynccontextmanager
    async def running(
        self, service: Any, authenticator: Authenticator, ready: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[None]:
        """Serve; health follows ``ready``. At the end, or when draining begins, calls under way are finished."""
        settings = self._settings
        authentication = Authentication(settings.internal_token, authenticator, users=self._users)
        server = grpc.aio.server(
            interceptors=[ServerInterceptor(authentication)],
            options=options(settings),
            maximum_concurrent_rpcs=settings.grpc_max_concurrent_calls,
        )
        checks = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        reflection.enable_server_reflection([*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        self._register(service, server)
        self.port = self._bind(server)
        await self._set(checks, health_pb2.HealthCheckResponse.NOT_SERVING)
        await server.start()
        following = asyncio.create_task(self._follow(checks, ready))
        stopping: list[asyncio.Task[None]] = []

        def stop(linger_s: float) -> None:
            if not stopping:
                stopping.append(asyncio.create_task(self._stop(server, checks, linger_s)))

        forget = draining.on_begin(lambda: stop(LINGER_S))
        try:
            yield
        finally:
            forget()
            stop(0)
            await stopping[0]
            following.cancel()
            await asyncio.wait([following])

    def _bind(self, server: grpc.aio.Server) -> int:
        address = f"{self._settings.grpc_host}:{self._settings.grpc_port}"
        try:
            return server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen for gRPC on {address}") from error

    async def _follow(self, checks: health.aio.HealthServicer, ready: Callable[[], Awaitable[bool]]) -> None:
        """Keep the health service's statuses equal to the service's readiness."""
        while True:
            is_ready, statuses = await ready(), health_pb2.HealthCheckResponse
            await self._set(checks, statuses.SERVING if is_ready else statuses.NOT_SERVING)
            await asyncio.sleep(READY_POLL_S if is_ready else UNREADY_POLL_S)

    async def _set(self, checks: health.aio.HealthServicer, status: int) -> None:
        for name in ("", *self._services):
            await checks.set(name, status)

    async def _stop(self, server: grpc.aio.Server, checks: health.aio.HealthServicer, linger_s: float) -> None:
        await checks.enter_graceful_shutdown()
        await asyncio.sleep(linger_s)
        await server.stop(self._settings.drain_seconds)
