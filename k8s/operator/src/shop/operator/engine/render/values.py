"""From a Shop to the values of charts/shop. No input or output, and no defaults of its own where the chart has one.

What a Shop does not say is left to the chart, so `helm template` with these values is what the operator applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shop.operator.kube.objects import amount
from shop.operator.resource.spec import RETAIL_NEEDED, Backend, DatabaseBackend, Exposure, Shop, ShopSpec
from shop.operator.resource.spec_observability import Observability, ScrapeFrom
from shop.operator.resource.spec_service import SAMPLE_DATA, Resources
from shop.operator.resource.spec_store import Store
from shop.operator.services import OPTIONAL, SERVICES, WITH_DATABASE, WITH_GRPC

Values = dict[str, Any]

SECRET_ENV: Mapping[str, frozenset[str]] = {
    "user": frozenset({"SHOP_KEY_ENCRYPTION_KEY", "SHOP_ADMIN_EMAIL", "SHOP_ADMIN_PASSWORD"}),
    "ops": frozenset({"SHOP_SESSION_SECRET"}),
    "storefront": frozenset({"SHOP_SESSION_SECRET"}),
}
"""Variables that the chart takes from Secrets and that a Shop's `env` may set instead."""
DEFAULT_RESOURCES: Mapping[str, Mapping[str, str]] = {
    "requests": {"cpu": "50m", "memory": "128Mi"},
    "limits": {"memory": "256Mi"},
}
"""What charts/service gives a service; a test holds them together."""
LOCAL_URL = "http://localhost:8080"
LOCAL_REGISTRY = "localhost/shopkeeper"
"""What `make images` names its images by."""


class RenderError(Exception):
    """The Shop cannot be rendered; the message begins with the invalid field."""


@dataclass(frozen=True, slots=True)
class Images:
    """Where the services' images are and how they are pulled; "" and () leave the latter to the chart."""

    registry: str = LOCAL_REGISTRY
    pull_policy: str = ""
    pull_secrets: tuple[str, ...] = ()


def values(shop: Shop, *, optional: frozenset[str], version: str = "", images: Images | None = None) -> Values:
    """The values of charts/shop for `shop`.

    `optional` holds the optional kinds that the cluster serves ("Cluster", "HTTPRoute", "ServiceMonitor",
    "PrometheusRule"); `version` is the images' unless the Shop names one. RenderError for a contradiction.
    """
    spec, catalog, running = shop.spec, shop.spec.store.catalog, shop.spec.nouns
    _check(spec, optional)
    database: Values = {**_backend(spec.database), "instances": spec.database.instances}
    if spec.database.max_connections:
        database["maxConnections"] = spec.database.max_connections
    found: Values = {
        "global": _global(shop, version, images or Images()),
        "catalog": {
            "sample": (catalog and catalog.sample) or "",
            "configMap": (catalog and catalog.config_map) or "",
        },
        "rules": {"enabled": spec.observability.rules},
        "dashboards": _dashboards(spec.observability),
        "database": database,
        "messaging": _backend(spec.messaging),
        "cache": _backend(spec.cache),
        "serviceDefaults": _service_defaults(spec.observability),
        "services": {noun: _service(noun, spec) if noun in running else {"enabled": False} for noun in SERVICES},
    }
    if spec.backup is not None:
        found["backup"] = {"enabled": True, **spec.backup.model_dump(by_alias=True, exclude_none=True)}
    if spec.restore_from is not None:
        found["restore"] = spec.restore_from.model_dump(by_alias=True, exclude_none=True)
    return found


def public_url(exposure: Exposure) -> str:
    """The shop's URL for customers; without an exposure, that of `kubectl port-forward`."""
    if exposure.type == "None" or exposure.host is None:
        return LOCAL_URL
    if exposure.type == "Ingress":
        return f"{'https' if exposure.tls_secret_name else 'http'}://{exposure.host}"
    # A Gateway's listener has its own certificate; only one named http is assumed to have none.
    section = (exposure.gateway_ref and exposure.gateway_ref.section_name) or "https"
    return f"{'https' if section.startswith('https') or 'http' not in section else 'http'}://{exposure.host}"


