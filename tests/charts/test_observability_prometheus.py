"""charts/observability: Prometheus finds the shops, with few rights, and its rules keep them apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.rendering import CHARTS, NAMESPACE, RELEASE, Object, kind, matches, named, pods, preset, template
from tests.charts.shapes import TEXT, complaints, listed, one_of, record
from tests.charts.stack import ALL_ON, CHART, config, container, job, notes
from tests.telemetry import prometheus_tools

FILES = CHARTS / CHART / "files"


# Debian's promtool knows no discovery by Kubernetes: that is compared with this, as Prometheus' documentation has it.
SELECTOR = record({"role": one_of("pod"), "label": TEXT}, "role label")
DISCOVERY = listed(
    record(
        {"role": one_of("pod node"), "namespaces": record({"names": listed(TEXT)}), "selectors": listed(SELECTOR)},
        "role",
    )
)


@pytest.mark.parametrize("name", [CHART, ALL_ON])
def test_prometheus_takes_its_configuration_and_rules(name: str, tmp_path: Path) -> None:
    written = config(name, "prometheus", "prometheus.yaml")
    discoveries = [one.pop("kubernetes_sd_configs") for one in written["scrape_configs"]]
    assert [error for one in discoveries for error in complaints(DISCOVERY, one)] == []
    rules = named(preset(name), "ConfigMap", f"{RELEASE}-prometheus-rules")["data"]
    for file, text in {"prometheus.yaml": yaml.safe_dump(written), **rules}.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    # Without --syntax-only it would look for the token of a pod.
    prometheus_tools.promtool("check", "config", "--syntax-only", str(tmp_path / "prometheus.yaml"))
    prometheus_tools.promtool("check", "rules", *(str(tmp_path / file) for file in rules))


def test_retention_and_volume_are_those_that_are_set() -> None:
    args = container(ALL_ON, "StatefulSet", "prometheus")["args"]
    assert {"--storage.tsdb.retention.time=90d", "--storage.tsdb.retention.size=50GB"} <= set(args)
    (claim,) = named(preset(ALL_ON), "StatefulSet", f"{RELEASE}-prometheus")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"] == {"storage": "60Gi"}
    assert claim["spec"]["storageClassName"] == "fast"


def test_a_component_without_storage_has_a_temporary_volume() -> None:
    spec = named(preset(ALL_ON), "StatefulSet", f"{RELEASE}-alertmanager")["spec"]
    assert "volumeClaimTemplates" not in spec
    assert {"name": "data", "emptyDir": {}} in spec["template"]["spec"]["volumes"]


def discovered(shop: tuple[Object, ...], namespace: str) -> list[dict[str, Any]]:
    """What Prometheus' discovery of pods knows of those of `shop`: a target for each port, or one without a port."""
    groups: list[dict[str, Any]] = []
    for pod in pods(shop):
        labels = {f"__meta_kubernetes_pod_label_{key}": value for key, value in pod.labels.items()}
        given = pod.owner["spec"].get("template", {}).get("metadata", {}).get("annotations") or {}
        labels |= {f"__meta_kubernetes_pod_annotation_{key}": value for key, value in given.items()}
        labels |= {"__meta_kubernetes_namespace": namespace, "__meta_kubernetes_pod_phase": "Running"}
        labels["__meta_kubernetes_pod_name"] = f"{pod.owner['metadata']['name']}-0"
        for one in pod.containers:
            labels["__meta_kubernetes_pod_container_name"] = one["name"]
            for port in one.get("ports", [{}]):
                number = {"__meta_kubernetes_pod_container_port_name": port["name"]} if port else {}
                address = f"10.0.0.{len(groups)}:{port.get('containerPort', 80)}"
                cleaned = {re.sub(r"\W", "_", key): value for key, value in (labels | number).items()}
                groups.append({"targets": [address], "labels": cleaned})
    return groups


