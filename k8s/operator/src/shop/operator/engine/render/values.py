"""From a Shop to the values of charts/shop. No input or output, and no defaults of its own where the chart has one.

What a Shop does not say is left to the chart, so `helm template` with these values is what the operator applies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shop.operator.resource.spec import RETAIL_NEEDED, Backend, DatabaseBackend, Exposure, Shop, ShopSpec, Store
from shop.operator.resource.spec_service import Quantities, Resources, Service
from shop.operator.services import SERVICES, WITH_DATABASE

Values = dict[str, Any]

SECRET_ENV: Mapping[str, frozenset[str]] = {
    "user": frozenset({"SHOP_KEY_ENCRYPTION_KEY", "SHOP_ADMIN_EMAIL", "SHOP_ADMIN_PASSWORD"}),
    "storefront": frozenset({"SHOP_SESSION_SECRET"}),
}
"""Variables that the chart takes from Secrets and that a Shop's `env` may set instead."""
DEFAULT_RESOURCES: Mapping[str, Mapping[str, str]] = {
    "requests": {"cpu": "50m", "memory": "128Mi"},
    "limits": {"memory": "256Mi"},
}
"""What charts/service gives a service; a test holds them together."""
PROMETHEUS: Mapping[str, str] = {"app.kubernetes.io/name": "prometheus"}
"""Label of every Prometheus that the Prometheus operator runs."""
LOCAL_URL = "http://localhost:8080"
_FACTORS: Mapping[str, int | Decimal] = {
    "": 1,
    "m": Decimal("0.001"),
    "k": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "T": 1000**4,
    "Ki": 1024,
    "Mi": 1024**2,
    "Gi": 1024**3,
    "Ti": 1024**4,
}


class RenderError(Exception):
    """The Shop cannot be rendered; the message begins with the invalid field."""


LOCAL_REGISTRY = "localhost/shopkeeper"
"""What `make images` names its images by."""


@dataclass(frozen=True, slots=True)
class Images:
    """Where the services' images are and how they are pulled; "" and () leave the latter to the chart."""

    registry: str = LOCAL_REGISTRY
    pull_policy: str = ""
    pull_secrets: tuple[str, ...] = ()


def values(
    shop: Shop, namespace: str, *, optional: frozenset[str], version: str = "", images: Images | None = None
) -> Values:
    """The values of charts/shop for `shop`, in `namespace`, which no value depends on today.

    `optional` holds the optional kinds that the cluster serves ("Cluster", "HTTPRoute", "ServiceMonitor",
    "PrometheusRule"); `version` is the images' unless the Shop names one. RenderError for a contradiction.
    """
    spec, catalog, running = shop.spec, shop.spec.store.catalog, shop.spec.nouns
    _check(spec, optional)
    return {
        "global": _global(shop, version, images or Images()),
        "catalog": {
            "sample": (catalog and catalog.sample) or "",
            "configMap": (catalog and catalog.config_map) or "",
        },
        "rules": {"enabled": spec.observability.rules},
        "dashboards": {"enabled": spec.observability.dashboards},
        **_stores(spec),
        **_copies(spec),
        # The operator applies a Job and waits for it before the pods that need it.
        "serviceDefaults": {"migrations": {"mode": "Job"}},
        "services": {noun: _service(noun, spec) if noun in running else {"enabled": False} for noun in SERVICES},
    }


def public_url(exposure: Exposure) -> str:
    """The shop's URL for customers; without an exposure, that of `kubectl port-forward`."""
    if exposure.type == "None" or exposure.host is None:
        return LOCAL_URL
    if exposure.type == "Ingress":
        return f"{'https' if exposure.tls_secret_name else 'http'}://{exposure.host}"
    # A Gateway's listener has its own certificate; only one named http is assumed to have none.
    section = (exposure.gateway_ref and exposure.gateway_ref.section_name) or "https"
    return f"{'https' if section.startswith('https') or 'http' not in section else 'http'}://{exposure.host}"


_NEEDS = (
    ("Cluster", "spec.database.mode: CloudNativePG", "the operator of CloudNativePG", "postgresql.cnpg.io/v1"),
    ("HTTPRoute", "spec.exposure.type: Gateway", "the Gateway API", "gateway.networking.k8s.io/v1"),
    ("ServiceMonitor", "spec.observability.serviceMonitors", "the Prometheus operator", "monitoring.coreos.com/v1"),
    ("PrometheusRule", "spec.observability.rules", "the Prometheus operator", "monitoring.coreos.com/v1"),
)


