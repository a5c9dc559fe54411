"""Event streams under way in this process, so that its end can end them between two events.

A stream goes on for minutes: at the end of a process it would otherwise be cut wherever it is, and its client could not
tell half an event from a whole one.
"""

from __future__ import annotations

import asyncio

from starlette.types import Message, Send

EVENT_STREAM = b"text/event-stream"
BOUNDARY = b"\n\n"

_open: set[EventStream] = set()
_ending: set[asyncio.Task[None]] = set()


class EventStream:
    """One answer that is a stream; ``task`` is the one that makes it."""

    def __init__(self, send: Send, task: asyncio.Task[object]) -> None:
        self._send = send
        self._task = task
        self._between = True
        self._asked_to_end = False
        self.ended = False
        _open.add(self)

    async def send(self, message: Message) -> None:
        """Pass on a piece of the stream, and end it after the piece if it should end and an event does."""
        if self.ended:
            return
        self._between = False
        await self._send(message)
        self._between = message.get("body", b"").endswith(BOUNDARY)
        if self._asked_to_end and self._between:
            await self._end()

    async def end(self) -> None:
        """End it now when no event is half sent, else after that event."""
        self._asked_to_end = True
        if self._between and not self.ended:
            await self._end()

    async def _end(self) -> None:
        self.ended = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        self._task.cancel()

    def close(self) -> None:
        """The answer is over, one way or another."""
        _open.discard(self)


def is_stream(start: Message) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(EVENT_STREAM) for name, value in start["headers"])


def end_all() -> None:
    """Begin to end every stream of this process; a client opens its next one elsewhere."""
    for stream in list(_open):
        task = asyncio.create_task(stream.end())
        _ending.add(task)
        task.add_done_callback(_ending.discard)
