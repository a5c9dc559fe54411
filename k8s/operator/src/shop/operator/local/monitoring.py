"""Prometheus beside a shop on this machine: its targets, its configuration, its component."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from shop.devkit.processes import EmbeddedError, launch, make_folder, write_private
from shop.devkit.prometheus import PrometheusStore, find_program
from shop.operator.errors import ShopctlError
from shop.operator.local import probes
from shop.operator.local.assembly import store_component
from shop.operator.local.component import Component
from shop.operator.local.data_dir import DataDir
from shop.operator.local.instances import HOST
from shop.operator.program import CHECKOUT

NAMESPACE, SHOP = "local", "shop"
"""Labels of the series of a shop on this machine, for which observability/generated/rules are written."""
OBSERVABILITY = CHECKOUT / "observability"
CONFIG = OBSERVABILITY / "prometheus" / "prometheus.yaml"
RULES = OBSERVABILITY / "generated" / "rules" / "shop.yaml"
TARGETS_FILE = "services.json"


def check() -> None:
    """Raise `ShopctlError` where the shop cannot be observed."""
    if not CONFIG.is_file():
        raise ShopctlError("--observe needs the folder observability of the repository: use ./shopctl of a checkout")
    try:
        find_program()
    except EmbeddedError as error:
        raise ShopctlError(f"--observe: {error}, or start the shop without --observe") from error


def write_targets(data: DataDir, components: Iterable[Component]) -> None:
    """What Prometheus scrapes, for its file_sd_configs; a stopped process stays a target, which is down then."""
    make_folder(data.targets)
    write_private(data.targets / TARGETS_FILE, json.dumps(list(_targets(components)), indent=1))


def forget_targets(data: DataDir) -> None:
    """Of a shop that has ended: nothing is down then."""
    (data.targets / TARGETS_FILE).unlink(missing_ok=True)


def _targets(components: Iterable[Component]) -> Iterator[dict[str, Any]]:
    """Every process of a service, with the labels that a ServiceMonitor of the charts gives it in a cluster."""
    for one in components:
        if one.kind == "service":
            names = {"app_kubernetes_io_instance": SHOP, "app_kubernetes_io_name": one.noun, "pod": one.name}
            yield {"targets": [f"{HOST}:{one.port}"], "labels": {"namespace": NAMESPACE, **names}}


def config(targets: Path | str, scrape_interval_s: float | None = None) -> dict[str, Any]:
    """The laptop's configuration for the shop that writes its targets into this folder.

    A given `scrape_interval_s` is also that of the rules' evaluation.
    """
    found: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    if scrape_interval_s is not None:
        interval = f"{scrape_interval_s * 1_000:.0f}ms"
        found["global"] = dict.fromkeys(found["global"], interval)
    for job in found["scrape_configs"]:
        job["file_sd_configs"] = [{"files": [f"{targets}/*.json"]}]
    return found


def component(data: DataDir) -> Component:
    """Prometheus with the rules of the repository, in the data folder; its data outlives the shop, up to a limit."""
    rules = {RULES.stem: RULES.read_text(encoding="utf-8")}
    store = PrometheusStore(data.store("prometheus"), config("../targets"), rules)
    return replace(store_component(store), kind="monitoring", page=store.url)


def dashboards(data: DataDir, prometheus: Component) -> Component:
    """The page with the dashboards of the repository, drawn from this `prometheus`.

    A program of the repository's own: nothing that is installed with shopctl needs it.
    """
    port, log = data.port("dashboards"), data.logs / "dashboards.log"
    options = ["--prometheus", prometheus.page, "--port", str(port), "--scrape-interval-s", str(scrape_interval_s())]

    def spawn() -> subprocess.Popen[bytes]:
        return launch([sys.executable, "-m", "observability.pictures.server", *options], log=log, cwd=CHECKOUT)

    async def ready(pid: int) -> bool:
        return (await probes.get(port, "/health"))[0] == HTTPStatus.OK

    return Component("dashboards", "monitoring", port, log, spawn, ready, page=f"http://{HOST}:{port}")


def scrape_interval_s() -> float:
    """Of the laptop's configuration."""
    interval: str = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["global"]["scrape_interval"]
    return float(interval.removesuffix("s"))
