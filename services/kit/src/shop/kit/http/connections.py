"""HTTP/1.1 connections to the shop's services, kept open and reused; aiohttp without its session's conveniences.

This module alone depends on what aiohttp does inside, so that a change of it is met in one place.
"""

from __future__ import annotations

import aiohttp
from aiohttp.connector import BaseConnector, Connection

CONNECT_TIMEOUT_S = 1.0
KEEP_ALIVE_S = 30.0
"""Less than the 75 s of the services, so that a connection is not used just as the other side closes it."""

NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""No connection was made: not a byte of the request was sent. To be caught before CLOSED, which includes them."""
CLOSED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)
"""The connection was closed before the head of the answer came."""
FAILED = (aiohttp.ClientError, OSError, TimeoutError)
"""Everything that can go wrong after a request was sent, the above included."""

FIRST_ERROR_STATUS = 400
FIRST_FAULT_STATUS = 500
REQUEST_ID = "x-request-id"


class ServiceResponse(aiohttp.ClientResponse):
    """Closes a misrouted connection instead of returning it to the pool, and its idle siblings with it.

    A connection may lead to another program than the service: to a proxy, or out of a cluster at the moment when a
    Service has no pod. That program keeps it open and would answer every later request. A service repeats the
    request's id in all its answers, which a 4xx or 5xx of another program does not.
    """

    misrouted = False

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        await super().start(connection)
        if self.status >= FIRST_ERROR_STATUS:
            self.misrouted = self.headers.get(REQUEST_ID) != self.request_info.headers.get(REQUEST_ID)
        if self.misrouted:
            if protocol is not None:
                protocol.force_close()
            # An answer that came in one piece has returned its connection already.
            _close_idle(connection)
        return self


def _close_idle(connection: Connection) -> None:
    """Close the idle connections to the same address."""
    connector: BaseConnector = connection._connector
    for protocol, _ in connector._conns.pop(connection._key, ()):
        protocol.close()


class Connections:
    """Two sessions: ``reused`` for nearly all requests, ``single_use`` for one that a closing connection lost.

    ``per_host`` limits the connections to one address, 0 for no limit; ``read_timeout_s`` is the longest time between
    two pieces of an answer, None for no limit.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float | None = None,
        per_host: int = 0,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s, sock_read=read_timeout_s)
        self.reused = self._open(aiohttp.TCPConnector(limit=0, limit_per_host=per_host, keepalive_timeout=KEEP_ALIVE_S))
        self.single_use = self._open(aiohttp.TCPConnector(limit=0, limit_per_host=per_host, force_close=True))

    def _open(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=connector,
            response_class=ServiceResponse,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            auto_decompress=False,
            trust_env=False,
        )
        # Its own second try would take the next kept connection, which a service that ends has closed, too.
        session._retry_connection = False
        return session

    async def close(self) -> None:
        await self.reused.close()
        await self.single_use.close()