def wanted_kinds(spec: ShopSpec) -> frozenset[str]:
    """The optional kinds that the Shop asks for."""
    asked = {
        "Cluster": spec.database.mode == "CloudNativePG",
        "HTTPRoute": spec.exposure.type == "Gateway",
        "ServiceMonitor": spec.observability.service_monitors,
        "PrometheusRule": spec.observability.rules,
    }
    return frozenset(kind for kind, wanted in asked.items() if wanted)


def _check(spec: ShopSpec, optional: frozenset[str]) -> None:
    missing = wanted_kinds(spec) - optional
    for kind, field, what, api_version in _NEEDS:
        if kind in missing:
            raise RenderError(f"{field} needs {what} in the cluster, which serves no {kind} of {api_version}")
    if not spec.modules.retail:
        raise RenderError(f"spec.modules.retail: {RETAIL_NEEDED}")


def _global(shop: Shop, version: str, images: Images) -> Values:
    spec = shop.spec
    image = {
        "registry": images.registry,
        "tag": spec.version or version,
        "pullPolicy": images.pull_policy,
        "pullSecrets": list(images.pull_secrets),
    }
    tracing = spec.observability.tracing
    return {
        "namePrefix": shop.metadata.name,
        "image": {name: given for name, given in image.items() if given},
        "store": _store(spec.store),
        "secrets": _given_secrets(spec),
        "database": _database_access(spec.database),
        "publicUrl": public_url(spec.exposure),
        "trustedProxies": list(spec.exposure.trusted_proxies),
        "ipFamilyPolicy": spec.ip_family_policy or "",
        "ipFamilies": list(spec.ip_families),
        "podDisruptionBudgets": spec.pod_disruption_budgets,
        "networkPolicies": _network_policies(spec),
        "serviceMonitors": "Always" if spec.observability.service_monitors else "Never",
        "monitorLabels": dict(spec.observability.labels),
        "tracing": {"endpoint": tracing.endpoint, "sampleRatio": tracing.sample_ratio} if tracing.endpoint else {},
    }


def _network_policies(spec: ShopSpec) -> Values:
    """With ServiceMonitors, a Prometheus of its operator may read the metrics from any namespace."""
    if not (spec.network_policies and spec.observability.service_monitors):
        return {"enabled": spec.network_policies}
    return {
        "enabled": True,
        "scrapeFrom": [{"namespaceSelector": {}, "podSelector": {"matchLabels": dict(PROMETHEUS)}}],
    }


def _store(store: Store) -> Values:
    """Its fields under the names that they have in the Shop, so that a new one needs no change here."""
    fields = store.model_dump(by_alias=True, exclude={"catalog"})
    taxes = [{name: value for name, value in tax.items() if value is not None} for tax in fields["taxes"]]
    return {
        **{name: "" if value is None else value for name, value in fields.items()},
        "shipsTo": list(store.ships_to),
        "taxes": [{**tax, "ratePercent": number(tax["ratePercent"])} for tax in taxes],
    }


def number(value: Decimal) -> int | float:
    """The same number as JSON writes it."""
    return int(value) if value == int(value) else float(value)


def _given_secrets(spec: ShopSpec) -> Values:
    """Secrets that the Shop names itself; the operator creates the others."""
    named = {"nats": spec.messaging.secret_name, "valkey": spec.cache.secret_name}
    given: Values = {kind: name for kind, name in named.items() if name}
    if (name := spec.database.secret_name) is not None:
        external = spec.database.mode == "External"
        given |= {"database": dict.fromkeys(WITH_DATABASE, name)} if external else {"postgres": name}
    return given


def _database_access(database: DatabaseBackend) -> Values:
    """How every pod connects to an External server."""
    given: Values = {} if database.pooler == "None" else {"pooler": database.pooler}
    if database.ca is not None:
        names = {"secretName": database.ca.secret_name, "configMapName": database.ca.config_map}
        given["ca"] = {"key": database.ca.key, **{field: name for field, name in names.items() if name}}
    return given


def _stores(spec: ShopSpec) -> Values:
    return {
        "database": _database(spec.database),
        "messaging": _backend(spec.messaging),
        "cache": _backend(spec.cache),
    }


def _database(database: DatabaseBackend) -> Values:
    given = {**_backend(database), "instances": database.instances}
    return given | ({"maxConnections": database.max_connections} if database.max_connections else {})


def _backend(backend: DatabaseBackend | Backend) -> Values:
    return {"mode": backend.mode} if backend.mode == "External" else {"mode": backend.mode, "storage": backend.storage}


