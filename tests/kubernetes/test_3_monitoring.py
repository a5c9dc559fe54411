"""charts/observability beside the shop: every service is scraped, an alert fires and ends, requests scale a service."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from shop.devkit.testing import wait_until
from tests.kubernetes import clusters
from tests.kubernetes.conftest import Findings, fresh_namespace, state
from tests.kubernetes.customers import shopping
from tests.kubernetes.kube import ROOT, SERVICES, CommandFailed, Json, Release, run
from tests.kubernetes.timeline import Timeline
from tests.load.shoppers import Shop
from tests.telemetry.prometheus_tools import Prometheus

CHART = ROOT / "charts" / "observability"
NAMESPACE, RELEASE = "shop-e2e-monitoring", "observability"
ALERT, NOUN = "ShopServiceDown", "notification"
FOR = "2m"
"""How long the service is down before the alert fires, and the window of the rule for the adapter."""
SHORT = "10s"
"""Instead of `FOR`: five scrapes."""
OPTIONS = (
    "scrape.intervalSeconds=2",
    "grafana.enabled=false",
    "adapter.enabled=true",
    "prometheus.storage=",
    "alertmanager.storage=",
)
INSTALL_TIMEOUT = "90s"
FOUND_WITHIN_S = 60.0
ALERTS_WITHIN_S = 60.0
SCALES_WITHIN_S = 120.0
PAGES_PER_S = 60.0
PODS = 2
SCALED = ",".join(
    f"services.product.autoscaling.{setting}"
    for setting in (
        "enabled=true",
        "minReplicas=1",
        f"maxReplicas={PODS}",
        "targetCPUUtilizationPercentage=0",
        "targetRequestsPerSecond=20",
        "scaleDownSeconds=5",
    )
)
READ_TIMEOUT_S = 10


class Stack(NamedTuple):
    prometheus: Prometheus
    alertmanager: str


def faster_chart(folder: Path) -> Path:
    """The chart with a shorter time of one alert and a shorter window of the adapter's rule."""
    copy = Path(shutil.copytree(CHART, folder / CHART.name))
    replace_once(copy / "files" / "rules" / "shops.yaml", rf"(alert: {ALERT}\n(?:.*\n)+? +for: ){FOR}()")
    replace_once(copy / "files" / "adapter.yaml", rf"(\[){FOR}(\])")
    return copy


def replace_once(path: Path, pattern: str) -> None:
    """Put `SHORT` between the two groups."""
    text, count = re.subn(pattern, rf"\g<1>{SHORT}\g<2>", path.read_text(encoding="utf-8"))
    assert count == 1, path
    path.write_text(text, encoding="utf-8")


def load_images() -> None:
    """The stand-ins that no other test needs; other clusters pull the images."""
    if os.environ.get(clusters.VARIABLE) != clusters.Own.name:
        return
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    run(str(clusters.OWN), "load", *(values[part]["image"] for part in ("prometheus", "alertmanager", "adapter")))


def install(shop: Release, namespace: str, folder: Path) -> Release:
    """The chart in a namespace of its own, with rights in the shop's alone; returns when it is ready."""
    load_images()
    stack = Release(RELEASE, namespace, chart=faster_chart(folder))
    options = ",".join((*OPTIONS, f"namespaces={{{shop.namespace}}}"))
    try:
        stack.helm("install", RELEASE, str(stack.chart), "--set", options, "--wait", "--timeout", INSTALL_TIMEOUT)
    except CommandFailed as error:
        raise CommandFailed(f"{error}\n{state(stack)}") from error
    return stack


