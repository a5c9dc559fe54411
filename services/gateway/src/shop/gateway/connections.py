"""Connections to the services: kept ones for nearly everything, a fresh one for what a closing one swallowed."""

from __future__ import annotations

import aiohttp

from shop.gateway.settings import Settings

KEEP_ALIVE_S = 30.0
"""Less than the 75 s of the services, so that a connection is not used just as the other side closes it."""

NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""What says that not a byte of the request was sent."""
HUNG_UP = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
"""What says that the connection was closed before the head of an answer came; NOT_CONNECTED is to be caught first."""
BROKEN = (aiohttp.ClientError, OSError, TimeoutError)


class Connections:
    """Sessions that pass requests and answers through as they are."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.kept = self._open(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S))
        self.fresh = self._open(aiohttp.TCPConnector(limit=0, force_close=True))

    def _open(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        settings = self._settings
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=settings.connect_timeout_s, sock_read=settings.stream_idle_timeout_s
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            auto_decompress=False,
            trust_env=False,
        )
        # Its own second try would take the next kept connection, which a service that ends has closed, too.
        session._retry_connection = False
        return session

    async def close(self) -> None:
        await self.kept.close()
        await self.fresh.close()
