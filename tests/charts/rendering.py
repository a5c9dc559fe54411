"""Charts rendered with given values, each combination once, and queries on the result."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from shop.operator.services import OPTIONAL, WITH_DATABASE
from tests.charts import helm
from tests.charts.options import OPERATOR, SERVICE, STACK, set_json

Object = dict[str, Any]
CHARTS = helm.ROOT / "charts"
RELEASE = "shop"
NAMESPACE = "market"
MIGRATED_BY_JOBS = tuple(f"services.{noun}.migrations.mode=Job" for noun in WITH_DATABASE)
MONITORING = ("--api-versions", "monitoring.coreos.com/v1/ServiceMonitor")
ALL_ON = (
    "services.gateway.ingress.enabled=true",
    "services.gateway.ingress.host=shop.example.com",
    "services.gateway.httpRoute.enabled=true",
    "services.gateway.httpRoute.gatewayRef.name=public",
    "services.product.autoscaling.enabled=true",
    "services.product.autoscaling.targetRequestsPerSecond=200",
    "global.namePrefix=books",
    "global.ipFamilyPolicy=RequireDualStack",
    "global.ipFamilies={IPv6,IPv4}",
    "global.serviceMonitors=Always",
    "global.tracing.endpoint=http://otel-collector:4318",
    "global.image.pullSecrets={registry}",
    "global.networkPolicies.scrapeFrom[0].namespaceSelector.matchLabels.name=monitoring",
    "services.product.secretFiles.SHOP_NATS_URL.secretName=nats",
    "services.product.secretFiles.SHOP_NATS_URL.key=url",
    "rules.enabled=true",
    "dashboards.enabled=true",
    "services.order.migrations.mode=Job",
    "services.payment.migrations.mode=Job",
)


def _set(*values: str) -> tuple[str, ...]:
    return tuple(part for value in values for part in ("--set", value))


EVERY_SERVICE = _set(*(f"services.{noun}.enabled=true" for noun in OPTIONAL))
# Name of a golden file: chart and helm's arguments.
PRESETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "shop": ("shop", ()),
    "shop-kind": ("shop", ("--values", "charts/shop/values-kind.yaml")),
    "shop-production": ("shop", ("--values", "charts/shop/values-production.yaml")),
    "shop-gitops": ("shop", ("--values", "charts/shop/values-gitops.yaml")),
    "shop-cloudnativepg": (
        "shop",
        _set(
            "database.mode=CloudNativePG",
            "database.instances=3",
            "database.storageClassName=fast",
            "messaging.storageClassName=fast",
            "cache.storageClassName=fast",
        ),
    ),
    "shop-everything": ("shop", _set(*ALL_ON)),
    "shop-backup": (
        "shop",
        _set(
            "backup.enabled=true",
            "backup.destination=pvc://nightly/books",
            "restore.source=pvc://nightly/books/20261122T031500Z",
            *MIGRATED_BY_JOBS,
        ),
    ),
    "shop-backup-bucket": (
        "shop",
        _set(
            "backup.enabled=true",
            "backup.destination=s3://nightly/books",
            "backup.secretName=bucket",
            "restore.source=s3://nightly/books",
            "restore.secretName=bucket",
            *MIGRATED_BY_JOBS,
            "global.networkPolicies.enabled=true",
        ),
    ),
    "shop-pooler": (
        "shop",
        _set(
            "database.mode=External",
            "database.external.host=postgres.example.com",
            "database.external.sslmode=verify-full",
            "database.external.pooler.host=pgbouncer.example.com",
            "global.database.pooler=Transaction",
            "global.database.ca.secretName=database-ca",
            "global.secrets.postgres=admin",
            "backup.enabled=true",
            "backup.destination=pvc://nightly/books",
            "restore.source=pvc://nightly/books",
            *MIGRATED_BY_JOBS,
        ),
    ),
    "service": ("service", ()),
    "service-options": ("service", set_json(SERVICE)),
    "shop-operator": ("shop-operator", ()),
    "shop-operator-namespaces": ("shop-operator", _set("namespaces={team-a,team-b}")),
    "shop-operator-two": (
        "shop-operator",
        _set(
            "replicas=2",
            "serviceMonitor.enabled=true",
            "prometheusRule.enabled=true",
            "dashboards.enabled=true",
            "shops.imageRegistry=r.example",
            "shops.imagePullPolicy=Always",
            "shops.imagePullSecrets={pull,pull-more}",
        )
        + set_json(OPERATOR),
    ),
    "observability": ("observability", ()),
    "observability-everything": ("observability", set_json(STACK)),
}


def registry(chart: str) -> tuple[str, ...]:
    """Arguments for the required value without a default; later arguments take precedence."""
    return ("--values", f"tests/charts/registries/{chart}.yaml")


class Refused(RuntimeError):
    """Helm refused the values; the message is helm's."""


