"""Autoscaling by requests: Kubernetes' own controller follows a real Prometheus, by the charts' objects and rule."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from tests.charts.rendering import CHARTS, Object, kind, named, template
from tests.operator import custom_metrics
from tests.operator.apiserver import ApiServer
from tests.operator.programs import Kubectl, pod_of, program, running
from tests.telemetry import prometheus_tools

REQUESTS_PER_S, TARGET, PODS = 90, 30, 3
NAMESPACE, NOUN, POD = "autoscaled", "product", "product-1"
SAMPLE_S = 10
SAMPLES_OF_S = 170
"""The rule's window of two minutes, and some time for the test."""
SCALES_WITHIN_S = 90.0
ADAPTER = "shop-adapter"


def requests_until_now() -> str:
    """OpenMetrics: the counter of one pod, up to now."""
    labels = f'namespace="{NAMESPACE}",pod="{POD}",app_kubernetes_io_name="{NOUN}",status="200"'
    now = int(time.time())
    lines = [
        f"shop_http_requests_total{{{labels}}} {REQUESTS_PER_S * (at - now + SAMPLES_OF_S)} {at}"
        for at in range(now - SAMPLES_OF_S, now + 1, SAMPLE_S)
    ]
    return "\n".join(["# TYPE shop_http_requests counter", *lines, "# EOF\n"])


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """The URL of one that has those requests and scrapes nothing."""
    server = prometheus_tools.program("prometheus")
    (folder / "requests.om").write_text(requests_until_now(), encoding="utf-8")
    (folder / "prometheus.yaml").write_text("{}\n", encoding="utf-8")
    data, port = str(folder / "data"), free_port()
    prometheus_tools.promtool("tsdb", "create-blocks-from", "openmetrics", str(folder / "requests.om"), data)
    options = [f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={data}"]
    command = [str(server), *options, f"--web.listen-address=127.0.0.1:{port}"]
    with running(command, folder / "prometheus.log"):
        yield f"http://127.0.0.1:{port}/"


def scaled_objects() -> list[Object]:
    """The Deployment and the autoscaler of the chart."""
    settings = {
        "enabled": "true",
        "minReplicas": 1,
        "maxReplicas": 10,
        "targetCPUUtilizationPercentage": 0,
        "targetRequestsPerSecond": TARGET,
    }
    given = ",".join(f"services.{NOUN}.autoscaling.{name}={value}" for name, value in settings.items())
    shop = template("shop", "--namespace", NAMESPACE, "--set", given)
    deployment = named(shop, "Deployment", NOUN)
    return [deployment, named(shop, "HorizontalPodAutoscaler", NOUN)]


def adapter_objects(port: int) -> list[Object]:
    """The rights and the APIService of the chart; its Service leads to `port` of this machine."""
    stack = template("observability", "--namespace", NAMESPACE, "--set", "adapter.enabled=true")
    rights = [one for one in stack if one["kind"].startswith("Cluster") and ADAPTER in one["metadata"]["name"]]
    (api,) = kind(stack, "APIService")
    reached = {**api, "spec": {**api["spec"], "service": {**api["spec"]["service"], "port": port}}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": api["spec"]["service"]["name"]},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }
    return [*rights, named(stack, "ServiceAccount", ADAPTER), service, reached]


async def test_the_number_of_pods_follows_the_requests(apiserver: ApiServer, kubeconfig: Path, tmp_path: Path) -> None:
    kubectl = Kubectl(kubeconfig, NAMESPACE)
    port = free_port()
    adapted = adapter_objects(port)
    controllers = [
        program("kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        "--controllers=horizontal-pod-autoscaler-controller",
        "--horizontal-pod-autoscaler-sync-period=1s",
        "--leader-elect=false",
        f"--secure-port={free_port()}",
        f"--cert-dir={tmp_path / 'controllers'}",
    ]
    with prometheus(tmp_path) as address:
        kubectl("create", "namespace", NAMESPACE)
        kubectl("apply", "-f", "-", objects=scaled_objects())
        kubectl.run_pods({"127.1.0.1": pod_of(scaled_objects()[0])})
        kubectl("apply", "-f", "-", objects=adapted)
        adapter = {
            "bind-address": "127.0.0.1",
            "secure-port": port,
            "cert-dir": tmp_path / "adapter",
            "prometheus-url": address,
            "config": CHARTS / "observability" / "files" / "adapter.yaml",
            "server": apiserver.url,
            "token": kubectl("create", "token", ADAPTER).strip(),
            "authority": apiserver.authority.path,
        }
        given = [f"--{name}={value}" for name, value in adapter.items()]
        command = [sys.executable, custom_metrics.__file__, *given]
        try:
            with running(command, tmp_path / "adapter.log"), running(controllers, tmp_path / "controllers.log"):
                await wait_until(lambda: replicas(kubectl) == PODS, SCALES_WITHIN_S, f"{PODS} pods by requests")
                (metric,) = status(kubectl)["currentMetrics"]
        finally:
            # An API without a server would fail other clients' discovery.
            kubectl("delete", "-f", "-", "--wait=false", objects=adapted)
    assert metric["pods"]["metric"]["name"] == "shop_http_requests_per_second"


def replicas(kubectl: Kubectl) -> int:
    return int(json.loads(kubectl("get", "deployment", NOUN, "-o", "json"))["spec"].get("replicas", 1))


def status(kubectl: Kubectl) -> Any:
    return json.loads(kubectl("get", "hpa", NOUN, "-o", "json"))["status"]