def scraped(groups: list[dict[str, Any]], folder: Path) -> list[dict[str, str]]:
    """The labels of the targets that Prometheus makes of these by the chart's rules, those of the scrape included."""
    (folder / "targets.json").write_text(json.dumps(groups), encoding="utf-8")
    found = job(CHART, "shops")
    del found["kubernetes_sd_configs"]
    found["file_sd_configs"] = [{"files": [str(folder / "targets.json")]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": [found]}), encoding="utf-8")
    output = prometheus_tools.promtool(
        "check", "service-discovery", "--timeout=1s", str(folder / "prometheus.yaml"), "shops"
    )
    return [one["labels"] for one in json.loads(output) if one.get("labels")]


def test_series_of_every_service_get_the_labels_that_a_service_monitor_gives(tmp_path: Path) -> None:
    shop = preset("shop-everything")
    targets = scraped(discovered(shop, NAMESPACE), tmp_path)
    by_service = {one["app_kubernetes_io_name"]: one for one in targets}
    monitors = kind(shop, "ServiceMonitor")
    services = {one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] for one in monitors}
    assert set(by_service) == services
    assert len(targets) == len(services)
    for monitor in monitors:
        label, target = (
            monitor["spec"]["selector"]["matchLabels"],
            by_service[monitor["metadata"]["name"].split("-")[-1]],
        )
        named_by_monitor = {re.sub(r"\W", "_", name): label[name] for name in monitor["spec"]["targetLabels"]}
        assert target.items() >= named_by_monitor.items()
        assert target["namespace"] == NAMESPACE
        assert target["pod"].startswith(monitor["metadata"]["name"])
        assert target["__metrics_path__"] == monitor["spec"]["endpoints"][0]["path"]
        assert target["__address__"].endswith(":8000")


def test_the_operator_is_scraped_and_is_no_shop(tmp_path: Path) -> None:
    (target,) = scraped(discovered(preset("shop-operator"), "shop-operator"), tmp_path)
    assert (target["job"], target["namespace"]) == ("shop-operator", "shop-operator")
    assert "app_kubernetes_io_instance" not in target


def test_pods_that_ended_or_that_are_not_to_be_scraped_are_left_alone(tmp_path: Path) -> None:
    groups = discovered(preset("shop-everything"), NAMESPACE)
    ended = [{**one, "labels": {**one["labels"], "__meta_kubernetes_pod_phase": "Failed"}} for one in groups]
    unwanted = [{**one, "labels": {k: v for k, v in one["labels"].items() if "scrape" not in k}} for one in groups]
    assert scraped(ended + unwanted, tmp_path) == []


def test_discovery_asks_for_the_pods_of_shops_and_operators_alone() -> None:
    selectors = [one["selectors"][0]["label"] for one in job(CHART, "shops")["kubernetes_sd_configs"]]
    chosen = [dict([selector.split("=")]) for selector in selectors]
    for shop in ("shop-everything", "shop-operator"):
        with_metrics = [pod for pod in pods(preset(shop)) if pod.owner["kind"] == "Deployment"]
        assert with_metrics
        assert all(any(matches({"matchLabels": one}, pod.labels) for one in chosen) for pod in with_metrics)


def rules_of(objects: tuple[Object, ...], kind_name: str) -> list[Object]:
    return [rule for found in kind(objects, kind_name) for rule in found["rules"]]


def test_prometheus_may_list_pods_and_read_the_metrics_of_nodes_and_nothing_else() -> None:
    pods_rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    nodes = [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
    ]
    assert rules_of(preset(CHART), "ClusterRole") == [pods_rule, *nodes]
    named_ones = template(CHART, "--set", "namespaces={team-a,team-b}")
    assert rules_of(named_ones, "ClusterRole") == nodes
    assert {one["metadata"]["namespace"]: one["rules"] for one in kind(named_ones, "Role")} == {
        "team-a": [pods_rule],
        "team-b": [pods_rule],
    }
    without = template(CHART, "--set", "namespaces={team-a},scrape.volumes=false")
    assert kind(without, "ClusterRole") == []
    assert "kubelet" not in named(without, "ConfigMap", f"{RELEASE}-prometheus")["data"]["prometheus.yaml"]


def test_discovery_stays_in_the_namespaces_that_there_are_rights_for() -> None:
    found = job(ALL_ON, "shops")["kubernetes_sd_configs"]
    assert [one["namespaces"] for one in found] == [{"names": ["team-a", "team-b"]}] * 2
    kept = job(ALL_ON, "kubelet")["metric_relabel_configs"][-1]
    assert kept == {"source_labels": ["namespace"], "regex": "team-a|team-b", "action": "keep"}


def test_a_shop_with_the_policy_of_the_notes_is_open_to_this_prometheus_alone() -> None:
    advised = re.search(r"^  global:\n(?:    .*\n)+", notes(), re.MULTILINE)
    assert advised
    given = yaml.safe_load(advised[0])["global"]["networkPolicies"]
    shop = template("shop", "--set-json", f"global.networkPolicies={json.dumps(given)}")
    (prometheus,) = [pod for pod in pods(preset(CHART)) if pod.title == f"StatefulSet/{RELEASE}-prometheus"]
    opened = 0
    for service in kind(shop, "Deployment"):
        policy = named(shop, "NetworkPolicy", service["metadata"]["name"])
        peers = [rule for rule in policy["spec"]["ingress"] if rule.get("from") == given["scrapeFrom"]]
        assert [rule["ports"] for rule in peers] == [[{"port": "http", "protocol": "TCP"}]]
        opened += 1
    (peer,) = given["scrapeFrom"]
    assert opened
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}
    assert matches(peer["podSelector"], prometheus.labels)


