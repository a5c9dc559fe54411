"""Shops for tests of rendering: made from a spec as YAML has it, and drawn at random within what is admitted."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from shop.operator.engine.render.renderer import Renderer, find_charts
from shop.operator.resource.spec import API_VERSION, KIND, Shop
from shop.operator.resource.spec_modules import Modules
from shop.operator.services import OPTIONAL, SERVICES, WITH_DATABASE
from tests.charts import helm

Spec = dict[str, Any]
NAMESPACE = "market"
VERSION = "0.9.1"
SEED = bytes(range(32))
MODULES = Modules.model_fields.keys() - {"retail"}
DATABASES_BY_DEFAULT = tuple(noun for noun in WITH_DATABASE if noun not in OPTIONAL)
"""Services with a database of a Shop that says nothing about modules."""
EVERY_KIND = frozenset({"Cluster", "HTTPRoute", "ServiceMonitor", "PrometheusRule"})


def shop(spec: Spec | None = None, name: str = "bookshop") -> Shop:
    """A Shop in NAMESPACE with that spec, checked as one from a file is."""
    metadata = {"name": name, "namespace": NAMESPACE}
    return Shop.model_validate({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec or {}})


def of_the_version_here(sample: Shop) -> Shop:
    """The same without the version that it names, of which there are no charts here."""
    return sample.model_copy(update={"spec": sample.spec.model_copy(update={"version": None})})


@cache
def renderer() -> Renderer:
    """The repository's charts, images of VERSION."""
    return Renderer(helm.helm(), find_charts(), VERSION)


# Texts that YAML, Go templates, Kubernetes or JSON could take for something else.
HARD_TEXTS = (
    "no",
    "1e3",
    "0777",
    "2026-11-22",
    "=",
    "<<",
    "~",
    "{{ .Values }}",
    "$(HOME) $$ $",
    '"quoted": #',
    " pad ",
)
texts = st.sampled_from(HARD_TEXTS) | st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12)
titles = texts.filter(bool)
names = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?", fullmatch=True)
countries = st.sampled_from(("DE", "NO", "FR"))
quantities = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from(("5m", "0.25", "2")),
        "memory": st.sampled_from(("64Mi", "200M", "1Gi", "0.5Gi")),
    },
)


def _bounds(low: int, more: int, target: int, requests: int) -> Spec:
    """No target of requests where `requests` is 0, which a target of no CPU needs."""
    found = {
        "minReplicas": low,
        "maxReplicas": low + more,
        "targetCPUUtilizationPercentage": target or int(not requests),
    }
    return found | ({"targetRequestsPerSecond": requests} if requests else {})


def _resources(requests: Spec, limits: Spec) -> Spec:
    """Only one of the two sides of each resource, so that they never contradict each other."""
    return {"requests": requests, "limits": {name: limits[name] for name in limits.keys() - requests.keys()}}


