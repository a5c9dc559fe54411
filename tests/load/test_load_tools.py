"""The load generator: open loop, latencies from the time due, only this machine, bounded."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import os
import time
from collections import Counter

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from tests.load import (
    bench,
    delivery_bench,
    food_bench,
    local_shop,
    open_loop,
    profile,
    report,
    rest,
    search,
    shoppers,
    telemetry_bench,
)
from tests.load.open_loop import Arrival, Outcome, Run, Sample

OK = Outcome(True, "201")
AT_ONCE = 60
MACHINE = {"cpus": 2, "memory_gib": 8, "python": "3.13", "load_before": 0.1}
RELEASE_TIMEOUT_S = 20.0


async def test_arrivals_do_not_wait_for_answers() -> None:
    everyone_is_here, here = asyncio.Event(), itertools.count(1)

    async def answer_when_all_have_come(kind: str) -> Outcome:
        if next(here) == AT_ONCE:
            everyone_is_here.set()
        await asyncio.wait_for(everyone_is_here.wait(), RELEASE_TIMEOUT_S)
        return OK

    found = await open_loop.run([Arrival(0.0, "order")] * AT_ONCE, answer_when_all_have_come)
    assert found.of("order").good == AT_ONCE


async def test_latency_counts_from_the_time_at_which_the_request_was_due() -> None:
    async def answer_at_once(kind: str) -> Outcome:
        return OK

    long_ago_s = -5.0
    found = await open_loop.run([Arrival(long_ago_s, "order")], answer_at_once)
    assert found.samples[0].latency_s >= -long_ago_s
    assert found.late_s >= -long_ago_s


async def test_more_than_the_limit_in_flight_is_counted_as_not_sent() -> None:
    release = asyncio.Event()

    async def answer_when_released(kind: str) -> Outcome:
        await release.wait()
        return OK

    arrivals = [Arrival(0.0, "order")] * 5
    running = asyncio.create_task(open_loop.run(arrivals, answer_when_released, max_in_flight=3))
    asyncio.get_running_loop().call_soon(release.set)
    tally = (await running).of("order")
    assert (tally.sent, tally.good) == (5, 3)
    assert tally.codes == {open_loop.NOT_SENT: 2}


async def test_request_without_a_response_times_out_and_is_counted() -> None:
    async def never_answer(kind: str) -> Outcome:
        await asyncio.Event().wait()
        return OK

    found = await open_loop.run([Arrival(0.0, "order")], never_answer, drain_timeout_s=0.01)
    assert found.of("order").codes == {open_loop.UNANSWERED: 1}


async def test_nothing_is_sent_before_its_time_nor_after_a_cancellation() -> None:
    sent_at: list[float] = []

    async def note(kind: str) -> Outcome:
        sent_at.append(time.monotonic())
        return OK

    began = time.monotonic()
    arrivals = [Arrival(number * 0.0023, "order") for number in range(40)]
    found = await open_loop.run(arrivals, note)
    assert found.of("order").good == 40
    assert all(sent >= began + arrival.at_s for sent, arrival in zip(sent_at, arrivals, strict=True))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(open_loop.run([Arrival(0.1, "order")], note), 0.01)
    await open_loop.run([Arrival(0.15, "order")], note)
    assert len(sent_at) == 41, "what is due later is sent, and what was cancelled is not"


@pytest.mark.parametrize("at_s", [0.0, 0.01])
async def test_an_error_of_the_generator_itself_ends_the_run(at_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(kind: str) -> Outcome:
        return OK

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(open_loop._Generator, "_start", broken)
    with pytest.raises(RuntimeError, match="broken"):
        await asyncio.wait_for(open_loop.run([Arrival(at_s, "order")], answer), RELEASE_TIMEOUT_S)


@given(rate=st.floats(1, 200), seconds=st.floats(0.1, 5), seed=st.integers(0, 99))
def test_arrivals_are_ordered_reproducible_and_within_the_time(rate: float, seconds: float, seed: int) -> None:
    arrivals = open_loop.poisson({"order": rate, "browse": rate / 2}, seconds, seed)
    assert arrivals == sorted(arrivals)
    assert arrivals == open_loop.poisson({"order": rate, "browse": rate / 2}, seconds, seed)
    assert all(0 < arrival.at_s < seconds for arrival in arrivals)


def test_arrivals_come_at_their_rate() -> None:
    kinds = Counter(arrival.kind for arrival in open_loop.poisson({"order": 1_000, "browse": 100}, 60, 7))
    assert kinds["order"] == pytest.approx(60_000, rel=0.02)
    assert kinds["browse"] == pytest.approx(6_000, rel=0.05)


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (-1, 1), (1, 0), (1, 601), (20_001, 1)])
def test_unbounded_load_is_refused(rate: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        open_loop.poisson({"order": rate}, seconds, 1)


@given(st.lists(st.floats(0, 100), min_size=1))
def test_percentile_is_the_nearest_rank(values: list[float]) -> None:
    values.sort()
    assert open_loop.percentile(values, 100) == values[-1]
    assert open_loop.percentile(values, 0) == values[0]
    median = open_loop.percentile(values, 50)
    assert sum(value <= median for value in values) >= len(values) / 2


def test_percentile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(open_loop.percentile([], 99))


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://127.0.0.1:8080/", "http://[::1]:8080"])
def test_this_machine_is_accepted(url: str) -> None:
    assert shoppers.require_local(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:8080", "https://localhost", "localhost:8080", "http://0.0.0.0", "http://"]
)
def test_other_hosts_are_refused(url: str) -> None:
    with pytest.raises(shoppers.NotThisMachine):
        shoppers.require_local(url)


@pytest.mark.parametrize("options", [["--seconds", "601"], ["--rate", "0"], ["--customers", "1001"], ["--reads", "-1"]])
def test_options_have_limits(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.arguments(options)
    assert "must be within" in capsys.readouterr().err


def test_options_by_default_search_for_the_rate() -> None:
    assert bench.arguments([]).rate is None
    assert isinstance(bench.arguments(["--rate", "50"]), argparse.Namespace)


async def test_search_finds_the_highest_rate() -> None:
    capacity, tried = 330.0, []

    async def try_rate(rate: float) -> search.Verdict:
        tried.append(rate)
        return search.Verdict(rate <= capacity, "")

    found = await search.highest_sustainable(try_rate, first=50)
    assert found <= capacity < found + 50
    assert len(tried) <= search.MAX_STEPS + search.REFINEMENTS


@pytest.mark.parametrize(("capacity", "least"), [(0.0, 0.0), (math.inf, 50 * 2.0**9)])
async def test_search_ends_when_every_rate_or_none_is_sustained(capacity: float, least: float) -> None:
    async def try_rate(rate: float) -> search.Verdict:
        return search.Verdict(rate <= capacity, "")

    assert await search.highest_sustainable(try_rate, first=50) == least


def run_of(latency_s: float, outcome: Outcome = OK) -> Run:
    return Run(1, [Sample("order", latency_s, latency_s, outcome)], 0.0)


def test_verdict_needs_every_order_accepted_in_time() -> None:
    assert search.judge(run_of(0.1)).sustainable
    assert not search.judge(run_of(search.MAX_P99_S * 2)).sustainable
    refused = search.judge(run_of(0.1, Outcome(False, "503 overloaded")))
    assert not refused.sustainable
    assert "503 overloaded" in refused.reason


def test_profile_names_the_functions_that_ran() -> None:
    stacks = "main;loop;parse 30\nmain;loop 10\nmain;loop;write 60\n"
    assert profile.own(stacks) == [("write", 0.6), ("parse", 0.3), ("loop", 0.1)]
    assert dict(profile.inclusive(stacks)) == {"main": 1.0, "loop": 1.0, "write": 0.6, "parse": 0.3}


def test_function_that_calls_itself_counts_once() -> None:
    assert dict(profile.inclusive("walk;walk;walk 4\nrest 4\n")) == {"walk": 0.5, "rest": 0.5}


def test_profile_without_samples_is_empty() -> None:
    assert profile.own("") == []


async def test_customers_order_through_the_public_api() -> None:
    seen: list[web.Request] = []

    async def take_order(request: web.Request) -> web.Response:
        body = await request.json()
        seen.append(request)
        assert body["payment"] == {"token": shoppers.CARD}
        return web.json_response({"id": "1"}, status=201) if len(seen) < 3 else web.json_response({}, status=429)

    application = web.Application()
    application.router.add_post("/api/v1/orders", take_order)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    shop = shoppers.Shop.at(f"http://127.0.0.1:{port}")
    crowd = shoppers.Crowd.of(shop, ["token-a", "token-b"], ["p1", "p2", "p3"], seed=1)
    try:
        outcomes = [await crowd.send("order") for _ in range(3)]
    finally:
        await shop.close()
        await runner.cleanup()
    assert [outcome.ok for outcome in outcomes] == [True, True, False]
    assert [request.headers["Authorization"] for request in seen][:2] == ["Bearer token-a", "Bearer token-b"]
    assert len({request.headers["Idempotency-Key"] for request in seen}) == 3
    assert outcomes[2].code.startswith("429")


async def test_unreachable_shop_is_an_outcome_and_not_an_exception() -> None:
    shop = shoppers.Shop.at(f"http://127.0.0.1:{free_port()}")
    try:
        outcome = await shoppers.Crowd.of(shop, ["token"], ["p1"], seed=1).send("browse")
    finally:
        await shop.close()
    assert not outcome.ok
    assert outcome.code == "ClientConnectorError"


def test_a_measured_shop_keeps_what_python_has_compiled() -> None:
    kept = local_shop.with_bytecode({"PATH": "/bin", "PYTHONDONTWRITEBYTECODE": "1"})
    assert kept == {"PATH": "/bin", "PYTHONPYCACHEPREFIX": str(local_shop.BYTECODE)}
    elsewhere = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/elsewhere"}
    assert local_shop.with_bytecode(elsewhere) == {"PYTHONPYCACHEPREFIX": "/elsewhere"}
    assert local_shop.with_bytecode({"PATH": "/bin"}) == {"PATH": "/bin"}


def test_report_says_what_was_violated() -> None:
    audit = {"ok": False, "oracles": [{"number": 4, "name": "stock adds up", "ok": False, "violations": ["book-1"]}]}
    text = "\n".join(report.lines({"machine": MACHINE, "runs": [], "audit": audit}))
    assert "audit: VIOLATED" in text
    assert "4 stock adds up: ['book-1']" in text


@pytest.mark.parametrize(("load", "warned"), [(0.1, False), (6.0, True)])
def test_report_says_when_the_machine_was_busy(load: float, warned: bool) -> None:
    result = {"machine": {**MACHINE, "load_before": load}, "runs": [], "audit": {"ok": True, "oracles": []}}
    assert any("every number below is too low" in line for line in report.lines(result)) is warned


def test_the_benches_of_food_print_tables() -> None:
    run = {"finished": 9, "sql_per_order": 9.1, "cpu_ms_per_order": 8.0, "errors": {}, "p50_ms": 9.0, "p99_ms": 20.0}
    refused = {"503 no_courier": 2}
    runs = [{"name": "retail", "finished_per_s": 80.0, **run}, {"name": "retail", "finished_per_s": 100.0, **run}]
    runs += [{"name": "food", "finished_per_s": 25.0, **run, "errors": refused}]
    assert food_bench.share(runs) == 0.25
    result = {"machine": MACHINE, "workers": 4, "runs": runs, "food_share": food_bench.share(runs), "audit": True}
    table = list(food_bench.lines(result))
    assert "food" in table[4]
    assert "2x 503 no_courier" in table[4]
    assert table[5] == "food orders for each retail order: 0.25; audit ok"


def test_the_bench_of_delivery_prints_a_table() -> None:
    step = {"50": 1.5, "99": 4.0}
    one = {"assigned_per_s": 170.5, "rejected": 0, "cpu_ms_each": 2.4, "reserve_ms": step, "assign_ms": step}
    positions = {"taken_per_s": 990.0, "delivered_per_s": 980.0, "delay_ms": step, "cpu_share": 0.5}
    positions |= {"cpu_ms_each": 0.5, "memory_mib": 150}
    result = {"machine": MACHINE, "couriers": 1_000, "watchers": 1_000, "load_after": 1.0}
    table = list(delivery_bench.lines(result | {"assignments": one, "one_caller": one, "positions": positions}))
    assert "1.5 / 4" in table[2]
    assert "170.5" in table[2]
    assert table[4].startswith("positions: 990/s taken, 980/s sent to 1000 watchers")
    assert table[5] == "  of one core 50%, 0.5 ms CPU each, 150 MiB"


def test_the_benches_of_food_are_bounded() -> None:
    long = ["--seconds", "900"]
    assert delivery_bench.arguments([*long, "--couriers", "90000"]).couriers == delivery_bench.MAX_COURIERS
    assert delivery_bench.arguments(long).seconds == delivery_bench.MAX_SECONDS
    assert food_bench.arguments(long).seconds == food_bench.MAX_SECONDS


def test_the_bench_of_telemetry_compares_what_was_sold_in_the_same_rounds() -> None:
    figures = {"cpu_ms_per_order": 8.0, "p99_ms": 90.0, "errors": {}}
    of_order = {"order-1": {"scrape_ms": 4.5, "series": 321, "sent_bytes": 2_048}}
    rates = {"everything": (94.0, 80.0, 126.0), "metrics": (97.0, 96.0, 137.0), "off": (100.0, 100.0, 150.0)}
    rounds = [
        {name: {"finished_per_s": several[number], **figures} for name, several in rates.items()} for number in range(3)
    ]
    found = telemetry_bench.summary(rounds)
    assert (found["everything"]["cost"], found["metrics"]["cost"]) == (0.143, 0.057)
    assert found["everything"]["cost_quartiles"] == [0.06, 0.2]
    against_metrics = telemetry_bench.summary(rounds, "metrics")
    assert against_metrics["everything"]["cost"] == 0.091
    assert "cost" not in against_metrics["metrics"]
    shops = {name: {"memory_mib": 900, "services": of_order, "audit": True} for name in rates}
    result = {"machine": MACHINE, "workers": 32, "rounds": rounds, "shops": shops, "summary": found}
    table = list(telemetry_bench.lines(result))
    assert "94 (80-126)" in table[2]
    assert "14.3% (6.0% to 20.0%)" in table[2]
    assert table[-2].split() == ["order-1", "4.5", "321", "2048"]
    assert table[-1] == "errors: none; audits: ok"


async def test_scrapes_count_the_time_of_their_own_shop_only() -> None:
    scrapes = telemetry_bench.Scrapes({}, every_s=15.0, due_s=12.0)
    await scrapes.during(5.0)
    assert scrapes.due_s == 7.0


def test_the_bench_of_telemetry_is_bounded() -> None:
    found = telemetry_bench.arguments(["--rounds", "900", "--seconds", "900", "--workers", "900"])
    assert found.rounds == telemetry_bench.MAX_ROUNDS
    assert found.seconds == telemetry_bench.MAX_SECONDS
    assert found.workers == telemetry_bench.MAX_WORKERS


async def test_what_processes_take_at_rest_is_counted_of_those_that_run() -> None:
    own, nobody = os.getpid(), 2**22 + 1
    before = rest.taken_by([own, nobody])
    await wait_until(lambda: (rest.taken_by([own]) - before).cpu_ns > 0)
    await wait_until(lambda: (rest.taken_by([own]) - before).wakeups > 0)
    assert rest.taken_by([nobody]) == rest.Taken()