@cache
def template(chart: str, *arguments: str) -> tuple[Object, ...]:
    """The objects of `chart` with helm's `arguments`; Refused when helm fails. Not to be changed by the caller.

    A shop has every service, unless the arguments say otherwise: test_chart_modules.py is about those that it can be
    without.
    """
    whole = EVERY_SERVICE if chart == "shop" else ()
    given = (f"charts/{chart}", "--namespace", NAMESPACE, *registry(chart), *whole, *arguments)
    done = helm.run("template", RELEASE, *given)
    if done.returncode:
        raise Refused(done.stderr)
    return tuple(found for found in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if found)


def preset(name: str) -> tuple[Object, ...]:
    """The objects of one of PRESETS."""
    chart, arguments = PRESETS[name]
    return template(chart, *arguments)


def kind(objects: tuple[Object, ...], wanted: str) -> list[Object]:
    return [found for found in objects if found["kind"] == wanted]


def named(objects: tuple[Object, ...], wanted: str, name: str) -> Object:
    """The one object of that kind and name."""
    (only,) = [found for found in kind(objects, wanted) if found["metadata"]["name"] == name]
    return only


def title(found: Object) -> str:
    return f"{found['kind']}/{found['metadata']['name']}"


@dataclass(frozen=True)
class PodSpec:
    """A pod template: its labels, its spec, and the object that it is in."""

    owner: Object
    labels: dict[str, str]
    spec: Object

    @property
    def title(self) -> str:
        return title(self.owner)

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def pods(objects: tuple[Object, ...]) -> list[PodSpec]:
    """Every pod template in the objects, and helm's test pod."""
    return list(_pods(objects))


def _pods(objects: tuple[Object, ...]) -> Iterator[PodSpec]:
    for found in objects:
        if found["kind"] == "Pod":
            yield PodSpec(found, found["metadata"]["labels"], found["spec"])
        elif found["kind"] == "CronJob":
            pod = found["spec"]["jobTemplate"]["spec"]["template"]
            yield PodSpec(found, pod["metadata"]["labels"], pod["spec"])
        elif found["kind"] in ("Deployment", "StatefulSet", "Job"):
            pod = found["spec"]["template"]
            yield PodSpec(found, pod["metadata"]["labels"], pod["spec"])


def variables(objects: tuple[Object, ...], noun: str) -> dict[str, str]:
    """The plain environment variables of a service's container."""
    container = named(objects, "Deployment", noun)["spec"]["template"]["spec"]["containers"][0]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector chooses a pod with `labels`."""
    if any(labels.get(name) != value for name, value in selector.get("matchLabels", {}).items()):
        return False
    return all(labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", []))


GENERATED = re.compile(r"[A-Za-z][A-Za-z0-9]{31}(?=$|@)")


def stable(found: Object) -> Object:
    """The object without generated passwords, which differ from render to render, and without panels and rules, which
    are compared where they are generated."""
    if found["kind"] == "PrometheusRule":
        return {**found, "spec": {"groups": [group["name"] for group in found["spec"]["groups"]]}}
    if found["kind"] == "ConfigMap":
        return {**found, "data": {name: _shortened(name, text) for name, text in found["data"].items()}}
    if found["kind"] != "Secret":
        return found
    written = {name: GENERATED.sub("<generated>", text) for name, text in found["stringData"].items()}
    return {**found, "stringData": written}


def _shortened(name: str, text: str) -> str:
    """A file of a ConfigMap; of a dashboard the title and uid, of rules the names of the groups."""
    if name.endswith(".json") and "panels" in (board := json.loads(text)):
        return f"{board['title']} ({board['uid']})"
    if text.startswith("# Written by `make generate` from observability/rules"):
        return ", ".join(group["name"] for group in yaml.load(text, Loader=yaml.CSafeLoader)["groups"])
    return text


def golden_text(name: str) -> str:
    """The text of a golden file: the objects in a fixed order, keys sorted."""
    objects = sorted(preset(name), key=lambda found: (found["kind"], found["metadata"]["name"]))
    return yaml.dump_all(map(stable, objects), Dumper=yaml.CSafeDumper, sort_keys=True, width=120, allow_unicode=True)