def shop_rules() -> list[Any]:
    groups = yaml.safe_load((FILES / "rules" / "shops.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_rules_of_all_shops_keep_them_apart() -> None:
    for rule in shop_rules():
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", rule["expr"]):
            kept = set(labels.split(", "))
            assert "namespace" in kept, rule["expr"]
            assert kept & {"app_kubernetes_io_instance", "persistentvolumeclaim", "name"}, rule["expr"]
        assert not re.search(r"\b(?:sum|min|max|count|avg|group) ?\(", rule["expr"]), rule["expr"]


THREE_SHOPS = """
rule_files: [shops.yaml]
evaluation_interval: 30s
tests:
  - interval: 30s
    input_series:
      - series: up{namespace="a", app_kubernetes_io_instance="shop", app_kubernetes_io_name="order", pod="order-1"}
        values: 1x4 0x40
      - series: up{namespace="b", app_kubernetes_io_instance="shop", app_kubernetes_io_name="order", pod="order-1"}
        values: 1x44
      - series: up{namespace="b", app_kubernetes_io_instance="other", app_kubernetes_io_name="order", pod="order-1"}
        values: 1x44
    alert_rule_test:
      - eval_time: 10m
        alertname: ShopServiceDown
        exp_alerts:
          - exp_labels:
              {severity: critical, namespace: a, app_kubernetes_io_instance: shop, app_kubernetes_io_name: order}
            exp_annotations: {summary: SUMMARY}
"""


def test_of_three_shops_the_one_that_fails_alerts(tmp_path: Path) -> None:
    (rule,) = [one for one in shop_rules() if one.get("alert") == "ShopServiceDown"]
    alone = {"groups": [{"name": "one", "rules": [{**rule, "annotations": {"summary": "SUMMARY"}}]}]}
    (tmp_path / "shops.yaml").write_text(yaml.safe_dump(alone), encoding="utf-8")
    (tmp_path / "case.yaml").write_text(THREE_SHOPS, encoding="utf-8")
    prometheus_tools.promtool("test", "rules", str(tmp_path / "case.yaml"))
