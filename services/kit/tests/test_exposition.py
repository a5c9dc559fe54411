"""What /metrics answers, what is measured of the process, and which time series exist from the start."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from fastapi import APIRouter
from prometheus_client import REGISTRY, CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from shop.devkit.testing import DatabaseFor, wait_until
from shop.kit import exposition
from shop.kit.app import create_app
from shop.kit.db import Database
from shop.kit.errors import Unavailable
from shop.kit.settings import ServiceSettings

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
ROOT = Path(__file__).parents[3]
TIMEOUT_S = 60.0
WITHOUT_METRICS = """
import asyncio, httpx
from prometheus_client import REGISTRY
from services.kit.tests.test_exposition import Settings
from shop.kit.app import create_app

async def main():
    app = create_app(Settings(metrics=False), title="Exposed", uses_bus=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exposed") as client:
        answers = [(await client.get(path)).status_code for path in ("/metrics", "/health/live", "/nothing")]
    samples = [sample for family in REGISTRY.collect() for sample in family.samples]
    print(*answers, sum(one.value for one in samples if one.name == "shop_http_requests_total"))

asyncio.run(main())
"""


class Settings(ServiceSettings):
    service: ClassVar[str] = "exposed"


def measured(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def scraped(accept: str) -> tuple[str, str]:
    app = create_app(Settings(), title="Exposed", uses_bus=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exposed") as client:
        answer = await client.get("/metrics", headers={"Accept": accept})
        return answer.headers["content-type"], answer.text


async def test_openmetrics_is_answered_to_those_that_accept_it() -> None:
    content_type, text = await scraped(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert "shop_http_requests" in {family.name for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    content_type, text = await scraped("*/*")
    assert content_type.startswith("text/plain")
    assert "_created" not in text


def test_a_service_can_do_without_metrics() -> None:
    """In a process of its own: what is turned off stays off."""
    command = [sys.executable, "-c", WITHOUT_METRICS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.stdout, done.returncode) == ("404 200 404 0\n", 0), done.stderr


def test_every_combination_of_labels_starts_at_zero() -> None:
    registry = CollectorRegistry()
    exposition.start_at_zero(Counter("a_total", "A", ["b", "c"], registry=registry), ["1", "2"], ["3", "4"])
    labels = [{"b": b, "c": c} for b in "12" for c in "34"]
    assert [registry.get_sample_value("a_total", one) for one in labels] == [0, 0, 0, 0]


def test_each_route_has_its_success_and_its_faults_from_the_start() -> None:
    router = APIRouter()

    @router.post("/api/v1/exposed/{number}", status_code=201)
    async def post(number: int) -> None:
        """Never called."""

    create_app(Settings(), title="Exposed", routers=[router], uses_bus=False)
    route = {"method": "POST", "route": "/api/v1/exposed/{number}"}
    assert [measured("shop_http_requests_total", **route, status=status) for status in ("201", "500", "503")] == [0] * 3
    assert measured("shop_http_request_duration_seconds_count", **route) == 0


async def test_what_keeps_the_event_loop_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "LAG_SAMPLE_S", 0.001)
    before_s = measured("shop_event_loop_lag_seconds_sum") or 0.0
    measuring = asyncio.create_task(exposition.measure_lag())
    await asyncio.sleep(0)
    time.sleep(0.05)
    await wait_until(lambda: (measured("shop_event_loop_lag_seconds_sum") or 0.0) > before_s + 0.04)
    measuring.cancel()


@pytest.mark.parametrize(("share", "seldom"), [(0.5, False), (0.01, False), (0.001, True)])
async def test_it_is_measured_less_often_while_the_process_is_idle(
    monkeypatch: pytest.MonkeyPatch, share: float, seldom: bool
) -> None:
    """``share``: of a core that the process takes."""
    pauses: list[float] = []
    used_s = 0.0

    async def sleep(pause_s: float) -> None:
        nonlocal used_s
        pauses.append(pause_s)
        used_s += share * pause_s
        if len(pauses) > 20:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    before = measured("shop_event_loop_lag_seconds_count") or 0.0
    with pytest.raises(asyncio.CancelledError):
        await exposition.measure_lag(lambda: used_s)
    assert (measured("shop_event_loop_lag_seconds_count") or 0.0) - before == 20
    assert pauses[0] <= 1.5, "not yet known to be idle"
    least, most = (2.5, 7.5) if seldom else (0.5, 1.5)
    assert all(least <= pause <= most for pause in pauses[1:]), pauses


async def test_the_pool_is_measured(database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await Database.connect(await database_for("kit"), pool_size=1, application="kit")
    waits = measured("shop_database_pool_wait_seconds_count") or 0.0
    async with database.session():
        monkeypatch.setattr("shop.kit.db.ACQUIRE_TIMEOUT_S", 0.05)
        assert measured("shop_database_pool_connections", state="used") == 1
        assert measured("shop_database_pool_connections", state="idle") == 0
        with contextlib.suppress(Unavailable):
            async with database.session():
                pytest.fail("there is a second connection")
    assert measured("shop_database_pool_limit") == 1
    assert measured("shop_database_pool_connections", state="idle") == 1
    assert measured("shop_database_pool_wait_seconds_count") == waits + 2
    await database.close()
