"""Every field of a Shop reaches the chart's value that it is for, and the object that it is for."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from k8s.operator.tests import shop_specs
from k8s.operator.tests.shop_specs import EVERY_KIND, NAMESPACE, SEED, Spec, renderer
from k8s.operator.tests.values_observability import OBSERVED
from shop.contracts.store import StoreSettings
from shop.operator.engine.render.renderer import Renderer, find_charts
from shop.operator.engine.render.values import (
    DEFAULT_RESOURCES,
    SECRET_ENV,
    Images,
    Values,
    literal,
    public_url,
    values,
)
from shop.operator.kube.objects import Object, amount
from shop.operator.local.instances import store_json
from shop.operator.resource.spec import ShopSpec
from shop.operator.services import SERVICES, WITH_DATABASE
from tests.charts import helm

INGRESS = {"type": "Ingress", "host": "shop.example.com", "className": "nginx", "tlsSecretName": "tls"}
GATEWAY = {"type": "Gateway", "host": "a.example", "gatewayRef": {"name": "g", "namespace": "n", "sectionName": "web"}}
BACKUP = {"schedule": "15 3 * * *", "retention": 3, "destination": "s3://bucket/p", "secretName": "s3"}
RESTORE = {"source": "s3://bucket/p", "secretName": "s3"}
TAXES = [{"country": "DE", "category": "books", "ratePercent": 7}, {"country": "FR", "ratePercent": 5.5}]

# A spec, a path in the values, and what must stand there.
REACHES: list[tuple[Spec, str, Any]] = [
    ({}, "global.namePrefix", "bookshop"),
    ({}, "global.image.tag", "0.1.0"),
    ({}, "global.trustedProxies", []),
    ({"exposure": {"trustedProxies": ["203.0.113.0/24"]}}, "global.trustedProxies", ["203.0.113.0/24"]),
    ({"version": "0.2.0"}, "global.image.tag", "0.2.0"),
    ({"store": {"title": "T", "currency": "JPY", "country": "JP"}}, "global.store.title", "T"),
    ({"store": {"title": "T", "currency": "JPY", "country": "JP"}}, "global.store.currency", "JPY"),
    ({"store": {"title": "T", "currency": "JPY", "country": "JP"}}, "global.store.country", "JP"),
    ({}, "global.store.shipsTo", []),
    ({"store": {"shipsTo": ["NO", "SE"]}}, "global.store.shipsTo", ["NO", "SE"]),
    ({}, "global.store.language", ""),
    ({"store": {"language": "pt-BR"}}, "global.store.language", "pt-BR"),
    ({}, "global.store.timeZone", ""),
    ({"store": {"timeZone": "Asia/Tokyo"}}, "global.store.timeZone", "Asia/Tokyo"),
    ({}, "global.store.tagline", ""),
    ({"store": {"tagline": "Tools for small gardens"}}, "global.store.tagline", "Tools for small gardens"),
    ({"store": {"taxes": TAXES}}, "global.store.taxes", TAXES),
    ({"store": {"shipping": {"flat": 490}}}, "global.store.shipping", {"flat": 490, "freeAbove": None}),
    ({"store": {"shipping": {"flat": 1, "freeAbove": 2}}}, "global.store.shipping", {"flat": 1, "freeAbove": 2}),
    (
        {},
        "global.store.delivery",
        {"base": 199, "perKm": 60, "freeAbove": None, "maxDistanceM": 6000},
    ),
    (
        {"store": {"delivery": {"base": 1, "perKm": 2, "freeAbove": 3, "maxDistanceM": 400}}},
        "global.store.delivery",
        {"base": 1, "perKm": 2, "freeAbove": 3, "maxDistanceM": 400},
    ),
    ({}, "catalog", {"sample": "", "configMap": ""}),
    ({"store": {"catalog": {"sample": "books"}}}, "catalog", {"sample": "books", "configMap": ""}),
    ({"store": {"catalog": {"configMap": "wares"}}}, "catalog", {"sample": "", "configMap": "wares"}),
    ({}, "services.pricing.config", {"SHOP_SAMPLE_PROMOTIONS": ""}),
    ({"store": {"catalog": {"sample": "books"}}}, "services.pricing.config", {"SHOP_SAMPLE_PROMOTIONS": "true"}),
    ({"services": {"order": {"replicas": 3}}}, "services.order.replicas", 3),
    ({"services": {"order": {"logLevel": "DEBUG"}}}, "services.order.logLevel", "DEBUG"),
    ({}, "serviceDefaults.migrations", {"mode": "Job"}),
    (
        {"services": {"order": {"autoscaling": {"maxReplicas": 4}}}},
        "services.order.autoscaling",
        {"enabled": True, "minReplicas": 1, "maxReplicas": 4, "targetCPUUtilizationPercentage": 70},
    ),
    ({"services": {"order": {"image": "r:5000/o:1"}}}, "services.order.image", {"repository": "r:5000/o", "tag": "1"}),
    ({"services": {"order": {"image": "r:5000/o"}}}, "services.order.image", {"repository": "r:5000/o"}),
    (
        {"services": {"order": {"image": "o:1@sha256:ab"}}},
        "services.order.image",
        {"repository": "o", "tag": "1", "digest": "sha256:ab"},
    ),
    ({"services": {"order": {"env": {"B": "$(A)", "A": "1"}}}}, "services.order.env.0", {"name": "A", "value": "1"}),
    (
        {"services": {"order": {"env": {"B": "$(A)", "A": "1"}}}},
        "services.order.env.1",
        {"name": "B", "value": "$$(A)"},
    ),
    (
        {"services": {"user": {"env": {"SHOP_ADMIN_EMAIL": "a@b.example"}}}},
        "services.user.secretEnv",
        {"SHOP_ADMIN_EMAIL": None},
    ),
    ({}, "database", {"mode": "Bundled", "instances": 1, "storage": "5Gi"}),
    (
        {"database": {"mode": "CloudNativePG", "instances": 3, "storage": "9Gi"}},
        "database",
        {"mode": "CloudNativePG", "instances": 3, "storage": "9Gi"},
    ),
    ({"database": {"maxConnections": 300}}, "database.maxConnections", 300),
    (
        {"database": {"mode": "External", "secretName": "urls", "maxConnections": 90}},
        "database",
        {"mode": "External", "instances": 1, "maxConnections": 90},
    ),
    ({"database": {"secretName": "mine"}}, "global.secrets", {"postgres": "mine"}),
    (
        {"database": {"mode": "External", "secretName": "urls"}},
        "global.secrets.database",
        dict.fromkeys(WITH_DATABASE, "urls"),
    ),
    (
        {"database": {"mode": "External", "secretName": "urls"}},
        "services.payment.secretEnv",
        {"SHOP_DATABASE_URL": {"key": "payment"}},
    ),
    ({"database": {"mode": "External", "secretName": "urls"}}, "global.database", {}),
    (
        {"database": {"mode": "External", "secretName": "u", "pooler": "Transaction", "ca": {"secretName": "a"}}},
        "global.database",
        {"pooler": "Transaction", "ca": {"key": "ca.crt", "secretName": "a"}},
    ),
    (
        {"database": {"mode": "External", "secretName": "u", "ca": {"configMap": "authority", "key": "root.pem"}}},
        "global.database",
        {"ca": {"key": "root.pem", "configMapName": "authority"}},
    ),
    ({"messaging": {"storage": "2Gi"}}, "messaging", {"mode": "Bundled", "storage": "2Gi"}),
    ({"messaging": {"mode": "External", "secretName": "n"}}, "messaging", {"mode": "External"}),
    ({"messaging": {"mode": "External", "secretName": "n"}}, "global.secrets", {"nats": "n"}),
    ({"cache": {"storage": "2Gi"}}, "cache", {"mode": "Bundled", "storage": "2Gi"}),
    ({"cache": {"mode": "External", "secretName": "v"}}, "global.secrets", {"valkey": "v"}),
    (
        {"exposure": INGRESS},
        "services.gateway.ingress",
        {"enabled": True, "className": "nginx", "host": "shop.example.com", "tlsSecretName": "tls"},
    ),
    ({"exposure": INGRESS}, "global.publicUrl", "https://shop.example.com"),
    ({}, "services.recommendation", {"enabled": False}),
    ({"modules": {"recommendations": True}}, "services.recommendation.enabled", True),
    (
        {"exposure": GATEWAY},
        "services.gateway.httpRoute",
        {"enabled": True, "hostnames": ["a.example"], "gatewayRef": GATEWAY["gatewayRef"]},
    ),
    ({}, "global.discovery", "Service"),
    ({"discovery": "DNS"}, "global.discovery", "DNS"),
    ({}, "global.ipFamilyPolicy", ""),
    ({"ipFamilyPolicy": "PreferDualStack"}, "global.ipFamilyPolicy", "PreferDualStack"),
    ({"ipFamilies": ["IPv6"]}, "global.ipFamilies", ["IPv6"]),
    ({"networkPolicies": False}, "global.networkPolicies", {"enabled": False}),
    ({}, "global.networkPolicies", {"enabled": True}),
    ({"podDisruptionBudgets": False}, "global.podDisruptionBudgets", False),
    ({}, "global.podDisruptionBudgets", True),
    ({"backup": BACKUP}, "backup", {"enabled": True, **BACKUP}),
    ({"restoreFrom": RESTORE}, "restore", RESTORE),
    *OBSERVED,
]


def values_of(spec: Spec) -> Values:
    return values(shop_specs.shop(spec), optional=EVERY_KIND, version="0.1.0")


def at(tree: Any, path: str) -> Any:
    for step in path.split("."):
        tree = tree[int(step)] if isinstance(tree, list) else tree[step]
    return tree


@pytest.mark.parametrize(("spec", "path", "expected"), REACHES, ids=[f"{path} {spec}" for spec, path, _ in REACHES])
def test_a_field_reaches_its_value(spec: Spec, path: str, expected: Any) -> None:
    assert at(values_of(spec), path) == expected


def test_every_field_of_a_shop_has_a_value_or_is_the_operators_own() -> None:
    """A new field of the spec must be given a way to the objects, or stand here."""
    own = {"suspend", "deletionPolicy", "rollback", "progressDeadlineSeconds", "maintenanceWindow", "modules"}
    given_in_tests = {name for spec, _, _ in REACHES for name in spec}
    fields = {field.alias or name for name, field in ShopSpec.model_fields.items()}
    assert fields == own | given_in_tests


def test_without_backup_or_restore_there_is_no_value_of_them() -> None:
    assert not {"backup", "restore"} & set(values_of({}))


def test_the_operator_sets_where_the_images_are() -> None:
    images = Images("registry.example.com/shop", "Always", ("pull",))
    found = values(shop_specs.shop(), optional=EVERY_KIND, version="0.1.0", images=images)
    assert found["global"]["image"] == {
        "registry": "registry.example.com/shop",
        "tag": "0.1.0",
        "pullPolicy": "Always",
        "pullSecrets": ["pull"],
    }


async def test_images_of_a_registry_reach_every_pod_of_a_service() -> None:
    images = Images("registry.example.com/shop", "Always", ("pull",))
    own = Renderer(helm.helm(), find_charts(), "0.1.0", images=images)
    for obj in await own.render(shop_specs.shop(), NAMESPACE, "u", SEED, EVERY_KIND):
        if obj["kind"] == "Deployment":
            pod = obj["spec"]["template"]["spec"]
            assert pod["imagePullSecrets"] == [{"name": "pull"}]
            assert all(part["image"].startswith("registry.example.com/shop/shop-") for part in pod["containers"])


@pytest.mark.parametrize(
    ("given_resources", "expected"),
    [
        ({}, {}),
        # A limit below the default request takes the request along, and a request above the default limit the limit.
        ({"limits": {"cpu": "20m"}}, {"requests": {"cpu": "20m"}, "limits": {"cpu": "20m"}}),
        ({"limits": {"cpu": "2"}}, {"requests": {"cpu": "50m"}, "limits": {"cpu": "2"}}),
        ({"limits": {"memory": "64Mi"}}, {"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}}),
        ({"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}),
        ({"requests": {"memory": "64Mi"}}, {"requests": {"memory": "64Mi"}, "limits": {"memory": "256Mi"}}),
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "1"}}),
    ],
)
def test_defaults_give_way_to_what_a_shop_sets(given_resources: Spec, expected: Values) -> None:
    found = values_of({"services": {"order": {"resources": given_resources}}})["services"]["order"]
    assert found.get("resources", {}) == expected


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("250m", "0.25"), ("0.5", "0.5"), ("2", "2"), ("1k", "1000"), ("1Ki", "1024"), ("1.5Gi", "1610612736")],
)
def test_quantities_are_read_as_kubernetes_does(quantity: str, expected: str) -> None:
    assert amount(quantity) == Decimal(expected)


def chart_values(name: str) -> Any:
    return yaml.safe_load((helm.ROOT / "charts" / name / "values.yaml").read_text(encoding="utf-8"))


def test_the_defaults_are_those_of_the_chart() -> None:
    assert chart_values("service")["resources"] == DEFAULT_RESOURCES


def test_variables_from_secrets_are_those_of_the_chart() -> None:
    reserved = {"SHOP_DATABASE_URL", "SHOP_NATS_URL", "SHOP_VALKEY_URL", "SHOP_INTERNAL_TOKEN"}
    services = chart_values("shop")["services"]
    found = {noun: frozenset(given["secretEnv"]) - reserved for noun, given in services.items()}
    assert {noun: names for noun, names in found.items() if names} == dict(SECRET_ENV)


def test_services_are_those_of_the_chart() -> None:
    assert set(chart_values("shop")["services"]) == set(SERVICES)


@pytest.mark.parametrize(
    ("exposure", "url"),
    [
        ({"type": "None"}, "http://localhost:8080"),
        ({"type": "None", "host": "a.example"}, "http://localhost:8080"),
        ({"type": "Ingress", "host": "a.example"}, "http://a.example"),
        (INGRESS, "https://shop.example.com"),
        ({"type": "Gateway", "host": "a.example", "gatewayRef": {"name": "g"}}, "https://a.example"),
        (
            {"type": "Gateway", "host": "a.example", "gatewayRef": {"name": "g", "sectionName": "http"}},
            "http://a.example",
        ),
        (
            {"type": "Gateway", "host": "a.example", "gatewayRef": {"name": "g", "sectionName": "https"}},
            "https://a.example",
        ),
        (GATEWAY, "https://a.example"),
    ],
)
def test_the_public_url_is_the_exposures(exposure: Spec, url: str) -> None:
    assert public_url(shop_specs.shop({"exposure": exposure}).spec.exposure) == url


def expanded(text: str) -> str:
    """What a container gets: Kubernetes resolves $(NAME), here to nothing, and reads $$ as $."""
    return re.sub(r"\$(\$|\([^()]*\))", lambda found: "$" if found[1] == "$" else "", text)


@given(st.text(st.sampled_from("$()Ab "), max_size=12))
def test_a_variable_reaches_its_container_as_it_is_written(text: str) -> None:
    assert expanded(literal(text)) == text


def pods_of(objects: list[Object], kind: str) -> dict[str, Any]:
    return {obj["metadata"]["name"]: obj["spec"]["template"]["spec"] for obj in objects if obj["kind"] == kind}


async def test_special_characters_reach_the_container_unchanged() -> None:
    env = {f"TEXT_{number}": text for number, text in enumerate((*shop_specs.HARD_TEXTS, "", "\u2028\U0001f600"))}
    shop = shop_specs.shop({"services": {"order": {"env": env}}})
    objects = await renderer().render(shop, NAMESPACE, "u", SEED, EVERY_KIND)
    (container,) = pods_of(objects, "Deployment")["bookshop-order"]["containers"]
    found = {variable["name"]: variable["value"] for variable in container["env"] if variable["name"] in env}
    assert {name: expanded(text) for name, text in found.items()} == env


STORE: Spec = {
    "title": '{{ .Values }} "No": 1e3 $(HOME) $$ \U0001f600',
    "tagline": '{{ .Values }} "Yes"',
    "currency": "JPY",
    "country": "NO",
    "language": "no",
    "timeZone": "Europe/Oslo",
    "shipsTo": ["NO", "SE"],
    "shipping": {"flat": 10_000_000, "freeAbove": 1_000_000_000},
    "delivery": {"base": 10_000_000, "perKm": 0, "freeAbove": 0, "maxDistanceM": 100},
    "taxes": [*TAXES, {"country": "NO", "ratePercent": 19.625}, {"country": "FI", "ratePercent": 0}],
}


@pytest.mark.parametrize("food", [False, True], ids=["retail", "food"])
@pytest.mark.parametrize("store", [{}, STORE, {"shipping": {"freeAbove": 0}}], ids=["default", "hard", "free"])
async def test_a_laptop_and_a_cluster_give_services_the_same_store(store: Spec, food: bool) -> None:
    shop = shop_specs.shop({"store": {**store, "catalog": {"sample": "books"}}, "modules": {"food": food}})
    objects = await renderer().render(shop, NAMESPACE, "u", SEED, EVERY_KIND)
    given = {
        pod["containers"][0]["name"]: expanded(variable["value"])
        for kind in ("Deployment", "Job")
        for pod in pods_of(objects, kind).values()
        for variable in pod["containers"][0].get("env", [])
        if variable["name"] == "SHOP_STORE"
    }
    local = StoreSettings.model_validate_json(store_json(shop.spec))
    assert {StoreSettings.model_validate_json(text) for text in given.values()} == {local}
    assert ("delivery" in json.loads(store_json(shop.spec))) is food
    everywhere = {"product", "pricing", "order", "payment", "notification", "storefront", "catalogue"}
    assert given.keys() == everywhere | ({"restaurant", "delivery"} if food else set())


async def test_a_shops_own_variable_takes_the_place_of_a_secrets() -> None:
    shop = shop_specs.shop({"services": {"user": {"env": {"SHOP_ADMIN_PASSWORD": "mine"}}}})
    objects = await renderer().render(shop, NAMESPACE, "u", SEED, EVERY_KIND)
    (container,) = pods_of(objects, "Deployment")["bookshop-user"]["containers"]
    names = [variable["name"] for variable in container["env"]]
    assert len(names) == len(set(names))
    assert {"name": "SHOP_ADMIN_PASSWORD", "value": "mine"} in container["env"]


async def test_an_external_database_is_reached_through_one_secret_with_a_key_per_service() -> None:
    shop = shop_specs.shop(
        {"database": {"mode": "External", "secretName": "urls"}, "store": {"catalog": {"sample": "books"}}}
    )
    objects = await renderer().render(shop, NAMESPACE, "u", SEED, EVERY_KIND)
    assert "bookshop-postgres" not in pods_of(objects, "StatefulSet")
    jobs = {name.rpartition("-")[0]: pod for name, pod in pods_of(objects, "Job").items()}
    assert set(jobs) == {
        "bookshop-catalogue",
        *(f"bookshop-{noun}-migrate" for noun in shop_specs.DATABASES_BY_DEFAULT),
    }
    places = {**pods_of(objects, "Deployment"), **jobs}
    keys = {name: database_keys(pod) for name, pod in places.items()}
    nouns = shop_specs.DATABASES_BY_DEFAULT
    expected = {f"bookshop-{noun}{suffix}": {("urls", noun)} for noun in nouns for suffix in ("", "-migrate")}
    assert {name: found for name, found in keys.items() if found} == {
        **expected,
        "bookshop-catalogue": {("urls", "product")},
    }


def database_keys(pod: Any) -> set[tuple[str, str]]:
    """Secrets and keys from which the containers of a pod take their database."""
    variables = [v for part in (*pod.get("initContainers", ()), *pod["containers"]) for v in part.get("env", ())]
    found = [v["valueFrom"]["secretKeyRef"] for v in variables if v["name"] == "SHOP_DATABASE_URL"]
    return {(reference["name"], reference["key"]) for reference in found}
