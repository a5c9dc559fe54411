"""charts/observability: Alertmanager, Grafana, collector and adapter are wired to each other and to what they serve."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from observability import dashboards, signals
from tests.charts import helm
from tests.charts.rendering import NAMESPACE, RELEASE, Object, kind, matches, named, pods, preset, template
from tests.charts.stack import ALL_ON, CHART, config, container, environment, notes

COLLECTOR = helm.ROOT / "observability" / "collector"
MAX_CONFIG_MAP_BYTES = 1 << 20
TIMEOUT_S = 30


def allowed(objects: tuple[Object, ...], part: str) -> list[set[str]]:
    """By rule of a component's policy: components of the release that may connect; {"*"} is everyone."""
    found = []
    for rule in named(objects, "NetworkPolicy", f"{RELEASE}-{part}")["spec"].get("ingress", ()):
        inside = [one["podSelector"] for one in rule.get("from", ()) if "podSelector" in one]
        found.append(
            {name for one in inside for name in one["matchExpressions"][0]["values"]} if "from" in rule else {"*"}
        )
    return found


def test_only_parts_that_talk_to_each_other_may_connect() -> None:
    objects = preset(ALL_ON)
    assert allowed(objects, "prometheus") == [{"grafana", "adapter"}]
    assert allowed(objects, "alertmanager") == [{"prometheus", "grafana"}]
    assert allowed(objects, "grafana") == [set()]
    assert allowed(objects, "collector") == [{"*"}]
    assert allowed(objects, "tail-sampling") == [{"collector"}]
    assert allowed(objects, "adapter") == [{"*"}]
    assert named(preset(CHART), "NetworkPolicy", f"{RELEASE}-grafana")["spec"].get("ingress") is None


def test_alerts_go_to_the_alertmanager_of_the_release_and_nobody_is_notified_by_default() -> None:
    (target,) = config(CHART, "prometheus", "prometheus.yaml")["alerting"]["alertmanagers"]
    address = target["static_configs"][0]["targets"][0]
    service = named(preset(CHART), "Service", address.partition(":")[0])
    assert service["spec"]["ports"][0]["port"] == int(address.partition(":")[2])
    given = yaml.safe_load(named(preset(CHART), "Secret", f"{RELEASE}-alertmanager")["stringData"]["alertmanager.yaml"])
    assert given["receivers"] == [{"name": given["route"]["receiver"]}]
    without = template(CHART, "--set", "alertmanager.enabled=false")
    assert "alerting" not in yaml.safe_load(
        named(without, "ConfigMap", f"{RELEASE}-prometheus")["data"]["prometheus.yaml"]
    )