_NEEDS = {
    "Cluster": ("spec.database.mode: CloudNativePG", "the operator of CloudNativePG", "postgresql.cnpg.io/v1"),
    "HTTPRoute": ("spec.exposure.type: Gateway", "the Gateway API", "gateway.networking.k8s.io/v1"),
    "ServiceMonitor": ("spec.observability.serviceMonitors", "the Prometheus operator", "monitoring.coreos.com/v1"),
    "PrometheusRule": ("spec.observability.rules", "the Prometheus operator", "monitoring.coreos.com/v1"),
}


def _check(spec: ShopSpec, optional: frozenset[str]) -> None:
    """RenderError when the Shop asks for an optional kind that the cluster does not serve, or contradicts itself."""
    asked = {
        "Cluster": spec.database.mode == "CloudNativePG",
        "HTTPRoute": spec.exposure.type == "Gateway",
        "ServiceMonitor": spec.observability.service_monitors,
        "PrometheusRule": spec.observability.rules,
    }
    for kind, (field, what, api_version) in _NEEDS.items():
        if asked[kind] and kind not in optional:
            raise RenderError(f"{field} needs {what} in the cluster, which serves no {kind} of {api_version}")
    if not spec.modules.retail:
        raise RenderError(f"spec.modules.retail: {RETAIL_NEEDED}")
    for noun, service in spec.services.items():
        resources = service.resources or Resources()
        requests, limits = (part.model_dump(exclude_none=True) for part in (resources.requests, resources.limits))
        for name in sorted(requests.keys() & limits.keys()):
            if amount(requests[name]) > amount(limits[name]):
                raise RenderError(
                    f"spec.services.{noun}.resources.requests.{name}: {requests[name]} is more than "
                    f"the limit of {limits[name]}"
                )


def _global(shop: Shop, version: str, images: Images) -> Values:
    spec = shop.spec
    image = {
        "registry": images.registry,
        "tag": spec.version or version,
        "pullPolicy": images.pull_policy,
        "pullSecrets": list(images.pull_secrets),
    }
    tracing, policies = spec.observability.tracing, Values(enabled=spec.network_policies)
    if spec.network_policies and (peers := _scrape_from(spec.observability)):
        policies["scrapeFrom"] = peers
    return {
        "namePrefix": shop.metadata.name,
        "image": {name: given for name, given in image.items() if given},
        "store": _store(spec.store),
        "secrets": _given_secrets(spec),
        "database": _database_access(spec.database),
        "publicUrl": public_url(spec.exposure),
        "trustedProxies": list(spec.exposure.trusted_proxies),
        "discovery": spec.discovery,
        "ipFamilyPolicy": spec.ip_family_policy or "",
        "ipFamilies": list(spec.ip_families),
        "podDisruptionBudgets": spec.pod_disruption_budgets,
        "networkPolicies": policies,
        "serviceMonitors": "Always" if spec.observability.service_monitors else "Never",
        "monitorLabels": dict(spec.observability.labels),
        "tracing": {"endpoint": tracing.endpoint, "sampleRatio": tracing.sample_ratio} if tracing.endpoint else {},
    }


def _scrape_from(observability: Observability) -> list[Values]:
    """Peers of the NetworkPolicies that may read the metrics."""
    chosen = observability.scrape_from or (ScrapeFrom() if observability.service_monitors else None)
    if chosen is None:
        return []
    namespaces = {"matchLabels": dict(chosen.namespace_labels)} if chosen.namespace_labels else {}
    return [{"namespaceSelector": namespaces, "podSelector": {"matchLabels": dict(chosen.pod_labels)}}]


def _dashboards(observability: Observability) -> Values:
    given = {"labels": observability.dashboard_labels, "annotations": observability.dashboard_annotations}
    return {"enabled": observability.dashboards, **{name: dict(found) for name, found in given.items() if found}}


def _service_defaults(observability: Observability) -> Values:
    # The operator applies a Job and waits for it before the pods that need it.
    given: Values = {"migrations": {"mode": "Job"}}
    if seconds := observability.scrape_interval_seconds:
        given["serviceMonitor"] = {"interval": f"{seconds}s"}
    return given


def _store(store: Store) -> Values:
    """Its fields under the names that they have in the Shop, so that a new one needs no change here."""
    fields = store.model_dump(by_alias=True, exclude={"catalog"})
    taxes = [{name: value for name, value in tax.items() if value is not None} for tax in fields["taxes"]]
    for tax in taxes:  # a number of JSON, and an integer where it is one
        tax["ratePercent"] = int(tax["ratePercent"]) if tax["ratePercent"] % 1 == 0 else float(tax["ratePercent"])
    return {
        **{name: "" if value is None else value for name, value in fields.items()},
        "shipsTo": list(store.ships_to),
        "taxes": taxes,
    }


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


