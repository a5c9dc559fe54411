"""Third-party kinds: the fields of ServiceMonitor, PrometheusRule, routes and Cluster that the charts use.

Kubernetes publishes no schema of these, and their definitions are far larger than our use of them. Names, types and
what is required follow the definitions of prometheus-operator 0.93.0, gateway-api (standard channel, commit 4564255)
and CloudNativePG 1.30.0. Who is the first to use a further field looks it up there and adds it here.
"""

from __future__ import annotations

from tests.charts.shapes import FLAG, NUMBER, TEXT, TEXTS, Shape, listed, one_of, record, written_as

UNITS = ("y", "w", "d", "h", "m", "s", "ms")
DURATION = written_as(rf"^(0|{''.join(f'(([0-9]+){unit})?' for unit in UNITS)})$")
HOST = written_as(r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
PORT: Shape = {"type": "integer", "minimum": 1, "maximum": 65535}
OWNER = record(
    {"apiVersion": TEXT, "kind": TEXT, "name": TEXT, "uid": TEXT, "controller": FLAG}, "apiVersion kind name uid"
)
METADATA = record(
    {"name": TEXT, "namespace": TEXT, "labels": TEXTS, "annotations": TEXTS, "ownerReferences": listed(OWNER)}, "name"
)

ENDPOINT = record({"port": TEXT, "path": TEXT, "interval": DURATION})
SERVICE_MONITOR = record(
    {"selector": record({"matchLabels": TEXTS}), "targetLabels": listed(TEXT), "endpoints": listed(ENDPOINT)},
    "selector endpoints",
)

RULE = record(
    {
        "alert": TEXT,
        "record": TEXT,
        "expr": TEXT,
        "for": DURATION,
        "keep_firing_for": DURATION,
        "labels": TEXTS,
        "annotations": TEXTS,
    },
    "expr",
)
RULE_GROUP = record({"name": TEXT, "interval": DURATION, "rules": listed(RULE)}, "name")
PROMETHEUS_RULE = record({"groups": listed(RULE_GROUP)})

MATCH = record({"path": record({"type": one_of("Exact PathPrefix RegularExpression"), "value": TEXT})})
BACKEND = record({"name": TEXT, "port": PORT}, "name port")
ROUTE_DURATION = written_as(r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")
TIMEOUTS = record({"request": ROUTE_DURATION, "backendRequest": ROUTE_DURATION})
PARENT = record({"name": TEXT, "namespace": TEXT, "sectionName": TEXT, "port": PORT}, "name")
HTTP_ROUTE = record(
    {
        "parentRefs": listed(PARENT),
        "hostnames": listed(HOST),
        "rules": listed(record({"matches": listed(MATCH), "backendRefs": listed(BACKEND), "timeouts": TIMEOUTS})),
    }
)
METHOD_MATCH = record({"method": record({"type": one_of("Exact RegularExpression"), "service": TEXT, "method": TEXT})})
GRPC_ROUTE = record(
    {
        "parentRefs": listed(PARENT),
        "hostnames": listed(HOST),
        "rules": listed(record({"matches": listed(METHOD_MATCH), "backendRefs": listed(BACKEND)})),
    }
)

CLUSTER = record(
    {
        "instances": {"type": "integer", "minimum": 1},
        "imageName": TEXT,
        "enableSuperuserAccess": FLAG,
        "superuserSecret": record({"name": TEXT}, "name"),
        "storage": record({"size": TEXT, "storageClass": TEXT}),
        "resources": record(
            {name: {"additionalProperties": {"anyOf": [NUMBER, TEXT]}} for name in ("limits", "requests")}
        ),
        "postgresql": record({"parameters": TEXTS}),
        "inheritedMetadata": record({"labels": TEXTS, "annotations": TEXTS}),
    },
    "instances",
)

SPECS = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): SERVICE_MONITOR,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PROMETHEUS_RULE,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): HTTP_ROUTE,
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): GRPC_ROUTE,
    ("postgresql.cnpg.io/v1", "Cluster"): CLUSTER,
}
KINDS = frozenset(kind for _, kind in SPECS)


def shape(api_version: str, kind: str) -> Shape:
    """The whole object of that kind; KeyError for another version than those above."""
    spec = SPECS[api_version, kind]
    return record({"apiVersion": TEXT, "kind": TEXT, "metadata": METADATA, "spec": spec}, "metadata spec")
