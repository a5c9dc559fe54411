"""Prometheus finds a shop by the API server with configuration and rights of charts/observability; an alert fires."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from tests.charts.rendering import Object, kind, named, template
from tests.operator.apiserver import ApiServer
from tests.operator.programs import Kubectl, pod_of, program, running
from tests.telemetry.prometheus_tools import Prometheus, QueryFailed

SHOP, OTHER, OWN = "scraped-shop", "scraped-other", "scraped-monitoring"
"""Namespaces: Prometheus is in the last one and has rights in the first one."""
ACCOUNT = "shop-prometheus"
PORT = 8000
INTERVAL = "1s"
FASTER = 12
"""The times of `for` in the rules are divided by this: two minutes become ten seconds."""
WITHIN_S = 60.0
ALERT, NOUN = "ShopServiceDown", "order"


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/metrics" else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"process_cpu_seconds_total 1\n")

    def log_message(self, *_: Any) -> None:
        """Nothing is worth a line."""


@contextmanager
def serving(address: str) -> Iterator[None]:
    """Something that answers at the address of a pod."""
    server = ThreadingHTTPServer((address, PORT), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def ready(prometheus: Prometheus) -> bool:
    try:
        return bool(prometheus.query("up or vector(1)"))
    except (OSError, QueryFailed):  # not started, or starting
        return False


def up(prometheus: Prometheus) -> dict[tuple[str, str], float]:
    """Namespace and service of each target, and 1 if it is up."""
    found = prometheus.query("up")
    return {(one.labels["namespace"], one.labels["app_kubernetes_io_name"]): one.value for one in found}


def firing(prometheus: Prometheus) -> set[tuple[str, str]]:
    """Alert and service."""
    found = [one["labels"] for one in prometheus.alerts() if one["state"] == "firing"]
    return {(labels["alertname"], labels.get("app_kubernetes_io_name", "")) for labels in found}


@contextmanager
def started(server: str, config: Path) -> Iterator[Prometheus]:
    """A server with that configuration; its files are beside it."""
    port, log = free_port(), config.parent / "prometheus.log"
    options = [f"--config.file={config}", f"--storage.tsdb.path={config.parent / 'data'}"]
    with running([server, *options, f"--web.listen-address=127.0.0.1:{port}"], log):
        yield Prometheus(f"http://127.0.0.1:{port}")


def configuration(stack: tuple[Object, ...], apiserver: ApiServer, folder: Path) -> Path:
    """The chart's, from outside of a pod, which has to be told what is mounted into one."""
    written = yaml.safe_load(named(stack, "ConfigMap", ACCOUNT)["data"]["prometheus.yaml"])
    outside = {
        "api_server": apiserver.url,
        "authorization": {"credentials_file": str(folder / "token")},
        "tls_config": {"ca_file": str(apiserver.authority.path)},
    }
    (shops,) = written["scrape_configs"]
    for discovery in shops["kubernetes_sd_configs"]:
        discovery.update(outside)
    written["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), INTERVAL)
    written["rule_files"] = [str(folder / "rules.yaml")]
    del written["alerting"]
    rules = named(stack, "ConfigMap", f"{ACCOUNT}-rules")["data"]["shops.yaml"]
    sooner = re.sub(r"( for: )(\d+)m\n", lambda found: f"{found[1]}{int(found[2]) * 60 // FASTER}s\n", rules)
    (folder / "rules.yaml").write_text(sooner, encoding="utf-8")
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    return folder / "prometheus.yaml"


def give_rights(kubeconfig: Path, stack: tuple[Object, ...]) -> str:
    """The chart's rights; the token of Prometheus."""
    for found in stack:
        if found["kind"] in ("Role", "RoleBinding", "ServiceAccount") and ACCOUNT in found["metadata"]["name"]:
            Kubectl(kubeconfig, found["metadata"].get("namespace", OWN))("apply", "-f", "-", objects=[found])
    return Kubectl(kubeconfig, OWN)("create", "token", ACCOUNT).strip()


async def test_every_service_is_found_with_the_charts_rights_and_one_that_is_down_alerts(
    apiserver: ApiServer, kubeconfig: Path, tmp_path: Path
) -> None:
    server = program("prometheus-kubernetes")
    stack = template("observability", "--namespace", OWN, "--set", f"namespaces={{{SHOP}}},scrape.volumes=false")
    pods = {f"127.1.0.{n}": pod_of(one) for n, one in enumerate(kind(template("shop"), "Deployment"), 1)}
    addresses = {pod["metadata"]["labels"]["app.kubernetes.io/name"]: address for address, pod in pods.items()}
    for space in (SHOP, OTHER, OWN):
        Kubectl(kubeconfig, space)("create", "namespace", space)
    (tmp_path / "token").write_text(give_rights(kubeconfig, stack), encoding="utf-8")
    with started(server, configuration(stack, apiserver, tmp_path)) as prometheus, ExitStack() as others:
        await wait_until(lambda: ready(prometheus), WITHIN_S, "Prometheus")
        for space in (SHOP, OTHER):
            Kubectl(kubeconfig, space).run_pods(pods)
        for noun in addresses.keys() - {NOUN}:
            others.enter_context(serving(addresses[noun]))
        with serving(addresses[NOUN]):
            all_up = {(SHOP, noun): 1.0 for noun in addresses}
            await wait_until(lambda: up(prometheus) == all_up, WITHIN_S, "every service of the one namespace")
            assert firing(prometheus) == set()
        await wait_until(lambda: firing(prometheus) == {(ALERT, NOUN)}, WITHIN_S, f"{ALERT} and no other")
        with serving(addresses[NOUN]):
            await wait_until(lambda: firing(prometheus) == set(), WITHIN_S, f"the end of {ALERT}")
