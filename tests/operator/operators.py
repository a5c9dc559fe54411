"""Operators under test: real processes, with a log of their own, that can be stopped and killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from shop.operator.engine.render.renderer import find_helm

START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 40
PROBE_TIMEOUT_S = 5
RESYNC_TIMEOUT_S = 180
ROOT = Path(__file__).parents[2]
EARLIER_VERSIONS = ("0.2.0", "0.3.0")
"""Which the operators under test carry beside their own; made of the charts as they are."""


def charts_with(folder: Path, versions: Iterable[str]) -> Path:
    """A folder with this repository's charts, and with the archives of these versions as a release would add them."""
    folder.mkdir()
    (folder / "shop").symlink_to(ROOT / "charts" / "shop")
    for version in versions:
        package(version, folder / "earlier")
    return folder


def package(version: str, folder: Path) -> None:
    """charts/shop as `make package` packs it."""
    helm = find_helm()
    environment = {**os.environ, "PATH": f"{helm.parent}{os.pathsep}{os.environ['PATH']}"}
    packages = folder.parent / f"packages-{version}"
    subprocess.run(
        [ROOT / "charts" / "package.sh", version, packages], env=environment, check=True, capture_output=True
    )
    folder.mkdir(exist_ok=True)
    (packages / f"shop-{version}.tgz").rename(folder / f"shop-{version}.tgz")


@dataclass
class Operator:
    """One process; `port` serves its probes and metrics."""

    pid: int
    port: int
    log: Path

    @property
    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def metrics(self) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=PROBE_TIMEOUT_S) as answer:
            text: str = answer.read().decode()
            return text

    def metric(self, name: str) -> float:
        """Sum of all series of one name."""
        lines = [line for line in self.metrics().splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def resynced(self, count: int = 1) -> None:
        """Return when it has gone through all Shops `count` times more."""
        before = await asyncio.to_thread(self._resyncs)
        done = partial(asyncio.to_thread, lambda: self._resyncs() >= before + count)
        await wait_until(done, RESYNC_TIMEOUT_S, f"{count} resyncs; its log: {self.log}")

    def _resyncs(self) -> float:
        return self.metric("shop_operator_resyncs_total")

    def leads(self) -> bool:
        try:
            return self.metric("shop_operator_leader") == 1
        except OSError:
            return False

    async def leading(self) -> None:
        """Return when it holds the Lease."""
        await wait_until(lambda: asyncio.to_thread(self.leads), START_TIMEOUT_S, f"a leader; its log: {self.log}")

    def kill(self) -> None:
        """As a node that loses its power."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """As Kubernetes ends a pod."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
        await self.gone()

    async def gone(self) -> None:
        await wait_until(lambda: not self.alive, STOP_TIMEOUT_S, f"process {self.pid} gone; its log: {self.log}")


class Operators:
    """Starts operators, and ends all of them with the block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spawner = subprocess.Popen(
            [sys.executable, "-m", "tests.operator.spawner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._answer()
        self._charts = charts_with(folder / "charts", EARLIER_VERSIONS)
        self.started: list[Operator] = []

    def _answer(self) -> str:
        assert self._spawner.stdout is not None
        line = self._spawner.stdout.readline().strip()
        assert line, "the spawner has ended"
        return line

    def start(self, kubeconfig: Path, namespace: str, /, **settings: str) -> Operator:
        """An operator for the Shops of one namespace, its Lease there too; `settings` are those of its environment."""
        port = free_port()
        number = len(self.started)
        environment = {
            "KUBECONFIG": str(kubeconfig),
            "SHOP_OPERATOR_CHARTS": str(self._charts),
            "SHOP_OPERATOR_NAMESPACES": namespace,
            "SHOP_OPERATOR_NAMESPACE": namespace,
            "SHOP_OPERATOR_PORT": str(port),
            "SHOP_OPERATOR_IDENTITY": f"operator-{number}",
            **{f"SHOP_OPERATOR_{name.upper()}": value for name, value in settings.items()},
        }
        log = self._folder / f"operator-{number}.log"
        assert self._spawner.stdin is not None
        self._spawner.stdin.write(json.dumps({"environment": environment, "log": str(log)}) + "\n")
        self._spawner.stdin.flush()
        self.started.append(Operator(int(self._answer()), port, log))
        return self.started[-1]

    def close(self) -> None:
        self._spawner.kill()
        self._spawner.wait()
