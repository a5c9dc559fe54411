"""Control a running supervisor: one JSON line each way, over loopback, with a token from the data folder."""

import asyncio
import contextlib
import hmac
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from shop.operator.errors import ShopctlError

MAX_LINE_BYTES = 1_000_000
READ_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 120.0

Handler = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Handles commands with `handle`; a `ShopctlError` becomes `{"error": ...}`."""

    def __init__(self, token: str, handle: Handler) -> None:
        self._token = token
        self._handle = handle
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen on 127.0.0.1 and return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_LINE_BYTES)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            line = await asyncio.wait_for(reader.readline(), READ_TIMEOUT_S)
            answer = await self._answer(line)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        request = json.loads(line)
        if not isinstance(request, dict) or not hmac.compare_digest(str(request.get("token")), self._token):
            return {"error": "wrong token"}
        try:
            return await self._handle(request)
        except ShopctlError as error:
            return {"error": str(error)}


def ask(port: int, token: str, command: str, **arguments: Any) -> dict[str, Any]:
    """The supervisor's answer; raises `ShopctlError` with its refusal, `ConnectionError` when there is none."""
    request = json.dumps({"token": token, "command": command, **arguments}).encode() + b"\n"
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as file:
            line = file.readline(MAX_LINE_BYTES)
    if not line:
        raise ConnectionError("the supervisor ended before it answered")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise ShopctlError(answer["error"])
    return answer
