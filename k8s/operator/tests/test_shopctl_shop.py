"""A whole shop: up, looked at, broken, killed, up again with its data, and gone."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from k8s.operator.tests.processes import has_ended
from shop.devkit.processes import EmbeddedError, free_port, port_is_free
from shop.devkit.prometheus import find_program
from shop.devkit.testing import wait_until
from shop.operator.local import running_shop
from shop.operator.local.data_dir import DataDir

pytestmark = pytest.mark.shop
SAMPLE = Path(__file__).parents[2] / "samples" / "bookshop.yaml"
FOLDER = """my "shop" \\ it's für alle"""
"""Everything that a shop writes and starts must take a folder of any name."""
START_TIMEOUT_S = 180
AGAIN_TIMEOUT_S = 60.0
BUDGET_BYTES = 1200 << 20
CALLS_EACH = 5
LOOK_EVERY_S = 0.2
"""At the health of every component, which asks each of them."""
COUNTED = re.compile(r'^shop_grpc_requests_total\{code="OK",method="[^"]*/SimilarTo"\} (\S+)$', re.MULTILINE)


def prometheus_is_installed() -> bool:
    try:
        find_program()
    except EmbeddedError:
        return False
    return True


OBSERVED = ["--observe"] if prometheus_is_installed() else []


