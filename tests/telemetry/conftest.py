"""One shop for the tests of telemetry: every trace is exported to a receiver of theirs, a Prometheus scrapes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml

from shop.devkit.embedded import free_port
from shop.devkit.testing import wait_until
from shop.operator.local import monitoring
from tests.conftest import RunningShop
from tests.load import local_shop
from tests.load.shoppers import Shop as Api
from tests.telemetry import traffic
from tests.telemetry.otlp import Receiver, receiving
from tests.telemetry.prometheus_tools import Prometheus, installed, observing, program

SCRAPE_INTERVAL_S = 2.0
SCRAPED_WITHIN_S = 60.0
MODULES = {"recommendations": True, "food": True, "arcade": True}
LOOKS_OFTEN = {"product": {"SHOP_STOCK_COUNT_SECONDS": "1"}, **local_shop.BURSTS_ACCEPTED}
"""For tests that wait for what is measured at intervals."""


@dataclass(frozen=True)
class TracedShop(RunningShop):
    """A shop whose spans are all in ``receiver``, and that Prometheus, where it is installed, has scraped from the
    start, at the Unix time ``started_s``."""

    receiver: Receiver
    started_s: float
    prometheus: Prometheus | None

    def services(self) -> list[local_shop.Json]:
        """What `shopctl status` says of each service's process."""
        return [part for part in self.local.status()["components"] if part["kind"] == "service"]

    def logs(self) -> dict[str, str]:
        """What each component has logged, by the name of its log file."""
        folder = self.local.data_dir / "logs"
        return {path.stem: path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("*.log"))}


@pytest.fixture(scope="session")
def traced(servers_folder: Path) -> Iterator[TracedShop]:
    with receiving() as receiver, ExitStack() as ending:
        local = local_shop.start(
            servers_folder / "traced-shop",
            free_port(),
            modules=MODULES,
            env=LOOKS_OFTEN,
            traces_to=receiver.url,
            control_room=True,
        )
        ending.callback(local.down)
        started_s = time.time()
        observer = observing(local, servers_folder / "prometheus", SCRAPE_INTERVAL_S, quick_rules())
        prometheus = ending.enter_context(observer) if installed() else None
        yield TracedShop(local, local.status()["url"], *local.admin_login(), receiver, started_s, prometheus)


def quick_rules() -> dict[str, str]:
    """The rules for a shop on this machine, of which none waits longer for its evaluation than the others."""
    document = yaml.safe_load(monitoring.RULES.read_text(encoding="utf-8"))
    groups = [{name: value for name, value in group.items() if name != "interval"} for group in document["groups"]]
    return {monitoring.RULES.stem: yaml.safe_dump({"groups": groups})}


@pytest.fixture(scope="session")
def prometheus(traced: TracedShop) -> Prometheus:
    """That of the traced shop; skips the test where Prometheus is not installed."""
    program("prometheus")
    assert traced.prometheus
    return traced.prometheus


@pytest.fixture(scope="session")
async def used(traced: TracedShop) -> None:
    """The traced shop after some traffic of every kind, all of which Prometheus has seen."""
    if traced.prometheus is not None:
        look = partial(asyncio.to_thread, traced.prometheus.all_up)
        await wait_until(look, SCRAPED_WITHIN_S, "a scrape of every service", SCRAPE_INTERVAL_S)
    await traffic.everything(traced)


@pytest.fixture
async def api(traced: TracedShop) -> AsyncIterator[Api]:
    """The public API of the traced shop."""
    client = Api.at(traced.url)
    yield client
    await client.close()


@pytest.fixture
async def admin(traced: TracedShop, api: Api) -> str:
    """The administrator's access token."""
    return await api.token(traced.admin_email, traced.admin_password)
