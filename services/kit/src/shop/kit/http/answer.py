"""An answer as it arrives: its head, then its body piece by piece."""

from __future__ import annotations

import asyncio
from typing import Protocol

MAX_BUFFERED_BYTES = 131_072
"""Of a body that arrives faster than it is read; then no more is taken from its connection."""

Header = tuple[bytes, bytes]


class Source(Protocol):
    """The connection that an answer comes from."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self) -> None: ...


class Answer:
    """``status``, ``headers`` (with names in lower case) and, by `read` or `read_some`, the body.

    ``misrouted``: another program than the service has answered.
    """

    __slots__ = (
        "_buffered_bytes",
        "_error",
        "_pieces",
        "_source",
        "_waiter",
        "ended",
        "headers",
        "misrouted",
        "status",
    )

    def __init__(self, source: Source) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self.misrouted = False
        self.ended = False
        """Whether all of it has arrived."""
        self._source = source
        self._pieces: list[bytes] = []
        self._buffered_bytes = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def header(self, name: bytes) -> str:
        """The first header of this name, which is in lower case; "" without one."""
        for found, value in self.headers:
            if found == name:
                return value.decode("utf-8", "replace")
        return ""

    @property
    def at_end(self) -> bool:
        """Whether all of it has been read."""
        return self.ended and not self._pieces

    async def read(self) -> bytes:
        """The rest of the body."""
        content = await self.read_some()
        if self.at_end:
            return content
        pieces = [content]
        while piece := await self.read_some():
            pieces.append(piece)
        return b"".join(pieces)

    async def read_some(self) -> bytes:
        """What has arrived since the last time, at least a byte; b"" at the end. Raises what broke the answer off."""
        while not self._pieces and not self.ended:
            await self._change()
        return self.read_nowait()

    def read_nowait(self) -> bytes:
        """What has arrived since the last time, perhaps nothing."""
        content = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._buffered_bytes > MAX_BUFFERED_BYTES and not self.ended:
            self._source.resume()
        self._buffered_bytes = 0
        return content

    async def head(self) -> None:
        """Return when the head has arrived."""
        while not self.status:
            await self._change()

    def close(self) -> None:
        """End it. The connection of an answer that has not arrived whole cannot be used again."""
        if not self.ended:
            self._source.abort()

    async def _change(self) -> None:
        if self._error is not None:
            # A new one, because a traceback in an answer that it refers to would be freed late.
            raise type(self._error)(*self._error.args)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def started(self, status: int) -> None:
        """The head is complete."""
        self.status = status
        self._wake()

    def add(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(piece)
        before, self._buffered_bytes = self._buffered_bytes, self._buffered_bytes + len(piece)
        if before <= MAX_BUFFERED_BYTES < self._buffered_bytes:
            self._source.pause()
        self._wake()

    def end(self) -> None:
        """All of it has arrived."""
        self.ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing more will arrive."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
