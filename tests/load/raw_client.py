"""A client that costs far less than any server: fixed requests over kept connections, one at a time on each."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.load.open_loop import percentile

CONNECT_TIMEOUT_S = 5.0
END_OF_HEAD = b"\r\n\r\n"
CONTENT_LENGTH = b"content-length: "
NO_BODY = b"304"


@dataclass
class Answers:
    """What came back: seconds of each answer, statuses, bytes."""

    seconds: float
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    received_bytes: int = 0

    @property
    def per_s(self) -> float:
        return len(self.latencies_s) / self.seconds

    def latency_ms(self, percent: float) -> float:
        return percentile(sorted(self.latencies_s), percent) * 1_000


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], answers: Answers, ends_at: float) -> None:
        self._requests = requests
        self._answers = answers
        self._ends_at = ends_at
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._expected_bytes = 0
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._expected_bytes:
            self._read_head()
        if self._expected_bytes and len(self._buffer) >= self._expected_bytes:
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._answers.statuses["closed"] += 1
            self.done.set_result(None)

    def _read_head(self) -> None:
        end = self._buffer.find(END_OF_HEAD)
        if end < 0:
            return
        self._expected_bytes = end + len(END_OF_HEAD)
        if self._buffer[9:12] == NO_BODY:
            return
        head = self._buffer[: end + 2].lower()
        begin = head.index(CONTENT_LENGTH) + len(CONTENT_LENGTH)
        self._expected_bytes += int(head[begin : head.index(b"\r", begin)])

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        if self._transport is not None:
            self._transport.write(next(self._requests))

    def _answered(self) -> None:
        now = self._loop.time()
        self._answers.latencies_s.append(time.perf_counter() - self._sent_at)
        self._answers.statuses[self._buffer[9:12].decode()] += 1
        self._answers.received_bytes += len(self._buffer)
        self._buffer, self._expected_bytes = b"", 0
        if now < self._ends_at:
            self._send()
        elif self._transport is not None:
            self.done.set_result(None)
            self._transport.close()


def request(path: str, headers: Sequence[str] = ()) -> bytes:
    """A GET of ``path`` as it is sent."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: */*", "User-Agent: bench", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


async def closed_loop(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Answers:
    """Each connection sends the next of ``requests`` when it has its answer, in turn, for ``seconds``."""
    loop = asyncio.get_running_loop()
    answers, turn = Answers(seconds), itertools.cycle(requests)
    ends_at = loop.time() + seconds
    opened = [
        await asyncio.wait_for(
            loop.create_connection(lambda: _Connection(turn, answers, ends_at), "127.0.0.1", port), CONNECT_TIMEOUT_S
        )
        for _ in range(connections)
    ]
    await asyncio.wait_for(asyncio.gather(*(one.done for _, one in opened)), seconds + CONNECT_TIMEOUT_S)
    return answers