def test_alertmanager_takes_its_configuration(tmp_path: Path) -> None:
    text = named(preset(CHART), "Secret", f"{RELEASE}-alertmanager")["stringData"]["alertmanager.yaml"]
    (tmp_path / "alertmanager.yaml").write_text(text, encoding="utf-8")
    amtool = shutil.which("amtool", path=os.pathsep.join([os.environ.get("PATH", ""), str(helm.CACHE)]))
    if amtool is None:
        pytest.skip(f"amtool is neither on the PATH nor in {helm.CACHE}")
    command = [amtool, "check-config", str(tmp_path / "alertmanager.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_configuration_of_the_users_own_secret_is_used() -> None:
    objects = template(CHART, "--set", "alertmanager.configSecret=mine")
    assert [one["metadata"]["name"] for one in kind(objects, "Secret")] == [f"{RELEASE}-grafana"]
    volumes = named(objects, "StatefulSet", f"{RELEASE}-alertmanager")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "config", "secret": {"secretName": "mine"}} in volumes


def test_data_sources_of_grafana_are_services_of_the_release_and_one_is_the_default() -> None:
    found = config(ALL_ON, "grafana", "datasources.yaml")["datasources"]
    assert {one["type"]: one["url"] for one in found} == {
        "prometheus": f"http://{RELEASE}-prometheus:9090",
        "alertmanager": f"http://{RELEASE}-alertmanager:9093",
        "tempo": "http://tempo.tracing:3200",
    }
    services = {one["metadata"]["name"] for one in kind(preset(ALL_ON), "Service")}
    assert {f"{RELEASE}-prometheus", f"{RELEASE}-alertmanager"} <= services
    # The dashboards' variables take the first source of their type.
    assert [one["type"] for one in found if one.get("isDefault")] == ["prometheus"]
    assert found[0]["jsonData"]["exemplarTraceIdDestinations"] == [{"name": "trace_id", "datasourceUid": "tempo"}]
    assert (
        "exemplarTraceIdDestinations" not in config(CHART, "grafana", "datasources.yaml")["datasources"][0]["jsonData"]
    )


def test_every_dashboard_is_mounted_where_grafana_looks_for_them() -> None:
    (provider,) = config(CHART, "grafana", "dashboards.yaml")["providers"]
    mounts = {one["mountPath"]: one["name"] for one in container(CHART, "StatefulSet", "grafana")["volumeMounts"]}
    volumes = named(preset(CHART), "StatefulSet", f"{RELEASE}-grafana")["spec"]["template"]["spec"]["volumes"]
    (volume,) = [one for one in volumes if one["name"] == mounts[provider["options"]["path"]]]
    sources = [one["configMap"]["name"] for one in volume["projected"]["sources"]]
    boards: dict[str, Any] = {}
    for source in sources:
        found = named(preset(CHART), "ConfigMap", source)
        assert len(json.dumps(found)) < MAX_CONFIG_MAP_BYTES
        boards |= {name.removesuffix(".json"): json.loads(text) for name, text in found["data"].items()}
    assert set(boards) == set(dashboards.models())
    assert len({board["uid"] for board in boards.values()}) == len(boards)
    assert {one["name"] for one in boards["service"]["templating"]["list"]} >= {
        "datasource",
        "namespace",
        "shop",
        "service",
    }


def references(text: str) -> set[str]:
    """Variables of the environment that a collector's configuration reads, those with a default included."""
    return set(re.findall(r"\$\{env:(\w+)", text))


def test_there_is_no_collector_without_a_store_of_traces() -> None:
    assert [one for one in kind(preset(CHART), "Deployment") if "collector" in one["metadata"]["name"]] == []


@pytest.mark.parametrize(
    ("given", "part", "file"),
    [
        ("collector.replicas=1", "collector", "tail-sampling.yaml"),
        ("collector.replicas=3", "collector", "load-balancing.yaml"),
        ("collector.replicas=3", "tail-sampling", "tail-sampling.yaml"),
    ],
)
def test_a_collector_has_its_configuration_and_all_that_it_reads(given: str, part: str, file: str) -> None:
    objects = template(CHART, "--set", f"collector.backend=tempo.tracing:4317,{given}")
    text = named(objects, "ConfigMap", f"{RELEASE}-{part}")["data"]["config.yaml"]
    assert text == (COLLECTOR / file).read_text(encoding="utf-8")
    (found,) = named(objects, "Deployment", f"{RELEASE}-{part}")["spec"]["template"]["spec"]["containers"]
    assert set(environment(found)) == references(text)
    assert environment(found).get("TRACES_BACKEND", "tempo.tracing:4317") == "tempo.tracing:4317"
    written = yaml.safe_load(text)
    listening = [one["endpoint"] for one in written["receivers"]["otlp"]["protocols"].values()]
    listening.append(written["extensions"]["health_check"]["endpoint"])
    assert {int(one.rpartition(":")[2]) for one in listening} == {port["containerPort"] for port in found["ports"]}


def test_spans_come_to_every_collector_that_decides() -> None:
    objects = preset(ALL_ON)
    host = environment(container(ALL_ON, "Deployment", "collector"))["TAIL_SAMPLING_HOST"]
    service = named(objects, "Service", host)
    assert service["spec"]["clusterIP"] == "None"
    deciding = named(objects, "Deployment", f"{RELEASE}-tail-sampling")["spec"]
    assert matches({"matchLabels": service["spec"]["selector"]}, deciding["template"]["metadata"]["labels"])
    assert deciding["replicas"] == 3
    resolver = yaml.safe_load((COLLECTOR / "load-balancing.yaml").read_text("utf-8"))["exporters"]["loadbalancing"][
        "resolver"
    ]
    assert resolver["dns"]["port"] == str(service["spec"]["ports"][0]["port"])


def test_the_adapter_serves_what_autoscalers_ask_for() -> None:
    (service,) = kind(preset("shop-everything"), "HorizontalPodAutoscaler")
    (asked,) = [one["pods"]["metric"]["name"] for one in service["spec"]["metrics"] if one["type"] == "Pods"]
    (rule,) = config(ALL_ON, "adapter", "config.yaml")["rules"]
    assert rule["name"]["as"] == asked
    metric = rule["seriesQuery"].partition("{")[0]
    assert signals.load().metric_of_sample(metric)
    (api,) = kind(preset(ALL_ON), "APIService")
    assert (api["spec"]["group"], api["metadata"]["name"]) == ("custom.metrics.k8s.io", "v1beta1.custom.metrics.k8s.io")
    (port,) = named(preset(ALL_ON), "Service", api["spec"]["service"]["name"])["spec"]["ports"]
    assert port["port"] == api["spec"]["service"]["port"]
    assert kind(preset(CHART), "APIService") == []


def test_options_of_all_pods_reach_all_of_them() -> None:
    for pod in pods(preset(ALL_ON)):
        assert pod.spec["imagePullSecrets"] == [{"name": "pull"}]
        assert {one["imagePullPolicy"] for one in pod.containers} == {"Always"}
        assert pod.spec["securityContext"]["runAsUser"] == 20001
        assert (pod.spec["priorityClassName"], pod.spec["nodeSelector"]) == ("watching", {"disk": "ssd"})
        assert len(pod.spec["tolerations"]) == 1


def test_runbooks_are_at_the_address_that_is_given() -> None:
    rules = named(preset(ALL_ON), "ConfigMap", f"{RELEASE}-prometheus-rules")["data"]
    addresses = set(re.findall(r"runbook_url: (\S+)/\w+\.md", "".join(rules.values())))
    assert addresses == {"https://git.example.com/shop/runbooks"}


def test_notes_say_what_is_missing() -> None:
    assert "Alerts notify nobody yet" in notes()
    assert "There is no collector of traces" in notes()
    complete = notes("--set", "collector.backend=tempo:4317,alertmanager.configSecret=mine,grafana.adminSecret=admin")
    assert "nobody" not in complete
    assert f"http://{RELEASE}-collector.{NAMESPACE}:4318" in complete
