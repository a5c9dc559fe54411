"""Connections to the services: kept ones for nearly everything, a fresh one for what a closing one swallowed."""

from __future__ import annotations

import aiohttp
from aiohttp.connector import Connection

from shop.gateway.settings import Settings

KEEP_ALIVE_S = 30.0
"""Less than the 75 s of the services, so that a connection is not used just as the other side closes it."""

NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""What says that not a byte of the request was sent."""
HUNG_UP = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
"""What says that the connection was closed before the head of an answer came; NOT_CONNECTED is to be caught first."""
BROKEN = (aiohttp.ClientError, OSError, TimeoutError)

REFUSED = 400
REQUEST_ID = "x-request-id"


class Answer(aiohttp.ClientResponse):
    """Leaves its connection when a refusal or a fault does not repeat the request's id, as all of every service do.

    A connection can lead to somebody else: to a proxy, or out of a cluster in the moment in which a Service has no
    pod. He keeps it open, and would answer for ever what is meant for the service. Content types do not tell him from
    the storefront, whose failures are pages.
    """

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        await super().start(connection)
        if protocol is not None and self.status >= REFUSED and not self._is_of_a_service():
            protocol.force_close()
            if self.connection is None:  # The whole answer is here, and the connection among the kept ones again.
                protocol.close()
        return self

    def _is_of_a_service(self) -> bool:
        return self.headers.get(REQUEST_ID) == self.request_info.headers.get(REQUEST_ID)


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
            response_class=Answer,
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
