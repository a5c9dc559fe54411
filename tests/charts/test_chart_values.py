"""Values: helm lint, error messages of refused values, generated documents and golden renders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop.devkit import manifest
from shop.kit.countries import COUNTRIES
from shop.kit.currencies import EXPONENTS
from shop.operator.services import SERVICES, WITH_DATABASE
from tests.charts import described, generate, helm
from tests.charts.rendering import CHARTS, PRESETS, Refused, golden_text, template

NAMES = generate.NAMES
EXTERNAL = "database.mode=External,database.external.host=db.example,global.secrets.postgres=admin"

# Chart, a --set argument, and a part of the error message: the path of the value, or a sentence.
REFUSED = [
    (
        "shop",
        "services.product.replica=2",
        "shop:\n- at '/services/product': additional properties 'replica' not allowed",
    ),
    ("shop", "services.product.replicas=two", "'/services/product/replicas': got string, want integer"),
    (
        "shop",
        "services.order.autoscaling.maxReplica=3",
        "'/services/order/autoscaling': additional properties 'maxReplica'",
    ),
    (
        "shop",
        "services.order.autoscaling.maxReplicas=0",
        "'/services/order/autoscaling/maxReplicas': minimum: got 0, want 1",
    ),
    (
        "shop",
        "services.user.resources.requests.cpu=plenty",
        "'/services/user/resources/requests/cpu': 'plenty' does not match",
    ),
    ("shop", "services.user.resources.limit.cpu=1", "'/services/user/resources': additional properties 'limit'"),
    (
        "shop",
        "services.gateway.logLevel=debug",
        "'/services/gateway/logLevel': value must be one of 'DEBUG', 'INFO', 'WARNING'",
    ),
    (
        "shop",
        "services.gateway.service.type=Cluster",
        "'/services/gateway/service/type': value must be one of 'ClusterIP'",
    ),
    ("shop", "services.payment.config.shop_url=x", "'/services/payment/config': additional properties 'shop_url'"),
    (
        "shop",
        "services.payment.secretEnv.SHOP_STRIPE_API_KEY=sk_live",
        "'/services/payment/secretEnv/SHOP_STRIPE_API_KEY'",
    ),
    ("shop", "services.ordr.replicas=2", "shop:\n- at '/services': additional properties 'ordr' not allowed"),
    ("shop", "services.order.noun=orders", "shop:\n- at '/services/order': additional properties 'noun' not allowed"),
    ("shop", "serviceDefaults.replica=2", "serviceDefaults:\n- at '': additional properties 'replica' not allowed"),
    # The former place of the values of services.
    (
        "shop",
        "order.replicas=2",
        "order.replicas has moved: the values of services are under services now, this one is services.order.replicas",
    ),
    ("shop", "gateway.ingress.enabled=true", "this one is services.gateway.ingress"),
    ("shop", "global.store.currency=euro", "shop:\n- at '/global/store/currency': value must be one of 'AED'"),
    ("shop", "global.store.country=UK", "shop:\n- at '/global/store/country': value must be one of 'AD'"),
    ("shop", "global.store.shipsTo={DE,ZZ}", "'/global/store/shipsTo/1': value must be one of 'AD'"),
    ("shop", "global.store.colour=red", "'/global/store': additional properties 'colour'"),
    ("shop", "global.store.taxes[0].country=DE", "'/global/store/taxes/0': missing property 'ratePercent'"),
    ("shop", "global.store.shipping.flat=4.9", "'/global/store/shipping/flat': got string, want integer"),
    ("shop", "global.image.pullPolicy=always", "'/global/image/pullPolicy': value must be one of"),
    ("shop", "global.secrets.database.orders=x", "'/global/secrets/database': additional properties 'orders'"),
    ("shop", "global.serviceMonitors=true", "'/global/serviceMonitors': value must be one of"),
    ("shop", "database.mode=Builtin", "'/database/mode': value must be one of 'Bundled', 'CloudNativePG', 'External'"),
    ("shop", "database.storage=5Gigs", "'/database/storage': '5Gigs' does not match"),
    ("shop", "messaging.enabled=false", "'/messaging': additional properties 'enabled'"),
    ("shop", "catalog.sample=films", "'/catalog/sample': value must be one of 'books', ''"),
    ("shop", "recommendation.enabled=true", "additional properties 'recommendation'"),
    ("service", "probes.readiness.path=/", "'/probes/readiness': additional properties 'path'"),
    ("service", "shutdown.drainSeconds=0", "'/shutdown/drainSeconds': minimum: got 0, want 1"),
    ("shop-operator", "replicas=9", "'/replicas': maximum: got 9, want 3"),
    # Checks that a schema cannot express.
    (
        "shop",
        "global.image.registry=",
        "global.image.registry is not set: name the registry that `make images push`",
    ),
    ("shop-operator", "image.registry=", "image.registry is not set: name the registry that `make images push` filled"),
    ("shop", "messaging.mode=External", "messaging.mode External needs global.secrets.nats"),
    ("shop", "cache.mode=External", "cache.mode External needs global.secrets.valkey"),
    ("shop", "database.mode=External", f"needs database.external.host, or global.secrets.database.{WITH_DATABASE[0]}"),
    (
        "shop",
        f"{EXTERNAL},database.external.sslmode=verify-full",
        "database.external.sslmode verify-full needs global.database.ca.secretName or configMapName",
    ),
    (
        "shop",
        f"{EXTERNAL},global.database.pooler=Transaction",
        "global.database.pooler Transaction needs database.external.pooler.host",
    ),
    (
        "shop",
        "global.database.pooler=Transaction",
        "global.database.pooler Transaction and global.database.ca are for database.mode External, not Bundled",
    ),
    (
        "shop",
        f"{EXTERNAL},global.database.ca.secretName=a,global.database.ca.configMapName=b",
        "global.database.ca takes secretName or configMapName, not both",
    ),
    ("shop", "global.ipFamilies={IPv5}", "'/global/ipFamilies/0': value must be one of 'IPv4', 'IPv6'"),
    ("shop", "global.ipFamilyPolicy=Dual", "'/global/ipFamilyPolicy': value must be one of"),
    (
        "shop",
        "global.ipFamilies={IPv4,IPv6}",
        "global.ipFamilies names IPv4 and IPv6, which needs global.ipFamilyPolicy PreferDualStack or RequireDualStack",
    ),
    ("shop", "database.instances=3", "database.instances is 3, but mode Bundled has one"),
    (
        "shop",
        "services.payment.config.SHOP_PAYMENT_PROVIDER=stripe",
        "but the storefront takes test cards and no real ones yet",
    ),
    (
        "shop",
        "services.storefront.enabled=false,services.payment.config.SHOP_PAYMENT_PROVIDER=stripe,global.store.currency=KWD",
        "global.store.currency is KWD, of which Stripe cannot charge every amount",
    ),
    ("shop", "catalog.configMap=mine", "catalog takes sample or configMap, not both"),
    (
        "shop",
        "services.gateway.ingress.enabled=true",
        "services.gateway.ingress.enabled needs services.gateway.ingress.host",
    ),
    ("shop", "services.gateway.httpRoute.enabled=true", "needs services.gateway.httpRoute.gatewayRef.name"),
    ("shop", "services.order.podDisruptionBudget.minAvailable=1", "takes minAvailable or maxUnavailable, not both"),
    (
        "shop",
        "services.order.config.SHOP_DATABASE_URL=x",
        "services.order.secretEnv.SHOP_DATABASE_URL is also in services.order.config",
    ),
    ("service", "migrations.enabled=true", "migrations.enabled needs secretEnv.SHOP_DATABASE_URL"),
    ("service", "autoscaling.enabled=true,autoscaling.minReplicas=20", "maxReplicas (10) must be at least minReplicas"),
    ("service", "autoscaling.enabled=true,autoscaling.targetCPUUtilizationPercentage=0", "autoscaling needs target"),
]


def test_the_chart_knows_the_currencies_and_countries_of_the_services() -> None:
    schema = json.loads((CHARTS / "shop" / "values.schema.json").read_text(encoding="utf-8"))
    store = schema["properties"]["global"]["properties"]["store"]["properties"]
    assert store["currency"]["enum"] == sorted(EXPONENTS)
    assert schema["definitions"]["country"]["enum"] == sorted(COUNTRIES)


@pytest.mark.parametrize(("chart", "given", "expected"), REFUSED, ids=[given for _, given, _ in REFUSED])
def test_a_wrong_value_is_refused_by_its_name(chart: str, given: str, expected: str) -> None:
    with pytest.raises(Refused) as refusal:
        template(chart, "--set", given)
    assert expected in str(refusal.value)


@pytest.mark.parametrize("name", PRESETS)
def test_helm_lint_passes(name: str) -> None:
    chart, arguments = PRESETS[name]
    done = helm.run("lint", "--strict", f"charts/{chart}", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", generate.DOCUMENTS, ids=lambda path: path.relative_to(CHARTS).as_posix())
def test_generated_documents_are_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generate.DOCUMENTS[path](), (
        "python -m tests.charts.generate puts this right"
    )


@pytest.mark.parametrize("name", PRESETS)
def test_renders_match_the_golden_files(name: str) -> None:
    golden = (generate.GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")
    assert golden_text(name) == golden, "python -m tests.charts.generate accepts the change"


def test_a_description_of_several_lines_is_whole(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("# of the file\nkey:\n  # -- One,\n  # two.\n  inner: 1\n  other: 2\n")
    assert described.values(tmp_path) == [described.Value("key.inner", "One, two.", 1)]


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_described(name: str) -> None:
    missing = described.undescribed(CHARTS / name)
    assert [path for path in missing if path.partition(".")[0] != "services"] == []


def _objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield path, schema
        for name, part in schema.items():
            yield from _objects(part, f"{path}/{name}")


@pytest.mark.parametrize("name", NAMES)
def test_every_object_of_a_schema_refuses_unknown_fields(name: str) -> None:
    schema = json.loads((CHARTS / name / "values.schema.json").read_text(encoding="utf-8"))
    open_ones = [path for path, found in _objects(schema) if found.get("additionalProperties") is not False]
    assert open_ones == []


def test_versions_are_in_step() -> None:
    project = re.search(r'^version = "(.+)"', (helm.ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert project
    for name in NAMES:
        chart = yaml.safe_load((CHARTS / name / "Chart.yaml").read_text(encoding="utf-8"))
        assert (chart["version"], chart["appVersion"]) == (project[1], project[1]), name
        assert {dependency["version"] for dependency in chart.get("dependencies", [])} <= {project[1]}


def test_every_service_of_the_project_is_in_the_shop() -> None:
    shop = yaml.safe_load((CHARTS / "shop" / "values.yaml").read_text(encoding="utf-8"))
    assert set(shop["services"]) == set(SERVICES)
    assert set(manifest.read(helm.ROOT)) == set(SERVICES)
