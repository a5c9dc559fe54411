"""Commands to Valkey over one connection, each sent at once and answered in order, for reads that a request waits for.

redis-py takes a connection of its pool for each command, with locks, timeouts and retries around it: measured, three
times the CPU of what is left here. Only commands that may be sent twice belong here, because one that a closing
connection lost is sent again. Whatever changes data is sent with `shop.kit.valkey`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from ssl import SSLContext
from typing import Any, cast

import hiredis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as ValkeyTimeoutError

from shop.kit import store_spans

MAX_WAITING = 1_024
"""Commands whose answers are not here yet; further ones are refused."""
NOT_COMPLETE = object()

type Part = str | bytes | int


class ValkeyPipeline:
    """Connects with the first command, and again after the connection was lost. ``timeout_s`` limits each command."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._options: dict[str, Any] = dict(parse_url(url))
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def execute(self, *command: Part) -> Any:
        """The answer, with texts as bytes. Raises redis-py's NoScriptError, ResponseError and connection errors."""
        with store_spans.command(str(command[0])):
            answer = await self._answer(command)
        if isinstance(answer, hiredis.ReplyError):
            text = str(answer)
            raise NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
        return answer

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def _answer(self, command: tuple[Part, ...]) -> Any:
        packed = _packed(command)
        try:
            return await (await self._connected()).send(packed)
        except ValkeyConnectionError:
            # The server closed the connection, perhaps because it was restarted.
            return await (await self._connected()).send(packed)

    async def _connected(self) -> _Connection:
        if self._connection is None or self._connection.lost:
            async with self._connecting:
                if self._connection is None or self._connection.lost:
                    self._connection = await self._connect()
        return self._connection

    async def _connect(self) -> _Connection:
        options = self._options
        host, port = str(options.get("host", "localhost")), int(options.get("port", 6379))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                _, made = await loop.create_connection(
                    lambda: _Connection(self._timeout_s), host, port, ssl=_encryption(options)
                )
                try:
                    await _greet(made, options)
                except BaseException:
                    made.close()
                    raise
        except TimeoutError:
            raise ValkeyTimeoutError(f"no connection after {self._timeout_s:g} s") from None
        return made


def _packed(command: tuple[Part, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(cast(Any, command))  # it is declared for a command of one part
    return packed


async def _greet(connection: _Connection, options: dict[str, Any]) -> None:
    commands: list[tuple[Part, ...]] = []
    if "password" in options:
        user = (options["username"],) if options.get("username") else ()
        commands.append(("AUTH", *user, options["password"]))
    if options.get("db"):
        commands.append(("SELECT", options["db"]))
    for command in commands:
        answer = await connection.send(_packed(command))
        if isinstance(answer, hiredis.ReplyError):
            raise ValkeyConnectionError(f"{command[0]!r}: {answer}")


def _encryption(options: dict[str, Any]) -> SSLContext | None:
    """As redis-py makes it from the same URL."""
    if options.get("connection_class") is not SSLConnection:
        return None
    given = {name: value for name, value in options.items() if name != "connection_class"}
    return SSLConnection(**given).ssl_context.get()


class _Connection(asyncio.Protocol):
    def __init__(self, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._reader = hiredis.Reader(notEnoughData=NOT_COMPLETE)
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.lost = False

    def send(self, packed: bytes) -> asyncio.Future[Any]:
        """The answer, which may be an error of the server."""
        future = self._loop.create_future()
        if self.lost or self._transport is None:
            future.set_exception(ValkeyConnectionError("the connection is closed"))
        elif len(self._waiting) >= MAX_WAITING:
            future.set_exception(ValkeyTimeoutError(f"{MAX_WAITING} commands wait for an answer"))
        else:
            self._waiting.append((self._loop.time() + self._timeout_s, future))
            self._transport.write(packed)
            if self._timer is None:
                self._timer = self._loop.call_later(self._timeout_s, self._check)
        return future

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._end(ValkeyConnectionError("the connection is closed"))

    def _check(self) -> None:
        """One timer for all commands: answers come in the order of the commands, so the first one is due first."""
        self._timer = None
        if not self._waiting:
            return
        left_s = self._waiting[0][0] - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check)
            return
        self._end(ValkeyTimeoutError(f"no answer after {self._timeout_s:g} s"))
        self.close()

    def _end(self, error: Exception) -> None:
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not NOT_COMPLETE:
                _, future = self._waiting.popleft()
                if not future.done():  # its caller may not wait any more
                    future.set_result(answer)
        except (hiredis.ProtocolError, IndexError):
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(ValkeyConnectionError(f"the connection was lost: {error}" if error else "the connection was closed"))
