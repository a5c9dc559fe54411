"""Control a running supervisor: a JSON line each way, over loopback, with a token from the data folder.

A client that asks for it gets, every PROGRESS_EVERY_S until the answer, what the supervisor waits for. A command is
carried out to its end, whether or not the client stays.
"""

import asyncio
import contextlib
import hmac
import json
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, BinaryIO

from shop.operator.errors import ShopctlError

MAX_LINE_BYTES = 1_000_000
READ_TIMEOUT_S = 5.0
PROGRESS_EVERY_S = 2.0
SILENCE_S = 30.0
"""After which a supervisor that says nothing is taken for one that hangs."""
ANSWER_TIMEOUT_S = 900.0
"""For all of a command: a change has a minute for each service that starts anew, and two for databases."""

Handler = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Handles commands with `handle`; a `ShopctlError` becomes `{"error": ...}`. `progress()` is what is waited for."""

    def __init__(self, token: str, handle: Handler, progress: Callable[[], str] = lambda: "") -> None:
        self._token = token
        self._handle = handle
        self._progress = progress
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
            request = json.loads(await asyncio.wait_for(reader.readline(), READ_TIMEOUT_S))
            answering = asyncio.create_task(self._answer(request))
            if isinstance(request, dict) and request.get("progress"):
                await self._report_until(answering, writer)
            await _write(writer, await answering)
        writer.close()

    async def _report_until(self, answering: asyncio.Task[dict[str, Any]], writer: asyncio.StreamWriter) -> None:
        while not answering.done():
            done, _ = await asyncio.wait({answering}, timeout=PROGRESS_EVERY_S)
            if not done:
                with contextlib.suppress(OSError):  # the client is gone
                    await _write(writer, {"progress": self._progress()})

    async def _answer(self, request: Any) -> dict[str, Any]:
        if not isinstance(request, dict) or not hmac.compare_digest(str(request.get("token")), self._token):
            return {"error": "wrong token"}
        try:
            return await self._handle(request)
        except ShopctlError as error:
            return {"error": str(error)}


async def _write(writer: asyncio.StreamWriter, document: Mapping[str, Any]) -> None:
    writer.write(json.dumps(document).encode() + b"\n")
    await writer.drain()


def ask(
    port: int, token: str, command: str, *, report: Callable[[str], None] = lambda _: None, **arguments: Any
) -> dict[str, Any]:
    """The supervisor's answer; raises `ShopctlError` with its refusal, `ConnectionError` when there is none.

    `report` is called with what the supervisor waits for, each time that it is something else. `TimeoutError`: it has
    sent nothing for SILENCE_S, or has not finished within ANSWER_TIMEOUT_S; it carries the command out all the same.
    """
    request = json.dumps({"token": token, "command": command, "progress": True, **arguments}).encode() + b"\n"
    with socket.create_connection(("127.0.0.1", port), timeout=SILENCE_S) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as file:
            answer = _last(file, report)
    if "error" in answer:
        raise ShopctlError(answer["error"])
    return answer


def _last(lines: BinaryIO, report: Callable[[str], None]) -> dict[str, Any]:
    ends_at, said = time.monotonic() + ANSWER_TIMEOUT_S, ""
    while line := lines.readline(MAX_LINE_BYTES):
        document: dict[str, Any] = json.loads(line)
        if "progress" not in document:
            return document
        if time.monotonic() > ends_at:
            raise TimeoutError(f"it has not finished within {ANSWER_TIMEOUT_S:g} s: {document['progress']}")
        if document["progress"] not in ("", said):
            said = document["progress"]
            report(said)
    raise ConnectionError("the supervisor ended before it answered")
