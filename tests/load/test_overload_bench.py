"""What the bench of overload concludes from a run."""

from __future__ import annotations

import pytest
from aiohttp import web

from shop.devkit.processes import free_port
from tests.load import overload_bench, shoppers
from tests.load.open_loop import Outcome, Run, Sample
from tests.load.overload_bench import Phase

ACCEPTED, REFUSED = Outcome(True, "201"), Outcome(False, "503 overloaded, Retry-After 1")
PLANNED = overload_bench.phases(rate=10.0, times=2.0, seconds=10.0)
MEMORY = {"before": 400.0, "sustained": 440.0, "most": 450.0}


def orders(phase: Phase, every_s: float, latency_s: float, outcome: Outcome = ACCEPTED) -> list[Sample]:
    count = int((phase.ends_s - phase.begins_s) / every_s)
    due = [phase.begins_s + number * every_s for number in range(count)]
    return [Sample("order", latency_s, at_s + latency_s, outcome) for at_s in due]


def run_with(overload: list[Sample], after: list[Sample]) -> Run:
    before, full = PLANNED[:2]
    return Run(0, [*orders(before, 0.2, 0.05), *orders(full, 0.1, 0.2), *overload, *after], 0.0)


def test_phases_follow_each_other_and_their_arrivals_stay_within() -> None:
    assert [(phase.name, phase.rate_per_s, phase.begins_s) for phase in PLANNED] == [
        ("before", 5.0, 0.0),
        ("sustained", 10.0, 10.0),
        ("overload", 20.0, 20.0),
        ("after", 5.0, 30.0),
    ]
    due = overload_bench.arrivals(PLANNED, reads=1.0, seed=1)
    assert [arrival.at_s for arrival in due] == sorted(arrival.at_s for arrival in due)
    in_overload = sum(20.0 <= arrival.at_s < 30.0 and arrival.kind == "order" for arrival in due)
    assert in_overload == pytest.approx(200, rel=0.25)


def test_a_shop_that_refuses_in_time_meets_everything() -> None:
    overload, after = PLANNED[2:]
    refusing = [*orders(overload, 0.1, 0.4), *orders(overload, 0.1, 0.001, REFUSED)]
    found = overload_bench.judged(run_with(refusing, orders(after, 0.2, 0.05)), PLANNED, MEMORY)
    assert all(found["met"].values())
    assert (found["goodput_share"], found["normal_after_s"]) == (1.0, 0.0)
    about = {"machine": {"speed": dict.fromkeys(("additions_s", "syncs_per_s", "others_percent", "load_average"), 1.0)}}
    table = list(overload_bench.lines(about | found | {"audit_ok": True}))
    assert "100x 503 overloaded, Retry-After 1" in table[4]
    assert table[-1] == "audit: all oracles hold"


def test_a_shop_that_queues_meets_little() -> None:
    overload, after = PLANNED[2:]
    late = [*orders(overload, 0.2, 5.0), *orders(overload, 0.5, 0.0, Outcome(False, "503 overloaded"))]
    slow_at_first = [sample._replace(outcome=REFUSED) for sample in orders(after, 0.2, 0.05)[:36]]
    recovering = [*slow_at_first, *orders(after, 0.2, 0.05)[36:]]
    found = overload_bench.judged(run_with(late, recovering), PLANNED, MEMORY | {"most": 600.0})
    assert not any(found["met"].values())
    assert found["normal_after_s"] == 8.0


def test_a_shop_that_stays_slow_is_never_normal() -> None:
    before, _, _, after = PLANNED
    samples = [*orders(before, 0.2, 0.05), *orders(after, 0.2, 0.3)]
    assert overload_bench.normal_after_s(samples, before, after) == 10.0


async def test_a_refusal_is_named_by_its_code_and_when_to_come_again() -> None:
    async def refuse(request: web.Request) -> web.Response:
        problem = {"title": "Too much", "code": "overloaded", "trace_id": "0af7"}
        return web.json_response(problem, status=503, headers={"Retry-After": "1"})

    application = web.Application()
    application.router.add_post("/api/v1/orders", refuse)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    shop = shoppers.Shop.at(f"http://127.0.0.1:{port}")
    try:
        assert await shoppers.Crowd.of(shop, ["token"], ["p1"], seed=1).send("order") == REFUSED
    finally:
        await shop.close()
        await runner.cleanup()
