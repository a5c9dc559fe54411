"""One line per decision with the order's trace, and few lines while the database is unavailable."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from prometheus_client import REGISTRY

from services.order.tests.conftest import Shop, application
from services.order.tests.scripted_services import CHARGE, ScriptedServices
from shop.devkit.testing import DatabaseFor, Logged, Running, Tokens, wait_until

MANY_FAILURES = 12
FEW_LINES_PER_LOOP = 2


async def test_each_order_logs_one_line_about_its_end(shop: Shop, logged: Logged) -> None:
    for number in range(6):
        await shop.place(payment={"token": "tok_declined" if number % 2 else "tok_visa"})
    assert len(logged(event="order_confirmed")) == 3
    rejected = logged(event="order_rejected", reason="payment_declined", level="info")
    assert len({line["order_id"] for line in rejected}) == 3


async def test_a_resumed_and_then_cancelled_order_has_the_trace_that_its_page_shows(shop: Shop, logged: Logged) -> None:
    trace_id = "ab" * 16
    shop.headers["traceparent"] = f"00-{trace_id}-{'cd' * 8}-01"
    shop.services.faults[CHARGE].append("pending")
    order_id = (await shop.place()).json()["id"]
    await shop.until(order_id, "confirmed")
    history = (await shop.client.get(f"/api/v1/orders/{order_id}/history", headers=shop.admin)).json()
    assert history["trace_id"] == trace_id
    await shop.post(order_id, "cancel")
    await shop.until(order_id, "cancelled")
    lines = [line for line in logged(order_id=order_id, trace_id=trace_id) if line["event"].startswith("order_")]
    assert [line["event"] for line in lines] == ["order_pending", "order_confirmed", "order_cancelled"]


@contextlib.asynccontextmanager
async def relayed(url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The URL of a relay to ``url``'s server, and an event that cuts every connection, old and new."""
    parts, cut = urlsplit(url), asyncio.Event()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not cut.is_set():
            there, back = await asyncio.open_connection(parts.hostname, parts.port)
            work = [asyncio.ensure_future(w) for w in (pipe(reader, back), pipe(there, writer), cut.wait())]
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in work:
                task.cancel()
            back.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{port}"), cut
    cut.set()
    server.close()


def restarts() -> dict[str, float]:
    """How often each background loop was started again."""
    samples = next(m for m in REGISTRY.collect() if m.name == "shop_task_restarts").samples
    return {s.labels["task"]: s.value for s in samples if s.name.endswith("_total")}


async def test_an_unavailable_database_is_logged_in_few_lines_without_a_stack_trace(
    services: ScriptedServices,
    database_for: DatabaseFor,
    nats_url: str,
    tokens: Tokens,
    running: Running,
    logged: Logged,
) -> None:
    url = await database_for("order")
    async with relayed(url) as (relay, cut), running(application(services, relay, nats_url, tokens)):
        before, lines_before = restarts(), len(logged())
        cut.set()
        await wait_until(lambda: sum(restarts().values()) - sum(before.values()) >= MANY_FAILURES)
        lines = logged()[lines_before:]
        failed = {name for name, count in restarts().items() if count > before.get(name, 0)}
    assert 0 < len(lines) <= FEW_LINES_PER_LOOP * len(failed)
    assert [line["exception"] for line in lines if "exception" in line] == []