digest = "sha256:" + "a" * 64
services = st.fixed_dictionaries(
    {},
    optional={
        # As many as the connections of one server allow; more are refused when rendering.
        "replicas": st.integers(1, 6),
        "autoscaling": st.builds(
            _bounds, st.integers(1, 3), st.integers(0, 3), st.integers(0, 100), st.integers(0, 500)
        ),
        "resources": st.builds(_resources, quantities, quantities),
        "image": st.sampled_from(("r.example:5000/shop/x:1.2", f"r.example/x@{digest}", f"x:7@{digest}", "x")),
        "env": st.dictionaries(st.sampled_from(("SHOP_ADMIN_PASSWORD", "SHOP_SMTP_URL", "Lower_9")), texts),
        "logLevel": st.sampled_from(("DEBUG", "INFO", "WARNING", "ERROR")),
    },
)
taxes = st.lists(
    st.fixed_dictionaries(
        {"country": countries, "ratePercent": st.sampled_from((0, 7, 5.5, 19.625, 100))},
        optional={"category": st.sampled_from(("no", "1e3", "books"))},
    ),
    max_size=4,
    unique_by=lambda tax: (tax["country"], tax.get("category")),
)
stores = st.fixed_dictionaries(
    {},
    optional={
        "title": titles,
        "tagline": titles,
        "currency": st.sampled_from(("EUR", "JPY")),
        "country": countries,
        "language": st.sampled_from(("en", "de", "no", "pt-BR")),
        "timeZone": st.sampled_from(("UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires")),
        "shipsTo": st.lists(countries, max_size=3),
        "taxes": taxes,
        "shipping": st.fixed_dictionaries(
            {}, optional={"flat": st.integers(0, 10_000_000), "freeAbove": st.integers(0, 1_000_000_000)}
        ),
        "delivery": st.fixed_dictionaries(
            {},
            optional={
                "base": st.integers(0, 10_000_000),
                "perKm": st.integers(0, 10_000_000),
                "freeAbove": st.integers(0, 1_000_000_000),
                "maxDistanceM": st.integers(100, 100_000),
            },
        ),
        "catalog": st.just({"sample": "books"}) | st.builds(lambda name: {"configMap": name}, names),
    },
)
sizes = st.sampled_from(("1Gi", "20Gi", "500M"))
external = st.builds(lambda name: {"mode": "External", "secretName": name}, names)
authorities = st.builds(lambda field, name: {field: name}, st.sampled_from(("secretName", "configMap")), names)
pooled = st.builds(
    lambda given, pooler, ca: {**given, "pooler": pooler, "ca": ca},
    external,
    st.sampled_from(("None", "Transaction")),
    authorities,
)
backends = st.builds(lambda size: {"storage": size}, sizes) | external
databases = (
    backends
    | pooled
    | st.builds(
        lambda count, size: {"mode": "CloudNativePG", "instances": count, "storage": size}, st.integers(1, 9), sizes
    )
)
exposures = st.sampled_from(
    (
        {"type": "Ingress", "host": "shop.example.com"},
        {"type": "Ingress", "host": "no", "className": "nginx", "tlsSecretName": "tls"},
        {"type": "Gateway", "host": "a.example", "gatewayRef": {"name": "public"}},
        {"type": "Gateway", "host": "a.example", "gatewayRef": {"name": "g", "namespace": "n", "sectionName": "http"}},
    )
)
observability = st.fixed_dictionaries(
    {},
    optional={
        "serviceMonitors": st.booleans(),
        "rules": st.booleans(),
        "dashboards": st.booleans(),
        "labels": st.just({"release": "kube-prometheus-stack"}),
        "scrapeIntervalSeconds": st.integers(5, 30),
        "scrapeFrom": st.sampled_from(({}, {"namespaceLabels": {"team": "watch"}}, {"podLabels": {"app": "agent"}})),
        "dashboardLabels": st.just({"grafana": "main"}),
        "dashboardAnnotations": st.just({"grafana_folder": "Our shops"}),
        "tracing": st.fixed_dictionaries(
            {},
            optional={"endpoint": st.just("http://otel:4318"), "sampleRatio": st.sampled_from((0.0, 1e-5, 0.25, 1.0))},
        ),
    },
)
backups = st.sampled_from(
    (
        {"schedule": "15 3 * * *", "destination": "pvc://backups/shop"},
        {"schedule": "*/5 1-3 1 * 0", "retention": 30, "destination": "s3://bucket/a", "secretName": "s3"},
    )
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "version": st.just(VERSION),
        "modules": st.fixed_dictionaries({"retail": st.just(True)}, optional=dict.fromkeys(MODULES, st.booleans())),
        "store": stores,
        "services": st.dictionaries(st.sampled_from(SERVICES), services, max_size=4),
        "database": databases,
        "messaging": backends,
        "cache": backends,
        "exposure": exposures,
        "observability": observability,
        "networkPolicies": st.booleans(),
        "discovery": st.sampled_from(("Service", "DNS")),
        "ipFamilyPolicy": st.sampled_from(("PreferDualStack", "RequireDualStack")),
        "ipFamilies": st.sampled_from((["IPv4"], ["IPv6"])),
        "podDisruptionBudgets": st.booleans(),
        "backup": backups,
        "restoreFrom": st.just({"source": "pvc://backups/shop/2026-11-22"}),
    },
)
"""Every kind of choice that a Shop offers, in combinations that admission lets through."""