@pytest.fixture(scope="module")
async def stack(release: Release, findings: Findings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    clock = asyncio.get_running_loop().time
    began = clock()
    with fresh_namespace(NAMESPACE) as namespace:
        try:
            installed = await asyncio.to_thread(install, release, namespace, tmp_path_factory.mktemp("chart"))
            findings.note("seconds until the monitoring stack is ready", round(clock() - began, 1))
            async with (
                installed.forwarded(f"svc/{RELEASE}-prometheus", 9090) as prometheus,
                installed.forwarded(f"svc/{RELEASE}-alertmanager", 9093) as alertmanager,
            ):
                yield Stack(Prometheus(f"http://127.0.0.1:{prometheus}"), f"http://127.0.0.1:{alertmanager}")
        finally:
            # A metrics API without a server would keep namespaces from being deleted.
            uninstall = ("uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout", INSTALL_TIMEOUT)
            await asyncio.to_thread(Release(RELEASE, namespace).helm, *uninstall)


async def test_every_service_is_scraped_at_the_ports_of_its_service_monitor(
    release: Release, stack: Stack, findings: Findings
) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    monitors = await asyncio.to_thread(monitors_of, release)
    assert monitors.keys() == set(SERVICES)
    # Pods of the tests before may still be ending.
    found = "every pod that a ServiceMonitor leads to, and no other"
    await holds(lambda: scraped(stack.prometheus) == monitored(release, monitors), FOUND_WITHIN_S, found)
    findings.note("seconds until Prometheus has scraped every service", round(clock() - began, 1))
    # The series of a pod that has ended stay until Prometheus has missed it twice.
    labelled = "series with the names of exactly the pods that run"
    await holds(lambda: measured(stack.prometheus, release) == running(release), FOUND_WITHIN_S, labelled)
    await holds(lambda: stack.prometheus.query('up{job="kubelet"} == 1'), FOUND_WITHIN_S, "the kubelet's metrics")


def measured(prometheus: Prometheus, release: Release) -> set[tuple[str, str]]:
    """Service and pod of each series that says whether a pod of the shop was scraped."""
    of_shop = f'up{{namespace="{release.namespace}", app_kubernetes_io_instance="{release.name}"}}'
    found = prometheus.query(of_shop)
    return {(one.labels["app_kubernetes_io_name"], one.labels["pod"]) for one in found}


def running(release: Release) -> set[tuple[str, str]]:
    return {(noun, pod["metadata"]["name"]) for noun in SERVICES for pod in release.pods(noun)}


def scraped(prometheus: Prometheus) -> dict[str, str]:
    """Addresses of the shop's pods, and "up" or what the last scrape ended with."""
    return {one["scrapeUrl"]: one["health"] for one in prometheus.targets() if one["scrapePool"] == "shops"}


def monitored(release: Release, monitors: Mapping[str, Json]) -> dict[str, str]:
    """The addresses that these ServiceMonitors lead to by the cluster's EndpointSlices, as `scraped` has them."""
    addresses = (address for monitor in monitors.values() for address in addresses_of(release, monitor))
    return {f"http://{address}/metrics": "up" for address in addresses}


def monitors_of(release: Release) -> dict[str, Json]:
    """The specs of the chart's ServiceMonitors by service."""
    rendered = release.helm("template", release.name, *release.values(), "--set", "global.serviceMonitors=Always")
    monitors = [one for one in yaml.safe_load_all(rendered) if one and one["kind"] == "ServiceMonitor"]
    return {one["metadata"]["name"]: one["spec"] for one in monitors}


def addresses_of(release: Release, monitor: Json) -> set[str]:
    """host:port of the pods behind the Services that one ServiceMonitor selects."""
    assert monitor["selector"].keys() == {"matchLabels"}
    selector = ",".join(f"{label}={value}" for label, value in monitor["selector"]["matchLabels"].items())
    (endpoint,) = monitor["endpoints"]
    assert endpoint["path"] == "/metrics"
    services = [one["metadata"]["name"] for one in release.items("services", "-l", selector)]
    names = f"kubernetes.io/service-name in ({','.join(services)})"
    return {
        f"{address}:{port['port']}"
        for found in release.items("endpointslices", "-l", names)
        for port in found["ports"]
        if port["name"] == endpoint["port"]
        for one in found["endpoints"]
        for address in one["addresses"]
    }


async def test_an_alert_fires_and_ends(release: Release, stack: Stack, findings: Findings) -> None:
    """A service whose metrics are at another path is one that Prometheus cannot see."""
    clock = asyncio.get_running_loop().time
    began = clock()
    (pod,) = release.pods(NOUN)
    annotate = ("annotate", "--overwrite", "pod", pod["metadata"]["name"])
    release.kubectl(*annotate, "prometheus.io/path=/nowhere")
    try:
        await holds(lambda: notified(stack) == [NOUN], ALERTS_WITHIN_S, f"{ALERT} of {NOUN} at Alertmanager")
        findings.note(f"seconds until {ALERT} is at Alertmanager", round(clock() - began, 1))
        assert stack.prometheus.firing() == {ALERT}
    finally:
        release.kubectl(*annotate, "prometheus.io/path=/metrics")
    mended = clock()
    await holds(lambda: notified(stack) == [], ALERTS_WITHIN_S, f"the end of {ALERT}")
    findings.note(f"seconds until {ALERT} has ended at Alertmanager", round(clock() - mended, 1))


def notified(stack: Stack) -> list[str]:
    """The services that Alertmanager has the alert of."""
    with urllib.request.urlopen(f"{stack.alertmanager}/api/v2/alerts?active=true", timeout=READ_TIMEOUT_S) as answer:
        labels = [one["labels"] for one in json.load(answer)]
    return [one["app_kubernetes_io_name"] for one in labels if one["alertname"] == ALERT]


@pytest.mark.usefixtures("stack")
async def test_requests_scale_a_service_to_two_pods_and_back(
    release: Release, api: Shop, admin: str, findings: Findings, timeline: Timeline
) -> None:
    await asyncio.to_thread(release.upgrade, "--set", SCALED)
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        async with shopping(timeline, api, admin, pages_per_s=PAGES_PER_S) as customers:
            await holds(lambda: release.ready("product") == PODS, SCALES_WITHIN_S, f"{PODS} pods by requests")
            findings.note("seconds from load to two pods by requests", round(clock() - began, 1))
        assert customers.failures == []
        rested = clock()
        await holds(lambda: release.ready("product") == 1, SCALES_WITHIN_S, "one pod without requests")
        findings.note("seconds from rest to one pod by requests", round(clock() - rested, 1))
        (metric,) = release.get("hpa", "product")["status"]["currentMetrics"]
        assert metric["pods"]["metric"]["name"] == "shop_http_requests_per_second"
    finally:
        await asyncio.to_thread(release.upgrade)
    assert release.items("hpa") == []


async def holds(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Wait in a thread for what a server says."""

    async def found() -> bool:
        return bool(await asyncio.to_thread(condition))

    await wait_until(found, timeout_s, what)
