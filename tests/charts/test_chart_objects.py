"""Kubernetes' schemas and best practices, for every rendered object of every preset."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
from kubernetes_validate.utils import schema_contents

from tests.charts import foreign
from tests.charts.rendering import PRESETS, Object, PodSpec, kind, matches, named, pods, preset, title, variables

KUBERNETES = "1.37.0"
SCHEMAS = f"kubernetes-json-schema/v{KUBERNETES}-local-strict"
FOREIGN = foreign.KINDS
every_preset = pytest.mark.parametrize("name", PRESETS)


@cache
def _definitions() -> Object:
    found: Object = schema_contents(f"{SCHEMAS}/_definitions.json", KUBERNETES)["$defs"]
    return found


@cache
def validator(kind_name: str, api_version: str) -> Any:
    """A strict validator of one kind of object: unknown fields are errors."""
    if kind_name in FOREIGN:
        return jsonschema_rs.Draft202012Validator(foreign.shape(api_version, kind_name))
    group, _, version = api_version.rpartition("/")
    name = "-".join(filter(None, (kind_name.lower(), group.partition(".")[0], version)))
    schema = schema_contents(f"{SCHEMAS}/{name}.json", KUBERNETES)
    local = json.loads(json.dumps(schema).replace("/api/_definitions.json#", "#"))
    return jsonschema_rs.Draft202012Validator({**local, "$defs": _definitions()})


@every_preset
def test_objects_are_valid_for_kubernetes(name: str) -> None:
    wrong = []
    for found in preset(name):
        errors = validator(found["kind"], found["apiVersion"]).iter_errors(found)
        wrong += [f"{title(found)}: {error.instance_path}: {error.message}" for error in errors]
    assert wrong == []


# An object of each third-party kind, and a misspelling of one of its fields, in the spec or nested.
TYPOS = [
    ("service", "Service/service", "selector", "selectr"),
    ("shop-operator-two", "ServiceMonitor/shop", "interval", "intervall"),
    ("shop-operator-two", "PrometheusRule/shop", "expr", "expression"),
    ("shop-everything", "HTTPRoute/books-gateway", "parentRefs", "parentRef"),
    ("shop-everything", "HTTPRoute/books-gateway", "backendRefs", "backends"),
    ("service-options", "GRPCRoute/service-grpc", "backendRefs", "backends"),
    ("shop-cloudnativepg", "Cluster/postgres", "superuserSecret", "superUserSecret"),
    ("shop-cloudnativepg", "Cluster/postgres", "storageClass", "storageClassName"),
]


@pytest.mark.parametrize(("name", "object_title", "field", "typo"), TYPOS, ids=[typo for *_, typo in TYPOS])
def test_the_validator_finds_a_typo(name: str, object_title: str, field: str, typo: str) -> None:
    found = named(preset(name), *object_title.split("/"))
    broken = json.loads(json.dumps(found).replace(f'"{field}":', f'"{typo}":'))
    check = validator(found["kind"], found["apiVersion"])
    assert broken != found
    assert (check.is_valid(found), check.is_valid(broken)) == (True, False)


def test_every_third_party_kind_is_tested_with_a_typo() -> None:
    assert {title.partition("/")[0] for _, title, _, _ in TYPOS} == FOREIGN | {"Service"}


@every_preset
def test_no_object_comes_twice(name: str) -> None:
    titles = [(title(found), found["metadata"].get("namespace")) for found in preset(name)]
    assert len(titles) == len(set(titles))


def restricted(pod: PodSpec) -> list[str]:
    """Violations of the Pod Security Standard "restricted", and a writable root file system."""
    complaints = []
    security = pod.spec.get("securityContext", {})
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        complaints.append("no seccomp profile")
    if security.get("runAsNonRoot") is not True or security.get("runAsUser", 0) < 1:
        complaints.append("may run as root")
    if any(pod.spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        complaints.append("uses the host's namespaces")
    allowed = {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}
    complaints += [f"volume {v['name']}" for v in pod.spec.get("volumes", []) if not set(v) - {"name"} <= allowed]
    for container in pod.containers:
        wanted = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        if container.get("securityContext") != wanted:
            complaints.append(f"{container['name']}: {container.get('securityContext')}")
    return complaints


@every_preset
def test_pods_are_restricted(name: str) -> None:
    assert {pod.title: found for pod in pods(preset(name)) if (found := restricted(pod))} == {}


# Prometheus lists pods, prometheus-adapter answers the API server.
WITH_TOKEN = {
    "observability": {"StatefulSet/shop-prometheus"},
    "observability-everything": {"StatefulSet/shop-prometheus", "Deployment/shop-adapter"},
}


@every_preset
def test_only_who_asks_the_api_server_has_a_token(name: str) -> None:
    with_token = {pod.title for pod in pods(preset(name)) if pod.spec.get("automountServiceAccountToken") is not False}
    assert with_token == WITH_TOKEN.get(name, {"Deployment/shop"} if name.startswith("shop-operator") else set())


@every_preset
def test_containers_have_requests_and_a_memory_limit(name: str) -> None:
    for pod in pods(preset(name)):
        for container in pod.containers:
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), pod.title
            # A CPU limit would only throttle where the node has CPU left.
            assert set(resources["limits"]) == {"memory"}, pod.title


@every_preset
def test_images_are_pinned_and_qualified(name: str) -> None:
    for pod in pods(preset(name)):
        for container in pod.containers:
            repository, _, tag = container["image"].rpartition(":")
            assert "/" in repository, container["image"]
            assert tag not in ("", "latest"), container["image"]


@every_preset
def test_long_running_containers_have_three_probes(name: str) -> None:
    for pod in pods(preset(name)):
        if pod.owner["kind"] in ("Deployment", "StatefulSet"):
            for container in pod.spec["containers"]:
                assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container), pod.title


@every_preset
def test_probes_name_ports_that_exist(name: str) -> None:
    for pod in pods(preset(name)):
        for container in pod.spec["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            probes = [container[probe] for probe in container if probe.endswith("Probe")]
            used = {probe[how]["port"] for probe in probes for how in ("httpGet", "tcpSocket") if how in probe}
            assert used <= ports, pod.title


@every_preset
def test_a_terminating_pod_has_time_to_finish(name: str) -> None:
    for pod in pods(preset(name)):
        if pod.owner["kind"] == "Deployment" and not name.startswith(("shop-operator", "observability")):
            pause = pod.spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            drain = float(variables(preset(name), pod.owner["metadata"]["name"])["SHOP_DRAIN_SECONDS"])
            assert pod.spec["terminationGracePeriodSeconds"] > pause + drain


@every_preset
def test_names_refer_to_what_is_there(name: str) -> None:
    objects = preset(name)
    scaled = {title(found): found["spec"] for found in kind(objects, "Deployment")}
    for autoscaler in kind(objects, "HorizontalPodAutoscaler"):
        target = autoscaler["spec"]["scaleTargetRef"]
        # An upgrade must not reset the autoscaler's number.
        assert "replicas" not in scaled[f"{target['kind']}/{target['name']}"]
        assert autoscaler["spec"]["minReplicas"] <= autoscaler["spec"]["maxReplicas"]
    without = [spec for spec in scaled.values() if "replicas" not in spec]
    assert len(without) == len(kind(objects, "HorizontalPodAutoscaler"))
    services = {found["metadata"]["name"] for found in kind(objects, "Service")}
    assert {found["spec"]["serviceName"] for found in kind(objects, "StatefulSet")} <= services
    accounts = {found["metadata"]["name"] for found in kind(objects, "ServiceAccount")}
    assert {pod.spec.get("serviceAccountName", "default") for pod in pods(objects)} <= accounts | {"default"}


@every_preset
def test_selectors_select_exactly_their_own_pods(name: str) -> None:
    objects = preset(name)
    for workload in (*kind(objects, "Deployment"), *kind(objects, "StatefulSet")):
        selector = workload["spec"]["selector"]
        chosen = [pod.title for pod in pods(objects) if matches(selector, pod.labels)]
        assert chosen == [title(workload)]
    for service in kind(objects, "Service"):
        chosen = [
            pod.title for pod in pods(objects) if matches({"matchLabels": service["spec"]["selector"]}, pod.labels)
        ]
        own = service["metadata"]["name"]
        if service["spec"].get("clusterIP") == "None":
            own = own.removesuffix("-grpc").removesuffix("-pods").removesuffix("-all")
        assert [found.partition("/")[2] for found in chosen] == [own]


@every_preset
def test_disruption_budgets_select_pods_and_have_one_limit(name: str) -> None:
    objects = preset(name)
    for budget in kind(objects, "PodDisruptionBudget"):
        assert len({"minAvailable", "maxUnavailable"} & set(budget["spec"])) == 1
        assert any(matches(budget["spec"]["selector"], pod.labels) for pod in pods(objects)), title(budget)


@every_preset
def test_every_port_of_a_service_is_a_port_of_its_container(name: str) -> None:
    objects = preset(name)
    for service in kind(objects, "Service"):
        (pod,) = [pod for pod in pods(objects) if matches({"matchLabels": service["spec"]["selector"]}, pod.labels)]
        ports = {port["name"] for container in pod.spec["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@every_preset
def test_routes_lead_to_services(name: str) -> None:
    objects = preset(name)
    ports = {
        s["metadata"]["name"]: {p["name"]: p["port"] for p in s["spec"]["ports"]} for s in kind(objects, "Service")
    }
    for ingress in kind(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                assert backend["port"]["name"] in ports[backend["name"]]
    for route in kind(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            assert all(backend["port"] in ports[backend["name"]].values() for backend in rule["backendRefs"])


@every_preset
def test_every_mounted_volume_and_file_exists(name: str) -> None:
    objects = preset(name)
    made = {found["metadata"]["name"]: set(found["data"]) for found in kind(objects, "ConfigMap")}
    for pod in pods(objects):
        claims = [claim["metadata"]["name"] for claim in pod.owner["spec"].get("volumeClaimTemplates", [])]
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        for container in pod.containers:
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in {*volumes, *claims}, pod.title
                if "configMap" in (volume := volumes.get(mount["name"], {})):
                    keys = made[volume["configMap"]["name"]]
                    assert mount.get("subPath", next(iter(keys))) in keys
