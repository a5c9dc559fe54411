"""The operator's own port: is it alive, is it of use, and what does it count.

/health/live fails when the operator can no longer do its work and a restart would help: a watch that is dead, a loop
that has ended. /health/ready fails while a leader has not read everything yet, so that an installation without rights
does not pass for one that works. A standby that waits for the Lease is alive and ready: were it not, a new version
would wait for the old leader to go, and the old leader for the new version to be ready.
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
        """The port that is served, for who asked for any."""
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
        trouble = check()
        return web.json_response(
            {"status": "failed" if trouble else "ok", "detail": trouble}, status=503 if trouble else 200
        )

    return answer


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