def _backend(backend: DatabaseBackend | Backend) -> Values:
    return {"mode": backend.mode} if backend.mode == "External" else {"mode": backend.mode, "storage": backend.storage}


def _service(noun: str, spec: ShopSpec) -> Values:
    service = spec.service(noun)
    given: Values = {"logLevel": service.log_level, **_resources(service.resources), **_image(service.image)}
    if noun in OPTIONAL:
        given["enabled"] = True
    if service.autoscaling is None:
        given["replicas"] = service.replicas
    else:
        given["autoscaling"] = {"enabled": True, **service.autoscaling.model_dump(by_alias=True, exclude_none=True)}
    if service.env:
        # As written: Kubernetes would read `$(NAME)` as a reference and `$$` as an escape.
        given["env"] = [{"name": name, "value": literal(service.env[name])} for name in sorted(service.env)]
    from_secrets: Values = dict.fromkeys(sorted(SECRET_ENV.get(noun, frozenset()) & set(service.env)))
    if noun in WITH_DATABASE and spec.database.mode == "External":
        # One Secret with the URL of every service's database under the service's name.
        from_secrets["SHOP_DATABASE_URL"] = {"key": noun}
    if from_secrets:
        given["secretEnv"] = from_secrets
    if noun in SAMPLE_DATA:
        sample = spec.store.catalog and spec.store.catalog.sample
        given["config"] = {SAMPLE_DATA[noun]: "true" if sample else ""}
    if noun in WITH_GRPC and spec.exposure.type != "None":
        given["grpc"] = _grpc_exposure(spec.exposure)
    return given | (_exposure(spec.exposure) if noun == "gateway" else {})


def _exposure(exposure: Exposure) -> Values:
    if exposure.type == "Ingress":
        ingress = {"className": exposure.class_name, "host": exposure.host, "tlsSecretName": exposure.tls_secret_name}
        return {"ingress": {"enabled": True, **{name: given for name, given in ingress.items() if given}}}
    if exposure.type == "Gateway" and exposure.gateway_ref:
        gateway = exposure.gateway_ref.model_dump(by_alias=True, exclude_none=True)
        return {"httpRoute": {"enabled": True, "hostnames": [exposure.host], "gatewayRef": gateway}}
    return {}


def _grpc_exposure(exposure: Exposure) -> Values:
    """On the shop's own host name: the paths of gRPC calls are none of the gateway's."""
    given: Values = {"exposure": "Ingress", "className": exposure.class_name, "tlsSecretName": exposure.tls_secret_name}
    if exposure.gateway_ref:
        # A GRPCRoute could not share the host name with the gateway's HTTPRoute.
        gateway = exposure.gateway_ref.model_dump(by_alias=True, exclude_none=True)
        given = {"exposure": "HTTPRoute", "gatewayRef": gateway}
    return {"host": exposure.host, **{name: value for name, value in given.items() if value}}


def _image(image: str | None) -> Values:
    """Repository, tag and digest of an image; without the latter two it has the Shop's version."""
    if image is None:
        return {}
    name, _, digest = image.partition("@")
    head, slash, last = name.rpartition("/")
    base, _, tag = last.partition(":")
    found = {"repository": f"{head}{slash}{base}", "tag": tag, "digest": digest}
    return {"image": {part: given for part, given in found.items() if given}}


def literal(value: str) -> str:
    """`value` escaped where Kubernetes would expand it."""
    return value.replace("$", "$$") if "$(" in value or "$$" in value else value


def _resources(given: Resources | None) -> Values:
    """What the Shop sets, over the chart's defaults; a default that contradicts it is adjusted."""
    if given is None:
        return {}
    requests, limits = (part.model_dump(exclude_none=True) for part in (given.requests, given.limits))
    for name, quantity in DEFAULT_RESOURCES["requests"].items():
        if name not in requests and name in limits:
            requests[name] = min(quantity, limits[name], key=amount)
    for name, quantity in DEFAULT_RESOURCES["limits"].items():
        if name not in limits and name in requests:
            limits[name] = max(quantity, requests[name], key=amount)
    found = {"requests": requests, "limits": limits}
    return {"resources": {part: quantities for part, quantities in found.items() if quantities}}
