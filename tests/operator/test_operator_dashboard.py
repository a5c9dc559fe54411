"""Each query of the operator's dashboard has an answer, on a real Prometheus that scrapes a real operator."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from tests.operator.kept import Kept
from tests.operator.operators import Operator
from tests.telemetry import grafana
from tests.telemetry.grafana import Answers, View
from tests.telemetry.prometheus_tools import Prometheus, scraping

BOARD = grafana.boards()["operator"]
SCRAPE_INTERVAL_S = 0.5
NAMESPACE = "shop-operator"
SCRAPED_WITHIN_S = 30.0
ANSWERED_WITHIN_S = 30.0
LOOK_EVERY_S = 0.5
MAY_BE_EMPTY = {
    "Since the last backup": "no backup succeeds without pods that run",
    "Restarted watches": "a watch ends after minutes, and its reason is known then",
}


def answers(prometheus: Prometheus, started_s: float) -> Answers:
    found, view = Answers(), View(started_s, time.time(), SCRAPE_INTERVAL_S)
    for question in grafana.questions(BOARD, {"operator": NAMESPACE, **view.variables}):
        found.judge(question, prometheus, view, may_be_empty=question.panel in MAY_BE_EMPTY)
    return found


async def test_each_query_is_answered(operator: Operator, new: Kept, tmp_path: Path) -> None:
    targets = tmp_path / "targets"
    targets.mkdir()
    target = {"targets": [f"127.0.0.1:{operator.port}"], "labels": {"namespace": NAMESPACE}}
    (targets / "operator.json").write_text(json.dumps([target]))
    found = Answers()
    with scraping(targets, tmp_path / "prometheus", SCRAPE_INTERVAL_S) as prometheus:
        started_s = time.time()
        await wait_until(partial(asyncio.to_thread, prometheus.all_up), SCRAPED_WITHIN_S, poll_s=LOOK_EVERY_S)
        await new.apply()
        await new.ready()

        def complete() -> bool:
            nonlocal found
            found = answers(prometheus, started_s)
            return not found.empty

        try:
            await wait_until(partial(asyncio.to_thread, complete), ANSWERED_WITHIN_S, poll_s=LOOK_EVERY_S)
        except AssertionError as error:
            pytest.fail(f"{error}, empty: {found.empty}")
        assert grafana.choices(BOARD, prometheus) == {"operator": [NAMESPACE]}
    assert found.wrong == []
    assert MAY_BE_EMPTY.keys() <= {panel["title"] for panel in BOARD["panels"]}
