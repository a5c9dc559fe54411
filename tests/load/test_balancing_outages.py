"""What the bench of outages makes of calls: a slow machine is not taken for a dead instance."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from shop.devkit.processes import free_port
from shop.kit.http.connections import Connections
from tests.load import balancing_outages as outages
from tests.load.balancing_outages import AFTER_S, STEADY_S, Call, Timed

KILLED_AT = 100.0
EVERY_S = 0.01
QUICK_S, SLOW_S = 0.001, 0.01
TRIES = 20


@pytest.fixture
async def timed() -> AsyncIterator[Timed]:
    connections = Connections()
    yield Timed("http://127.0.0.1:1", connections)
    await connections.close()


def calls(timed: Timed, slow_from_s: float, slow_until_s: float) -> None:
    """A call each EVERY_S, slow within a time that is relative to the kill."""
    steps = range(-int(STEADY_S / EVERY_S), int(AFTER_S / EVERY_S))
    for at_s in (EVERY_S * step for step in steps):
        taken_s = SLOW_S if slow_from_s <= at_s < slow_until_s else QUICK_S
        timed.calls.append(Call(KILLED_AT + at_s, taken_s, disturbed=False))


def test_the_time_until_calls_are_as_quick_as_before(timed: Timed) -> None:
    calls(timed, 0.0, 0.85)
    found = outages.seen(timed, KILLED_AT - STEADY_S, KILLED_AT)
    assert found.after_ms == 1_000 * SLOW_S
    assert found.back_s == pytest.approx(0.9)


def test_what_was_slow_before_is_not_slow_after(timed: Timed) -> None:
    calls(timed, -0.3, 0.3)
    assert outages.seen(timed, KILLED_AT - STEADY_S, KILLED_AT).back_s == 0.0


async def test_calls_that_met_a_dead_instance_are_noted() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="{}")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port, connections = free_port(), Connections()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    timed = Timed(f"http://127.0.0.1:{port},http://127.0.0.1:{free_port()}", connections)
    while not any(call.disturbed for call in timed.calls) and len(timed.calls) < TRIES:
        await timed.get("/")
    # Those whose first choice answers are not disturbed.
    for _ in range(TRIES):
        await timed.get("/")
    met = sum(call.disturbed for call in timed.calls)
    refusing = timed.pool.instances[1]
    assert met == refusing.sent
    assert 0 < met < len(timed.calls)
    await connections.close()
    await runner.cleanup()
