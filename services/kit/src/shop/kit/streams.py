"""The open event streams of this process, which are ended between two events when the process stops.

A stream lasts for minutes: otherwise a stopping process would cut it anywhere, and its client could not tell half an
event from a whole one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from starlette.types import Message, Send

EVENT_STREAM = b"text/event-stream"
BOUNDARY = b"\n\n"

_open: set[EventStream] = set()
_ending: set[asyncio.Task[None]] = set()


class EventStream:
    """One streaming answer; ``task`` produces it."""

    def __init__(self, send: Send, task: asyncio.Task[object]) -> None:
        self._send = send
        self._task = task
        self._at_boundary = True
        self._ending_requested = False
        self.ended = False
        _open.add(self)

    async def send(self, message: Message) -> None:
        """Send a chunk; end the stream after it if requested and an event is complete."""
        if self.ended:
            return
        self._at_boundary = False
        await self._send(message)
        self._at_boundary = message.get("body", b"").endswith(BOUNDARY)
        if self._ending_requested and self._at_boundary:
            await self._end()

    async def end(self) -> None:
        """End the stream now, or after the event that is being sent."""
        self._ending_requested = True
        if self._at_boundary and not self.ended:
            await self._end()

    async def _end(self) -> None:
        self.ended = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        self._task.cancel()

    def close(self) -> None:
        """Forget the stream: its answer is over."""
        _open.discard(self)


def is_stream(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an answer with these headers is an event stream."""
    return any(value.startswith(EVENT_STREAM) and name.lower() == b"content-type" for name, value in headers)


def end_all() -> None:
    """Start ending every stream of this process; clients reconnect to another instance."""
    for stream in list(_open):
        task = asyncio.create_task(stream.end())
        _ending.add(task)
        task.add_done_callback(_ending.discard)
