"""CPU of single operations of telemetry, in microseconds: the best of several rounds, without any I/O.

python -m tests.load.telemetry_operations
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.routing import Route

from shop.kit import event_spans, exposition, observe, spans, store_spans
from shop.kit.observe import Observe
from shop.kit.span_export import SpanExport

ROUNDS = 9
TIMES = 4_000
MAX_BODY_BYTES = 1_000
NOT_SAMPLED = f"00-{'a' * 32}-{'b' * 16}-00"
HEADERS = [(b"host", b"shop"), (b"traceparent", NOT_SAMPLED.encode()), (b"x-request-id", b"a" * 32)]
EVENT = f'{{"specversion":"1.0","type":"order.confirmed.v1","traceparent":"{NOT_SAMPLED}","data":"{"x" * 600}"}}'
STATEMENT = "SELECT stock FROM products WHERE id = $1"
NO_EXPORT = cast("SpanExport", object())
"""Stands for an exporter that gets no span, as nothing here is sampled."""


async def answer(scope: Any, receive: Any, send: Any) -> None:
    scope["route"] = ROUTE
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


ROUTE = Route("/api/v1/products/{product_id}", endpoint=answer)


async def receive() -> Any:
    return {"type": "http.disconnect"}


async def ignore(message: Any) -> None:
    """The client's side."""


async def best(once: Callable[[], Awaitable[None]]) -> float:
    """Microseconds of CPU of one time."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(TIMES):
            await once()
        found.append((time.process_time() - began) / TIMES * 1e6)
    return min(found)


async def request() -> None:
    path = {"type": "http", "method": "GET", "path": "/api/v1/products/1", "scheme": "http", "headers": HEADERS}
    await APPLICATION(path, receive, ignore)


APPLICATION = Observe(answer, MAX_BODY_BYTES)


async def statement() -> None:
    with store_spans.statement(STATEMENT):
        pass


async def event() -> None:
    event_spans.sending("order.confirmed.v1", EVENT, "id")


async def nothing() -> None:
    """What the measurement itself takes."""


async def run() -> None:
    overhead = await best(nothing)
    for name, once in (("request", request), ("statement", statement), ("event", event)):
        spans._export = None
        without = await best(once) - overhead
        spans._export = NO_EXPORT
        exporting = await best(once) - overhead
        print(f"{name:10} {without:6.2f} us, not sampled with an exporter {exporting:6.2f} us")
    spans._export = None
    exposition.turn_off()
    observe._series.cache_clear()
    print(f"request    {await best(request) - overhead:6.2f} us without metrics")


if __name__ == "__main__":
    asyncio.run(run())