class RunningShop:
    """shopctl against one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shop.operator.cli", *arguments, "--data-dir", str(self.data)],
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )

    def up(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.ctl("up", *options, "--detach", f"--port={self.port}", "--replicas=order=2")

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.ctl("status", "--json").stdout)
        return status

    def component(self, name: str) -> dict[str, Any]:
        return next(one for one in self.components() if one["name"] == name)

    def components(self) -> list[dict[str, Any]]:
        """What the supervisor says. It is asked directly: a shopctl for each look takes most of a second of CPU."""
        found: list[dict[str, Any]] = running_shop.command(DataDir(self.data), "status")["components"]
        return found

    async def when_healthy(self) -> dict[str, Any]:
        """The status once everything runs, the control room included, which starts when the shop sells."""
        await wait_until(self.is_healthy, AGAIN_TIMEOUT_S, "a healthy shop", LOOK_EVERY_S)
        return self.status()

    def is_healthy(self) -> bool:
        return all(one["healthy"] for one in self.components())

    def products(self) -> list[dict[str, Any]]:
        try:
            answer = httpx.get(f"{self.url}/api/v1/products?limit=5", timeout=5)
        except httpx.HTTPError:
            return []
        return list(answer.json()["items"]) if answer.status_code == 200 else []

    async def is_healthy_again(self, name: str, other_than: int) -> dict[str, Any]:
        """Wait until the component runs as another process and does its work."""

        def healthy() -> dict[str, Any] | None:
            found = self.component(name)
            return found if found["healthy"] and found["pid"] != other_than else None

        found: dict[str, Any] = await wait_until(healthy, AGAIN_TIMEOUT_S, f"{name} being healthy again", LOOK_EVERY_S)
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    made = RunningShop(tmp_path / FOLDER)
    yield made
    made.ctl("down", "--delete-data", "--yes")


async def test_the_life_of_a_shop(shop: RunningShop, tmp_path: Path) -> None:
    custom = tmp_path / "custom.yaml"
    custom.write_text(SAMPLE.read_text().replace("title: Marginalia Books", "title: Custom Books"))
    first = shop.up(str(custom))
    assert first.returncode == 0, first.stdout + first.stderr
    password = (shop.data / "admin-password").read_text().strip()
    assert password in first.stdout
    products = shop.products()
    assert len(products) == 5

    status = shop.status()
    assert status["url"] == f"http://localhost:{shop.port}"
    assert {one["name"] for one in status["components"] if one["kind"] == "store"} == {"postgres", "nats", "valkey"}
    assert {"order-1", "order-2", "gateway-1"} <= {one["name"] for one in status["components"]}
    status = await shop.when_healthy()
    assert sum(one["memory_bytes"] for one in [*status["components"], status["supervisor"]]) < BUDGET_BYTES

    again = shop.up(str(custom))
    assert again.returncode == 1
    assert "a shop already runs in" in again.stderr

    for name in ("order-1", "postgres"):
        pid = shop.component(name)["pid"]
        os.kill(pid, signal.SIGKILL)
        back = await shop.is_healthy_again(name, pid)
        assert back["restarts"] == 1
        assert f"{name} was ended by SIGKILL; restarts in" in shop.ctl("logs", "supervisor").stdout
    await wait_until(shop.is_healthy, AGAIN_TIMEOUT_S, "a healthy shop", LOOK_EVERY_S)

    assert shop.ctl("stop", "pricing").returncode == 0
    assert shop.component("pricing-1")["healthy"] is False
    assert shop.ctl("status").returncode == 1
    assert shop.ctl("start", "pricing").returncode == 0
    assert shop.component("pricing-1")["healthy"] is True
    assert "no component wine" in shop.ctl("stop", "wine").stderr

    audit = shop.ctl("audit", "--json")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert [oracle["number"] for oracle in json.loads(audit.stdout)["oracles"]] == list(range(1, 27))
    assert "event=service_started" in shop.ctl("logs", "order-2").stdout
    entries = [json.loads(line) for line in shop.ctl("logs", "--since", "1h", "--json").stdout.splitlines()]
    timed = {one["component"] for one in entries if one["time"]}
    assert {"order-1", "order-2", "postgres", "nats", "valkey", "supervisor"} <= timed

    pid = shop.component("order-2")["pid"]
    assert shop.ctl("restart", "order-2").stdout == "restarted: order-2\n"
    assert shop.component("order-2")["pid"] != pid
    assert shop.ctl("open").stdout == f"{status['url']}\n"

    pids = [one["pid"] for one in shop.components()]
    os.kill(status["supervisor"]["pid"], signal.SIGKILL)
    await wait_until(lambda: all(map(has_ended, pids)), AGAIN_TIMEOUT_S, "the end of every orphan")

    custom.unlink()
    second = shop.up("--replicas=recommendation=3", *OBSERVED)
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"using the stored one, {shop.data / 'shop.yaml'}" in second.stderr
    assert "Custom Books" in httpx.get(shop.url, timeout=5).text
    assert password not in second.stdout
    assert (shop.data / "admin-password").read_text().strip() == password
    assert [one["id"] for one in shop.products()] == [one["id"] for one in products]
    await pages_ask_every_replica_of_the_recommendations(shop, second.stdout)
    await prometheus_scrapes_every_process(shop, second.stdout)

    pids = [one["pid"] for one in shop.components()]
    assert "The shop has stopped" in shop.ctl("down").stdout
    assert all(map(has_ended, pids))
    assert (port_is_free(shop.port), list((shop.data / "targets").iterdir())) == (True, [])
    assert shop.ctl("down", "--delete-data", "--yes").returncode == 0
    assert not shop.data.exists()


async def prometheus_scrapes_every_process(shop: RunningShop, printed_by_up: str) -> None:
    """Where it is installed."""
    if not OBSERVED:
        return
    page = shop.component("prometheus")["page"]
    assert f"  observed  {page} (prometheus)\n" in printed_by_up
    assert f"prometheus: {page}\n" in shop.ctl("status").stdout
    processes = {one["name"] for one in shop.components() if one["kind"] == "service"}

    def asked(path: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{page}/api/v1/{path}", timeout=5).json()["data"]
        return found

    def scraped() -> bool:
        targets = asked("targets")["activeTargets"]
        return {one["labels"]["pod"] for one in targets if one["health"] == "up"} == processes

    await wait_until(scraped, AGAIN_TIMEOUT_S, "a scrape of every process", LOOK_EVERY_S)
    groups = asked("rules")["groups"]
    assert "shop-slo-alerts" in {one["name"] for one in groups}
    assert asked("status/flags")["storage.tsdb.retention.size"] != "0B"
    dashboards_have_a_page(shop, printed_by_up)


def dashboards_have_a_page(shop: RunningShop, printed_by_up: str) -> None:
    page = shop.component("dashboards")["page"]
    assert f"  observed  {page} (dashboards)\n" in printed_by_up
    assert shop.ctl("open", "dashboards").stdout == f"{page}\n"
    refused = shop.ctl("open", "nowhere")
    assert refused.returncode != 0
    assert "no page nowhere; there is shop, prometheus, dashboards" in refused.stderr
    drawn = httpx.get(f"{page}/d/shopkeeper-service/picture.svg?var-service=order&from=now-5m", timeout=30)
    assert drawn.status_code == 200
    assert ">Requests of order<" in drawn.text


async def pages_ask_every_replica_of_the_recommendations(shop: RunningShop, printed_by_up: str) -> None:
    replicas = [one for one in shop.components() if one["name"].startswith("recommendation-")]
    assert len(replicas) == 3
    for one in replicas:
        assert f"127.0.0.1:{one['grpc_port']}" in printed_by_up

    def calls(port: int) -> float:
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        return sum(float(count) for count in COUNTED.findall(metrics))

    def spread() -> bool:
        for product in shop.products():
            assert httpx.get(f"{shop.url}/products/{product['id']}", timeout=5).status_code == 200
        return min(calls(one["port"]) for one in replicas) >= CALLS_EACH

    await wait_until(spread, AGAIN_TIMEOUT_S, "calls at every replica")
