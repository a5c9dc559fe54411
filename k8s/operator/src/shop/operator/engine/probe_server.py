"""The operator's port: liveness, readiness and metrics.

/health/live fails when the operator can no longer do its work and a restart would help: a stalled watch, a controller
that has stopped. /health/ready fails while a leader has not listed everything yet, so that an installation without
rights does not count as working. A standby that waits for the Lease is alive and ready: otherwise a new version would
wait for the old leader to stop, and the old leader for the new version to be ready.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

HOST = None
"""Every address, of IPv4 and of IPv6."""
CLOSE_TIMEOUT_S = 2.0
Check = Callable[[], str]
"""Why the check fails, in a sentence; "" when it does not."""


@asynccontextmanager
async def probe_server(port: int, *, live: Check, ready: Check, host: str | None = HOST) -> AsyncIterator[int]:
    """Serve for the block, which gets the port in use: port 0 takes a free one."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes = web.Application()
    routes.router.add_get("/health/live", _handler(live))
    routes.router.add_get("/health/ready", _handler(ready))
    routes.router.add_get("/metrics", metrics)
    runner = web.AppRunner(routes, access_log=None, shutdown_timeout=CLOSE_TIMEOUT_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _handler(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        error = check()
        return web.json_response({"status": "failed" if error else "ok", "detail": error}, status=503 if error else 200)

    return handle
