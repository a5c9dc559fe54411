"""Optional values: one of each, and where in the rendered objects it must appear."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

POD = "Deployment/spec/template/spec"
CONTAINER = f"{POD}/containers/0"
POD_METADATA = "Deployment/spec/template/metadata"
DIGEST = f"sha256:{'5' * 64}"
IMAGE = {f"{CONTAINER}/image": f"r.example/orders@{DIGEST}"}
TOLERATION = {"key": "shops", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
PREFERENCE = {
    "weight": 10,
    "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
}
PEER = {"namespaceSelector": {"matchLabels": {"team": "finance"}}}
NODE = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
METHOD = {"service": "shop.order.v1.Orders"}
DATABASE = {"secretName": "database", "key": "url"}


@dataclass(frozen=True)
class Option:
    """A value by its `path`; `found` maps places, kind first, to what must be there if not the value itself."""

    path: str
    value: Any
    at: str = ""
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def places(self) -> dict[str, Any]:
        return {self.at: self.value} if self.at else self.found


def set_json(options: Iterable[Option]) -> tuple[str, ...]:
    """The `options` as arguments of helm."""
    pairs = (f"{option.path}={json.dumps(option.value)}" for option in options)
    return tuple(part for pair in pairs for part in ("--set-json", pair))


SERVICE = (
    Option("global.serviceMonitors", "Always"),
    Option("global.monitorLabels", {"release": "prometheus"}, "ServiceMonitor/metadata/labels"),
    Option("image.repository", "r.example/orders", found=IMAGE),
    Option("image.tag", "the-digest-counts", found=IMAGE),
    Option("image.digest", DIGEST, found=IMAGE),
    Option("replicas", 3, "Deployment/spec/replicas"),
    Option("logLevel", "DEBUG", found={f"{CONTAINER}/env": [{"name": "SHOP_LOG_LEVEL", "value": "DEBUG"}]}),
    Option(
        "config",
        {"SHOP_SAGA_DEADLINE_S": "300"},
        found={f"{CONTAINER}/env": [{"name": "SHOP_SAGA_DEADLINE_S", "value": "300"}]},
    ),
    Option("configMaps", ["streams"], found={f"{CONTAINER}/envFrom": [{"configMapRef": {"name": "streams"}}]}),
    Option(
        "secretEnv",
        {"SHOP_DATABASE_URL": DATABASE},
        found={
            f"{CONTAINER}/env": [
                {"name": "SHOP_DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "database", "key": "url"}}}
            ]
        },
    ),
    Option(
        "secretFiles",
        {"SHOP_NATS_URL": {"secretName": "nats", "key": "url"}},
        found={
            f"{POD}/volumes/1/projected/sources": [
                {"secret": {"name": "nats", "items": [{"key": "url", "path": "SHOP_NATS_URL"}]}}
            ],
            f"{CONTAINER}/volumeMounts": [{"name": "secrets", "mountPath": "/run/secrets/shop", "readOnly": True}],
        },
    ),
    Option("env", [NODE], f"{CONTAINER}/env"),
    Option(
        "extraPorts",
        [{"name": "grpc", "port": 50051}],
        found={
            f"{CONTAINER}/ports": [{"name": "grpc", "containerPort": 50051, "protocol": "TCP"}],
            "Service/spec/ports": [{"name": "grpc", "port": 50051, "targetPort": "grpc", "protocol": "TCP"}],
            "Headless/spec/ports": [{"name": "grpc", "port": 50051, "targetPort": "grpc", "protocol": "TCP"}],
            "NetworkPolicy/spec/ingress/0/ports": [{"port": "grpc", "protocol": "TCP"}],
        },
    ),
    Option("service.type", "NodePort", "Service/spec/type"),
    Option("service.nodePort", 30081, "Service/spec/ports/0/nodePort"),
    Option("service.annotations", {"example.com/balancer": "internal"}, "Service/metadata/annotations"),
    Option(
        "resources",
        {"requests": {"cpu": "300m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        f"{CONTAINER}/resources",
    ),
    Option("probes.startup.periodSeconds", 2, f"{CONTAINER}/startupProbe/periodSeconds"),
    Option("probes.startup.failureThreshold", 91, f"{CONTAINER}/startupProbe/failureThreshold"),
    Option("probes.liveness.periodSeconds", 11, f"{CONTAINER}/livenessProbe/periodSeconds"),
    Option("probes.liveness.failureThreshold", 4, f"{CONTAINER}/livenessProbe/failureThreshold"),
    Option("probes.readiness.periodSeconds", 6, f"{CONTAINER}/readinessProbe/periodSeconds"),
    Option("probes.readiness.failureThreshold", 5, f"{CONTAINER}/readinessProbe/failureThreshold"),
    Option(
        "probes.timeoutSeconds",
        7,
        found={f"{CONTAINER}/{probe}Probe/timeoutSeconds": 7 for probe in ("startup", "liveness", "readiness")},
    ),
    Option("shutdown.preStopSeconds", 8, f"{CONTAINER}/lifecycle/preStop/sleep/seconds"),
    Option("shutdown.drainSeconds", 30, found={f"{CONTAINER}/env": [{"name": "SHOP_DRAIN_SECONDS", "value": "30"}]}),
    Option("maxSurge", 2, "Deployment/spec/strategy/rollingUpdate/maxSurge"),
    Option("revisionHistoryLimit", 9, "Deployment/spec/revisionHistoryLimit"),
    Option("podDisruptionBudget.maxUnavailable", None),
    Option("podDisruptionBudget.minAvailable", "50%", "PodDisruptionBudget/spec/minAvailable"),
    Option(
        "networkPolicy.callers",
        ["gateway"],
        "NetworkPolicy/spec/ingress/0/from/0/podSelector/matchExpressions/0/values",
    ),
    Option("networkPolicy.from", [PEER], "NetworkPolicy/spec/ingress/0/from"),
    Option("serviceMonitor.interval", "45s", "ServiceMonitor/spec/endpoints/0/interval"),
    Option("serviceMonitor.labels", {"release": "prometheus"}, "ServiceMonitor/metadata/labels"),
    Option("ingress.enabled", True),
    Option("ingress.className", "nginx", "Ingress/spec/ingressClassName"),
    Option("ingress.host", "shop.example.com", "Ingress/spec/rules/0/host"),
    Option("ingress.path", "/shop", "Ingress/spec/rules/0/http/paths/0/path"),
    Option("ingress.tlsSecretName", "shop-tls", "Ingress/spec/tls/0/secretName"),
    Option("ingress.annotations", {"example.com/issuer": "ours"}, "Ingress/metadata/annotations"),
    Option("httpRoute.enabled", True),
    Option("httpRoute.hostnames", ["shop.example.com", "*.example.org"], "HTTPRoute/spec/hostnames"),
    Option(
        "httpRoute.gatewayRef",
        {"name": "public", "namespace": "gateways", "sectionName": "https"},
        "HTTPRoute/spec/parentRefs/0",
    ),
    Option("httpRoute.annotations", {"example.com/team": "web"}, "HTTPRoute/metadata/annotations"),
    Option("grpc.services", ["shop.order.v1.Orders"], found={"GRPCRoute/spec/rules/0/matches": [{"method": METHOD}]}),
    Option("grpc.exposure", "GRPCRoute"),
    Option("grpc.host", "grpc.example.com", found={"GRPCRoute/spec/hostnames": ["grpc.example.com"]}),
    Option("grpc.gatewayRef", {"name": "public", "namespace": "gateways"}, "GRPCRoute/spec/parentRefs/0"),
    Option("grpc.annotations", {"example.com/team": "data"}, "GRPCRoute/metadata/annotations"),
    Option("serviceAccount.annotations", {"example.com/role": "orders"}, "ServiceAccount/metadata/annotations"),
    Option("runAsUser", 20001, f"{POD}/securityContext/runAsUser"),
    Option("podAnnotations", {"example.com/logs": "json"}, f"{POD_METADATA}/annotations"),
    Option("podLabels", {"team": "orders"}, f"{POD_METADATA}/labels"),
    Option("priorityClassName", "selling", f"{POD}/priorityClassName"),
    Option("nodeSelector", {"disk": "ssd"}, f"{POD}/nodeSelector"),
    Option("tolerations", [TOLERATION], f"{POD}/tolerations"),
    Option(
        "affinity",
        {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [PREFERENCE]}},
        f"{POD}/affinity",
    ),
    Option(
        "topologySpread.whenUnsatisfiable",
        "DoNotSchedule",
        found={f"{POD}/topologySpreadConstraints/{number}/whenUnsatisfiable": "DoNotSchedule" for number in (0, 1)},
    ),
    Option("volumes", [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}], f"{POD}/volumes"),
    Option("volumeMounts", [{"name": "scratch", "mountPath": "/scratch"}], f"{CONTAINER}/volumeMounts"),
)

OPERATOR = (
    Option("image.pullPolicy", "Always", f"{CONTAINER}/imagePullPolicy"),
    Option("image.pullSecrets", ["pull"], found={f"{POD}/imagePullSecrets": [{"name": "pull"}]}),
    Option("logLevel", "DEBUG", found={f"{CONTAINER}/env": [{"name": "SHOP_OPERATOR_LOG_LEVEL", "value": "DEBUG"}]}),
    Option("ipFamilyPolicy", "PreferDualStack", "Service/spec/ipFamilyPolicy"),
    Option("ipFamilies", ["IPv6", "IPv4"], "Service/spec/ipFamilies"),
    Option("workers", 12, found={f"{CONTAINER}/env": [{"name": "SHOP_OPERATOR_WORKERS", "value": "12"}]}),
    Option("runAsUser", 20001, f"{POD}/securityContext/runAsUser"),
    Option("priorityClassName", "selling", f"{POD}/priorityClassName"),
    Option("nodeSelector", {"disk": "ssd"}, f"{POD}/nodeSelector"),
    Option("tolerations", [TOLERATION], f"{POD}/tolerations"),
    Option("serviceAccount.annotations", {"example.com/role": "shops"}, "ServiceAccount/metadata/annotations"),
    Option("networkPolicy.scrapeFrom", [PEER], "NetworkPolicy/spec/ingress/0/from"),
    Option("serviceMonitor.labels", {"release": "prometheus"}, "ServiceMonitor/metadata/labels"),
    Option("prometheusRule.labels", {"release": "prometheus"}, "PrometheusRule/metadata/labels"),
    Option("dashboards.annotations", {"grafana_folder": "Shops"}),
)

# Tested in test_observability_parts.py and test_observability_prometheus.py: the chart has several pods.
STACK = (
    Option("image.pullPolicy", "Always"),
    Option("image.pullSecrets", ["pull"]),
    Option("namespaces", ["team-a", "team-b"]),
    Option("scrape.intervalSeconds", 30),
    Option("runbooks", "https://git.example.com/shop/runbooks/"),
    Option("prometheus.retention", {"time": "90d", "size": "50GB"}),
    Option("prometheus.storage", "60Gi"),
    Option("prometheus.storageClassName", "fast"),
    Option("alertmanager.storage", ""),
    Option("grafana.tempoUrl", "http://tempo.tracing:3200"),
    Option("grafana.publicUrl", "https://grafana.example.com"),
    Option("collector.backend", "tempo.tracing:4317"),
    Option("collector.replicas", 3),
    Option("adapter.enabled", True),
    Option("networkPolicy.from", [PEER]),
    Option("runAsUser", 20001),
    Option("priorityClassName", "watching"),
    Option("nodeSelector", {"disk": "ssd"}),
    Option("tolerations", [TOLERATION]),
)
