"""The operator's port: liveness, readiness and metrics.

/health/live fails when the operator can no longer do its work and a restart would help: a stalled watch, a controller
that has stopped. /health/ready fails while a leader has not listed everything yet, so that an installation without
rights does not count as working. A standby that waits for the Lease is alive and ready: otherwise a new version would
wait for the old leader to stop, and the old leader for the new version to be ready.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

HOST = None
"""Every address, of IPv4 and of IPv6."""
CLOSE_TIMEOUT_S = 2.0
Check = Callable[[], str]
"""Why the check fails, in a sentence; "" when it does not."""


class ProbeServer:
    """`async with ProbeServer(8000, live=..., ready=...) as server`: serves for the block. Port 0 takes a free one."""

    def __init__(self, port: int, *, live: Check, ready: Check, host: str | None = HOST) -> None:
        self._host, self._port = host, port
        routes = web.Application()
        routes.router.add_get("/health/live", _answer(live))
        routes.router.add_get("/health/ready", _answer(ready))
        routes.router.add_get("/metrics", _metrics)
        self._runner = web.AppRunner(routes, access_log=None, shutdown_timeout=CLOSE_TIMEOUT_S)

    @property
    def port(self) -> int:
        """The port in use, when port 0 was asked for."""
        address = self._runner.addresses[0]
        return int(address[1])

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def _answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        error = check()
        return web.json_response({"status": "failed" if error else "ok", "detail": error}, status=503 if error else 200)

    return answer


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
