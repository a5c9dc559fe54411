"""The connections to the shop's services, kept open and reused."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
import ssl
from collections.abc import Callable, Collection

from yarl import URL

from shop.kit.http.answer import Answer
from shop.kit.http.connection import REQUEST_ID, Body, Closed, ConnectFailed, Connection, request_head

CONNECT_TIMEOUT_S = 1.0
LOOKUP_TIMEOUT_S = 5.0
"""Of a name's IP addresses; a cluster's name server may be slow for a moment."""
KEEP_ALIVE_S = 30.0
"""Less than the 75 s of the services, so that a connection is not used just as the other side closes it."""

NOT_CONNECTED = ConnectFailed
CLOSED = Closed
FAILED = OSError
"""Everything that can go wrong with a request, TimeoutError and the above included."""

OK_STATUS = 200
FIRST_FAULT_STATUS = 500


class _Address:
    """The host and port of a base URL, with the connections to it that are idle, the last used one at the end."""

    def __init__(self, base_url: str, limit: int) -> None:
        url = URL(base_url)
        self.host, self.port, self.tls = url.host or "", url.port or 0, url.scheme == "https"
        self.name = url.host_port_subcomponent or ""
        self.prefix = url.raw_path.rstrip("/")
        self.is_name = not _is_ip(self.host)
        self.idle: list[Connection] = []
        self.slots = asyncio.Semaphore(limit) if limit else None
        self.in_use = 0

    async def hosts(self) -> list[str]:
        """The IP addresses, looked up each time, because those of a name change; OSError for a name without any."""
        if not self.is_name:
            return [self.host]
        async with asyncio.timeout(LOOKUP_TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def take(self, idle_since: float) -> Connection | None:
        """An idle connection that can be used, and was used after ``idle_since``."""
        while self.idle:
            connection = self.idle.pop()
            if connection.usable and connection.idle_since > idle_since:
                return connection
            connection.close()
        return None

    def close_idle(self, idle_since: float = float("inf")) -> None:
        """Close the connections that were not used after ``idle_since``."""
        idle, self.idle = self.idle, []
        for one in idle:
            if one.usable and one.idle_since > idle_since:
                self.idle.append(one)
            else:
                one.close()


class Connections:
    """Connections to any number of services.

    ``per_host`` limits the requests at a time to one address, 0 for no limit, and those by a connection of their own do
    not count: health checks and repetitions are not to wait for slow requests. ``read_timeout_s`` is the longest time
    between two pieces of an answer, None for no limit.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float | None = None,
        per_host: int = 0,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._per_host = per_host
        self._addresses: dict[str, _Address] = {}
        self._open: set[Connection] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None

    async def send(
        self,
        base_url: str,
        method: str,
        target: str,
        headers: Collection[tuple[str, str]] = (),
        body: Body = None,
        *,
        new: bool = False,
    ) -> Answer:
        """Send a request, and return its answer when the head has arrived; the caller closes it.

        ``target`` is the encoded path and query, ``headers`` have names in lower case. ``new``: by a connection of its
        own, which is closed afterwards. Raises one of FAILED.

        A connection may lead to another program than the service: to a proxy, or out of a cluster at the moment when a
        Service has no pod. That program keeps it open and would answer every later request. A service repeats the
        request's id in all its answers, which a 4xx or 5xx of another program does not: then the answer is misrouted,
        its connection is closed, and with it the idle ones to the same address.
        """
        address = self._addresses.get(base_url)
        if address is None:
            address = self._addresses[base_url] = _Address(base_url, self._per_host)
            if self._sweep_timer is None:
                self._sweep_timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_S, self._sweep)
        if new:
            headers = [*headers, ("connection", "close")]
        head = request_head(method, address.prefix + target, address.name, headers, body)
        request_id = next((value for name, value in headers if name == REQUEST_ID), "")
        connection = await self._connection(address, new=new)
        answer = await connection.send(method, head, body, request_id)
        if answer.misrouted and not new:
            address.close_idle()
        return answer

    async def fetch(self, base_url: str, target: str, timeout_s: float) -> bytes:
        """The body of what is at ``target``, by a connection of its own; OSError if there is none within that time."""
        async with asyncio.timeout(timeout_s):
            with contextlib.closing(await self.send(base_url, "GET", target, new=True)) as answer:
                content = await answer.read()
        if answer.status != OK_STATUS:
            raise OSError(f"{base_url}{target} answered {answer.status}")
        return content

    async def _connection(self, address: _Address, *, new: bool) -> Connection:
        """One for a single request, after which it calls `_ended`."""
        slots = None if new else address.slots
        address.in_use += 1
        if slots is not None:
            try:
                await slots.acquire()
            except BaseException:
                self._release(address, None)
                raise
        kept = None if new else address.take(asyncio.get_running_loop().time() - KEEP_ALIVE_S)
        if kept is not None:
            return kept
        try:
            connection = await self._connect(address, functools.partial(self._ended, address, new))
        except BaseException as error:
            self._release(address, slots)
            if isinstance(error, OSError):
                raise ConnectFailed(f"{address.name}: {str(error) or type(error).__name__}") from error
            raise
        self._open.add(connection)
        return connection

    async def _connect(self, address: _Address, ended: Callable[[Connection, bool], None]) -> Connection:
        """A connection to the first of the host's IP addresses that takes one."""
        loop, failed = asyncio.get_running_loop(), OSError("the name has no address")
        tls, name = (_tls(), address.host) if address.tls else (None, None)
        for host in await address.hosts():
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    _, connection = await loop.create_connection(
                        lambda: Connection(ended, self._read_timeout_s),
                        host,
                        address.port,
                        ssl=tls,
                        server_hostname=name,
                    )
                return connection
            except OSError as error:
                failed = error
        raise failed

    def _ended(self, address: _Address, new: bool, connection: Connection, reusable: bool) -> None:
        """A request is over, well or not."""
        self._release(address, None if new else address.slots)
        if not reusable or new or not connection.usable:
            self._open.discard(connection)
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        address.idle.append(connection)

    def _release(self, address: _Address, slots: asyncio.Semaphore | None) -> None:
        address.in_use -= 1
        if slots is not None:
            slots.release()

    def _sweep(self) -> None:
        """Close what was idle for too long, and forget addresses to which there is nothing any more."""
        loop = asyncio.get_running_loop()
        for address in self._addresses.values():
            address.close_idle(loop.time() - KEEP_ALIVE_S)
        self._addresses = {url: one for url, one in self._addresses.items() if one.idle or one.in_use}
        self._open = {one for one in self._open if one.usable}
        self._sweep_timer = loop.call_later(KEEP_ALIVE_S, self._sweep) if self._addresses else None

    async def close(self) -> None:
        """Close all connections; requests that are under way fail."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        for address in self._addresses.values():
            address.close_idle()
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)  # the event loop closes them in its next turn


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