def _copies(spec: ShopSpec) -> Values:
    """Backup and restore, where the Shop has them."""
    found: Values = {}
    if spec.backup is not None:
        found["backup"] = {"enabled": True, **spec.backup.model_dump(by_alias=True, exclude_none=True)}
    if spec.restore_from is not None:
        found["restore"] = spec.restore_from.model_dump(by_alias=True, exclude_none=True)
    return found


def _service(noun: str, spec: ShopSpec) -> Values:
    service = spec.service(noun)
    given: Values = {
        "logLevel": service.log_level,
        **_scale(service),
        **_resources(service.resources),
        **_image(service.image),
        **_environment(noun, service.env),
    }
    if noun in WITH_DATABASE and spec.database.mode == "External":
        # One Secret with the URL of every service's database under the service's name.
        given["secretEnv"] = {**given.get("secretEnv", {}), "SHOP_DATABASE_URL": {"key": noun}}
    return given | _of_noun(noun, spec)


def _of_noun(noun: str, spec: ShopSpec) -> Values:
    if noun == "gateway":
        return _exposure(spec)
    if noun == "pricing":
        sample = spec.store.catalog and spec.store.catalog.sample
        return {"config": {"SHOP_SAMPLE_PROMOTIONS": "true" if sample else ""}}
    return {}


def _exposure(spec: ShopSpec) -> Values:
    exposure = spec.exposure
    if exposure.type == "Ingress":
        ingress = {"className": exposure.class_name, "host": exposure.host, "tlsSecretName": exposure.tls_secret_name}
        return {"ingress": {"enabled": True, **{name: given for name, given in ingress.items() if given}}}
    if exposure.type == "Gateway" and exposure.gateway_ref:
        gateway = exposure.gateway_ref.model_dump(by_alias=True, exclude_none=True)
        return {"httpRoute": {"enabled": True, "hostnames": [exposure.host], "gatewayRef": gateway}}
    return {}


def _scale(service: Service) -> Values:
    if service.autoscaling is None:
        return {"replicas": service.replicas}
    return {"autoscaling": {"enabled": True, **service.autoscaling.model_dump(by_alias=True)}}


def _image(image: str | None) -> Values:
    """Repository, tag and digest of an image; without the latter two it has the Shop's version."""
    if image is None:
        return {}
    name, _, digest = image.partition("@")
    head, slash, last = name.rpartition("/")
    base, _, tag = last.partition(":")
    found = {"repository": f"{head}{slash}{base}", "tag": tag, "digest": digest}
    return {"image": {part: given for part, given in found.items() if given}}


def _environment(noun: str, env: Mapping[str, str]) -> Values:
    """Variables as written: Kubernetes would read `$(NAME)` as a reference and `$$` as an escape."""
    if not env:
        return {}
    taken = sorted(SECRET_ENV.get(noun, frozenset()) & set(env))
    written = [{"name": name, "value": literal(env[name])} for name in sorted(env)]
    return {"env": written} | ({"secretEnv": dict.fromkeys(taken)} if taken else {})


def literal(value: str) -> str:
    """`value` escaped where Kubernetes would expand it."""
    return value.replace("$", "$$") if "$(" in value or "$$" in value else value


def _resources(given: Resources | None) -> Values:
    """What the Shop sets, over the chart's defaults; a default that contradicts it is adjusted."""
    if given is None:
        return {}
    requests, limits = _quantities(given.requests), _quantities(given.limits)
    for name, quantity in DEFAULT_RESOURCES["requests"].items():
        if name not in requests and name in limits:
            requests[name] = min(quantity, limits[name], key=amount)
    for name, quantity in DEFAULT_RESOURCES["limits"].items():
        if name not in limits and name in requests:
            limits[name] = max(quantity, requests[name], key=amount)
    found = {"requests": requests, "limits": limits}
    return {"resources": {part: quantities for part, quantities in found.items() if quantities}}


def _quantities(given: Quantities) -> dict[str, str]:
    return given.model_dump(exclude_none=True)


def amount(quantity: str) -> Decimal:
    """A quantity of Kubernetes as a number of cores or bytes."""
    digits = quantity.rstrip("mkKMGTi")
    return Decimal(digits) * _FACTORS[quantity[len(digits) :]]


def contradictions(spec: ShopSpec) -> Iterator[str]:
    """A sentence for each request above its own limit, which Kubernetes would refuse."""
    for noun, service in spec.services.items():
        resources = service.resources or Resources()
        requests, limits = _quantities(resources.requests), _quantities(resources.limits)
        for name in sorted(requests.keys() & limits.keys()):
            if amount(requests[name]) > amount(limits[name]):
                yield (
                    f"spec.services.{noun}.resources.requests.{name}: {requests[name]} is more than "
                    f"the limit of {limits[name]}"
                )
