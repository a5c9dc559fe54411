"""The bench of the other systems: what it is asked for, how runs become one row, and that its loads end."""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from typing import Any

import pytest
from google.protobuf.message import Message

from shop.contracts.grpc import recommendation_v1_pb2 as messages
from tests.load import bare_grpc, systems
from tests.load.systems_bench import SYSTEMS, arguments, chosen
from tests.load.systems_report import as_json, compared, lines, summed

SPEED = {"additions_s": 0.5, "syncs_per_s": 10_000.0, "others_percent": 1.0, "load_average": 0.1}
LONG_S = 20.0
Json = dict[str, Any]


def one_run(operations: int, seconds: float, cpu_s: float, **errors: int) -> Json:
    done = systems.Done(operations, seconds, [0.001, 0.004], Counter(errors))
    return as_json(done, {"order-1": cpu_s, "idle": -0.01}, {"order": 3.0 * operations, "user": 0.0})


async def test_a_load_ends_when_nothing_is_left_to_be_sent() -> None:
    left = iter(["", "409 too_late", ""])

    async def send() -> str | None:
        return next(left, None)

    done = await systems.closed_loop(send, workers=2)(LONG_S)
    assert (done.operations, done.errors) == (2, {"409 too_late": 1})
    assert done.seconds < LONG_S


async def test_a_load_ends_in_its_time_while_the_server_answers() -> None:
    count = itertools.count()

    async def send() -> str:
        next(count)
        return ""

    done = await systems.closed_loop(send, workers=2)(0.01)
    assert done.operations == next(count)


def test_systems_are_measured_in_their_order_whatever_is_asked_for() -> None:
    assert chosen("watchers,food") == ("food", "watchers")
    with pytest.raises(argparse.ArgumentTypeError, match="unknown: drinks"):
        chosen("food,drinks")
    assert arguments(["--seconds", "600"]).seconds == 8.0


def test_turns_of_one_side_are_summed() -> None:
    both = summed([one_run(100, 2.0, 1.0), one_run(300, 2.0, 1.0, refused=2)])
    assert (both["operations"], both["per_s"], both["cpu_ms"], both["errors"]) == (400, 100.0, 5.0, {"refused": 2})
    assert both["cpu_ms_by_process"] == {"order-1": 5.0}
    assert both["statements"] == {"order": 3.0}


@pytest.mark.parametrize(("per_core", "ratio"), [(False, 0.5), (True, 0.1)])
def test_a_load_of_a_given_rate_is_compared_by_what_a_core_is_enough_for(per_core: bool, ratio: float) -> None:
    runs = {"ours": [one_run(100, 2.0, 1.0)], "floor": [one_run(200, 2.0, 0.2)]}
    found = compared(runs, per_core=per_core)
    assert (found["ratio"], found["cpu_ratio"]) == (ratio, 10.0)


def test_nothing_done_is_no_ratio() -> None:
    nothing = one_run(0, 2.0, 0.0)
    assert compared({"ours": [nothing], "floor": [nothing]}, per_core=False)["ratio"] is None


def test_the_table_has_a_row_for_each_system_and_names_broken_oracles() -> None:
    pair = compared({"ours": [one_run(100, 2.0, 1.0, refused=7)], "floor": [one_run(200, 2.0, 0.2)]}, per_core=False)
    audit = {"ok": False, "oracles": [{"number": 6, "name": "one capture", "ok": False, "violations": ["order 9"]}]}
    result = {"machine": {"cpus": 2}, "speed": SPEED, "seconds": 4.0, "turns": 2, "workers": 32, "audit": audit}
    text = "\n".join(lines(result | {"systems": dict.fromkeys(SYSTEMS, pair)}))
    assert all(f"\n{name} " in text for name in SYSTEMS)
    assert "errors of ours: {'refused': 7}" in text
    assert "VIOLATED (1 oracles)\n  6 one capture: ['order 9']" in text


async def test_the_bare_server_answers_as_the_service_did() -> None:
    rows = [messages.Recommendation(id=str(number), title="A book", score=0.5) for number in range(3)]
    answer = messages.RecommendResponse(recommendations=rows)
    method = bare_grpc.recommend_as(answer)
    found: Message = await method.unary_unary(messages.RecommendRequest(max_results=10), None)
    assert found == answer
