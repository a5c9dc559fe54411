"""promtool, and a real Prometheus beside a shop that runs."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from shop.devkit.embedded import EmbeddedError
from shop.devkit.prometheus import PrometheusStore, find_program
from shop.operator.local import monitoring
from tests.charts import helm
from tests.load.local_shop import LocalShop

TIMEOUT_S = 120
REQUEST_TIMEOUT_S = 30

type Json = dict[str, Any]


class Series(NamedTuple):
    """One series of an answer: its labels, and pairs of Unix time (s) and value; one pair for an instant query."""

    labels: Mapping[str, str]
    points: list[tuple[float, float]]

    @property
    def value(self) -> float:
        """The latest one."""
        return self.points[-1][1]


class QueryFailed(RuntimeError):
    """Prometheus refused or failed a request; the message is its own."""


@dataclass(frozen=True)
class Prometheus:
    """The HTTP API of the server at `url`."""

    url: str

    def query(self, expression: str, at_s: float | None = None) -> list[Series]:
        """The value of each series at this Unix time, default now; raises `QueryFailed`."""
        found = self._get("query", query=expression, **({} if at_s is None else {"time": f"{at_s:.3f}"}))
        return [_series(one) for one in found["result"]]

    def query_range(self, expression: str, start_s: float, end_s: float, step_s: float) -> list[Series]:
        """The values between two Unix times; raises `QueryFailed`."""
        found = self._get("query_range", query=expression, start=f"{start_s:.3f}", end=f"{end_s:.3f}", step=str(step_s))
        return [_series(one) for one in found["result"]]

    def label_values(self, label: str, selector: str) -> list[str]:
        """The values of `label` in the series that `selector` chooses, in order."""
        found: list[str] = self._get(f"label/{label}/values", **{"match[]": selector})
        return found

    def alerts(self) -> list[Json]:
        """Alerts that are pending or firing: {"labels", "annotations", "state", "activeAt", "value"}."""
        found: list[Json] = self._get("alerts")["alerts"]
        return found

    def firing(self) -> set[str]:
        """The names of alerts that fire."""
        return {one["labels"]["alertname"] for one in self.alerts() if one["state"] == "firing"}

    def targets(self) -> list[Json]:
        """Of each target {"labels", "health", "lastError", "lastScrapeDuration", ...}."""
        found: list[Json] = self._get("targets", state="active")["activeTargets"]
        return found

    def all_up(self) -> bool:
        """Whether every target, of which there are some, was scraped."""
        found = self.targets()
        return bool(found) and all(one["health"] == "up" for one in found)

    def exemplars(self, expression: str, start_s: float, end_s: float) -> list[Json]:
        """Of each series {"seriesLabels", "exemplars"}."""
        found: list[Json] = self._get("query_exemplars", query=expression, start=f"{start_s:.3f}", end=f"{end_s:.3f}")
        return found

    def _get(self, path: str, **parameters: str) -> Any:
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=REQUEST_TIMEOUT_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise QueryFailed(f"{parameters}: {error.read().decode()}") from error


def _series(found: Json) -> Series:
    points = found["values"] if "values" in found else [found["value"]]
    return Series(found["metric"], [(float(at_s), float(value)) for at_s, value in points])


@contextmanager
def observing(
    shop: LocalShop,
    folder: Path,
    scrape_interval_s: float,
    rules: Mapping[str, str] | None = None,
) -> Iterator[Prometheus]:
    """A Prometheus of the test's own that scrapes the running `shop`, with its data in `folder`.

    `rules` are texts of rule files by name; default: those of `shopctl up --observe`. Skips the test without it.
    """
    if rules is None:
        rules = {monitoring.RULES.stem: monitoring.RULES.read_text(encoding="utf-8")}
    with scraping(shop.data_dir / "targets", folder, scrape_interval_s, rules) as prometheus:
        yield prometheus


@contextmanager
def scraping(
    targets: Path, folder: Path, scrape_interval_s: float, rules: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Prometheus]:
    """The same for the targets of the files in another folder, without rules by default."""
    program("prometheus")
    config = monitoring.config(targets, scrape_interval_s)
    server = PrometheusStore(folder, config, rules).start()
    try:
        yield Prometheus(server.url)
    finally:
        server.stop()


def installed() -> bool:
    """Whether there is a Prometheus server."""
    try:
        find_program()
    except EmbeddedError:
        return False
    return True


def program(name: str) -> Path:
    """promtool or prometheus; skips the test without it."""
    try:
        return find_program(name)
    except EmbeddedError as error:
        pytest.skip(str(error))


def promtool(*arguments: str) -> str:
    """Its output, which of a failure is the message."""
    command = [str(program("promtool")), *arguments]
    environment = {**os.environ, **helm.NO_COLLECTION}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
