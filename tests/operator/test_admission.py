"""The API server itself refuses an invalid Shop, with a sentence that names the field, and fills in every default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from shop.kit.countries import COUNTRIES
from shop.operator.kube.api_errors import ApiError
from shop.operator.kube.client import Kube, Request, path_of
from shop.operator.kube.kinds import SHOP
from shop.operator.kube.objects import Object
from shop.operator.resource.spec import ShopSpec
from shop.operator.services import SERVICES

Spec = dict[str, Any]
AS_KUBECTL = {"fieldValidation": "Strict", "fieldManager": "kubectl"}
NAME = "books"
SAMPLES = sorted((Path(__file__).parents[2] / "k8s" / "samples").glob("*.yaml"))


def shop(spec: Spec, name: str = NAME) -> Object:
    return {"apiVersion": SHOP.api_version, "kind": SHOP.kind, "metadata": {"name": name}, "spec": spec}


async def create(api: Kube, namespace: str, body: Object, **params: str) -> Object:
    """What `kubectl create` does; `dryRun="All"` leaves nothing behind."""
    request = Request("POST", path_of(SHOP, namespace), {**AS_KUBECTL, **params}, orjson.dumps(body), idempotent=False)
    created: Object = orjson.loads(await api.send(request))
    return created


async def refusal(api: Kube, namespace: str, body: Object) -> str:
    with pytest.raises(ApiError) as refused:
        await create(api, namespace, body, dryRun="All")
    assert 400 <= refused.value.status < 500, refused.value
    return refused.value.message


LONG = "a" * 64
DNS_LABEL = "must be lower-case letters, digits and hyphens, as in a DNS label, at most 63 characters"
DESTINATION = "must be pvc://CLAIM/path or s3://BUCKET/path"
GATEWAY = {"type": "Gateway", "host": "a.example.com", "gatewayRef": {"name": "public"}}
NIGHTLY = {"schedule": "0 3 * * *", "destination": "pvc://backups"}
# The spec, the field that the refusal names, and what it says about it.
INVALID: list[tuple[str, str, str]] = [
    ("stor: {}", "spec.stor", "unknown field"),
    ("store: {titel: Books}", "spec.store.titel", "unknown field"),
    ("services: {order: {replica: 2}}", "spec.services.order.replica", "unknown field"),
    ("store: {title: ''}", "spec.store.title", "should be at least 1 chars long"),
    ("store: {currency: EURO}", "spec.store.currency", "must be an ISO 4217 currency code such as EUR"),
    ("store: {currency: XXX}", "spec.store.currency", "must be an ISO 4217 currency code such as EUR"),
    ("store: {shipsTo: [DE, UK]}", "spec.store.shipsTo[1]", "must be a two-letter ISO 3166 country code such as DE"),
    ("store: {country: ZZ}", "spec.store.country", "must be a two-letter ISO 3166 country code such as DE"),
    ("store: {language: german}", "spec.store.language", "must be a language tag of BCP 47 such as en, de or pt-BR"),
    ("store: {timeZone: ../etc}", "spec.store.timeZone", "must be an IANA time zone such as Europe/Berlin"),
    ("store: {country: Germany}", "spec.store.country", "must be a two-letter ISO 3166 country code such as DE"),
    ("store: {taxes: {}}", "spec.store.taxes", "must be of type array"),
    ("store: {taxes: [{country: DE}]}", "spec.store.taxes[0].ratePercent", "Required value"),
    (
        "store: {taxes: [{country: DE, ratePercent: 101}]}",
        "spec.store.taxes[0].ratePercent",
        "less than or equal to 100",
    ),
    (
        "store: {taxes: [{country: DE, ratePercent: 7}, {country: D, ratePercent: 7}]}",
        "spec.store.taxes[1].country",
        "must be a two-letter ISO 3166 country code such as DE",
    ),
    (
        "store: {taxes: [{country: DE, category: Books!, ratePercent: 7}]}",
        "spec.store.taxes[0].category",
        "must be a category such as books, at most 40 characters",
    ),
    ("store: {shipping: {flat: -1}}", "spec.store.shipping.flat", "greater than or equal to 0"),
    ("store: {shipping: {flat: 4.90}}", "spec.store.shipping.flat", "must be of type integer"),
    ("store: {catalog: {}}", "spec.store.catalog", "give exactly one of sample and configMap"),
    (
        "store: {catalog: {sample: books, configMap: mine}}",
        "spec.store.catalog",
        "give exactly one of sample and configMap",
    ),
    ("store: {catalog: {sample: wine}}", "spec.store.catalog.sample", 'supported values: "books"'),
    ("store: {catalog: {configMap: My_Map}}", "spec.store.catalog.configMap", DNS_LABEL),
    ("modules: {retail: 1}", "spec.modules.retail", "must be of type boolean"),
    ("modules: {warehouse: true}", "spec.modules.warehouse", "unknown field"),
    ("version: '1.0 beta'", "spec.version", "must be an image tag such as 0.1.0, at most 128 characters"),
    ("services: {ordr: {}}", "spec.services", f"a service is one of {', '.join(SERVICES)}"),
    ("services: {warehouse: {}}", "spec.services", f"a service is one of {', '.join(SERVICES)}"),
    ("services: {order: {replicas: 0}}", "spec.services.order.replicas", "greater than or equal to 1"),
    ("services: {order: {replicas: '2'}}", "spec.services.order.replicas", "must be of type integer"),
    ("services: {order: {autoscaling: {}}}", "spec.services.order.autoscaling.maxReplicas", "Required value"),
    (
        "services: {order: {autoscaling: {minReplicas: 3, maxReplicas: 2}}}",
        "spec.services[order].autoscaling.maxReplicas",
        "maxReplicas must be at least minReplicas",
    ),
    (
        "services: {order: {autoscaling: {maxReplicas: 2, targetCPUUtilizationPercentage: 0}}}",
        "spec.services[order].autoscaling.targetRequestsPerSecond",
        "targetCPUUtilizationPercentage 0 needs targetRequestsPerSecond",
    ),
    ("observability: {scrapeIntervalSeconds: 60}", "spec.observability.scrapeIntervalSeconds", "less than or equal to"),
    (
        "observability: {scrapeFrom: {podLabels: {'a b': c}}}",
        "spec.observability.scrapeFrom.podLabels",
        "a label must be a name such as release",
    ),
    (
        "observability: {dashboardAnnotations: {'grafana folder': x}}",
        "spec.observability.dashboardAnnotations",
        "an annotation must be a name such as grafana_folder",
    ),
    ("services: {order: {logLevel: LOUD}}", "spec.services.order.logLevel", 'supported values: "DEBUG"'),
    ("services: {order: {image: 'Bad Image'}}", "spec.services[order].image", "must be an image such as registry."),
    ("services: {order: {env: {SHOP_STORE: x}}}", "spec.services[order].env", "env must not set SHOP_DATABASE_URL"),
    (
        "services: {payment: {env: {SHOP_PAYMENT_PROVIDER: stripe}}}",
        "spec.services",
        "services.payment.env.SHOP_PAYMENT_PROVIDER must be simulator, because the storefront takes test cards",
    ),
    (
        "services: {order: {env: {1A: x}}}",
        "spec.services[order].env",
        "a variable must be a name of letters, digits and underscores",
    ),
    (
        "services: {order: {resources: {limits: {cpu: lots}}}}",
        "spec.services[order].resources.limits.cpu",
        "must be a CPU quantity such as 250m or 0.5",
    ),
    (
        "services: {order: {resources: {requests: {memory: 1Gi}, limits: {memory: 512Mi}}}}",
        "spec.services[order].resources.requests.memory",
        "requests.memory must not be more than limits.memory",
    ),
    (
        "exposure: {trustedProxies: [everybody]}",
        "spec.exposure.trustedProxies[0]",
        "must be a network such as 10.0.0.0/8",
    ),
    (
        "observability: {labels: {'not a name': x}}",
        "spec.observability.labels",
        "a label must be a name such as release",
    ),
    (
        "observability: {labels: {release: 'two words'}}",
        "spec.observability.labels[release]",
        "must be a label's value, at most 63 letters, digits, -, _ or .",
    ),
    ("database: {mode: Extern}", "spec.database.mode", 'supported values: "Bundled", "CloudNativePG", "External"'),
    ("database: {mode: External}", "spec.database.secretName", "mode External needs secretName"),
    ("database: {instances: 3}", "spec.database.instances", "CloudNativePG runs several"),
    ("database: {storage: 5 gigs}", "spec.database.storage", "must be a quantity of bytes such as 256Mi or 10Gi"),
    ("database: {pooler: Transaction}", "spec.database.mode", "pooler and ca are for mode External"),
    ("database: {ca: {secretName: a}}", "spec.database.mode", "pooler and ca are for mode External"),
    ("database: {mode: External, secretName: s, ca: {}}", "spec.database.ca", "exactly one of secretName"),
    ("ipFamilies: [IPv4, IPv6]", "spec.ipFamilies", "names two, which needs ipFamilyPolicy PreferDualStack"),
    ("ipFamilies: [IPv4]\nipFamilyPolicy: Dual", "spec.ipFamilyPolicy", 'supported values: "SingleStack"'),
    ("ipFamilies: [IPv6, IPv6]\nipFamilyPolicy: PreferDualStack", "spec.ipFamilies", "the same family twice"),
    ("messaging: {mode: External}", "spec.messaging.secretName", "mode External needs secretName"),
    ("cache: {mode: External}", "spec.cache.secretName", "mode External needs secretName"),
    (f"cache: {{mode: External, secretName: {LONG}}}", "spec.cache.secretName", "may not be more than 63"),
    ("exposure: {type: Ingress}", "spec.exposure.host", "types Ingress and Gateway need host"),
    ("exposure: {type: Gateway, host: a.example.com}", "spec.exposure.gatewayRef", "type Gateway needs gatewayRef"),
    ("exposure: {type: Ingress, host: 'not a host'}", "spec.exposure.host", "must be a host name such as"),
    (
        yaml.safe_dump({"exposure": {**GATEWAY, "tlsSecretName": "tls"}}, default_flow_style=True),
        "spec.exposure.tlsSecretName",
        "tlsSecretName is for type Ingress",
    ),
    ("observability: {tracing: {endpoint: localhost}}", "spec.observability.tracing.endpoint", "must be an http:// or"),
    ("observability: {tracing: {sampleRatio: 2}}", "spec.observability.tracing.sampleRatio", "less than or equal to 1"),
    (
        "backup: {schedule: daily, destination: pvc://b}",
        "spec.backup.schedule",
        "must be a cron schedule with five fields",
    ),
    ("backup: {schedule: '61 * * * *', destination: pvc://b}", "spec.backup.schedule", "must be a cron schedule"),
    ("backup: {schedule: '0 3 * * *'}", "spec.backup.destination", "Required value"),
    ("backup: {schedule: '0 3 * * *', destination: /tmp}", "spec.backup.destination", DESTINATION),
    (
        "backup: {schedule: '0 3 * * *', destination: 's3://books/x'}",
        "spec.backup.secretName",
        "s3://… needs secretName",
    ),
    (
        yaml.safe_dump({"backup": {**NIGHTLY, "retention": 0}}, default_flow_style=True),
        "spec.backup.retention",
        "greater than or equal to 1",
    ),
    ("restoreFrom: {source: /tmp}", "spec.restoreFrom.source", DESTINATION),
    ("restoreFrom: {source: 's3://books/x'}", "spec.restoreFrom.secretName", "s3://… needs secretName"),
    ("rollback: Never", "spec.rollback", 'supported values: "Automatic", "Manual"'),
    ("progressDeadlineSeconds: 5", "spec.progressDeadlineSeconds", "greater than or equal to 60"),
    ("deletionPolicy: Keep", "spec.deletionPolicy", 'supported values: "Delete", "Retain"'),
]


@pytest.mark.parametrize(("spec", "field", "sentence"), INVALID, ids=[spec[:60] for spec, _, _ in INVALID])
async def test_an_invalid_shop_is_refused_with_its_field(
    api: Kube, namespace: str, spec: str, field: str, sentence: str
) -> None:
    message = await refusal(api, namespace, shop(yaml.safe_load(spec)))
    assert field in message
    assert sentence in message


@pytest.mark.parametrize("name", ["Books", "7books", "a.b", "a" * 41])
async def test_a_name_that_its_objects_could_not_begin_with_is_refused(api: Kube, namespace: str, name: str) -> None:
    assert "name" in await refusal(api, namespace, shop({}, name))


async def test_a_long_name_is_refused_with_its_reason(api: Kube, namespace: str) -> None:
    message = await refusal(api, namespace, shop({}, "a" * 41))
    assert (
        "metadata.name must be lower-case letters, digits and hyphens, beginning with a letter, at most 40" in message
    )


# What the Shop is at first, the change, the field, and what is said about it.
CHANGES: list[tuple[str, str, str, str]] = [
    ("store: {currency: EUR}", "store: {currency: USD}", "spec.store.currency", "currency cannot change"),
    ("ipFamilies: [IPv4]", "ipFamilies: [IPv6]", "spec.ipFamilies", "the first of ipFamilies cannot change"),
    (
        "database: {mode: Bundled}",
        "database: {mode: External, secretName: s}",
        "spec.database.mode",
        "mode cannot change: data does not move by itself",
    ),
    (
        "database: {storage: 5Gi}",
        "database: {storage: 10Gi}",
        "spec.database.storage",
        "storage of a Bundled store cannot change",
    ),
    ("messaging: {storage: 5Gi}", "messaging: {storage: 4Gi}", "spec.messaging.storage", "storage of a Bundled store"),
    ("cache: {storage: 5Gi}", "cache: {storage: 6Gi}", "spec.cache.storage", "storage of a Bundled store"),
    (
        "database: {mode: CloudNativePG, storage: 1Ti}",
        "database: {storage: 900Gi}",
        "spec.database.storage",
        "storage cannot shrink",
    ),
    ("{}", "restoreFrom: {source: pvc://backups}", "spec.restoreFrom", "restoreFrom cannot be added or changed"),
    (
        "restoreFrom: {source: pvc://backups}",
        "restoreFrom: {source: pvc://others}",
        "spec.restoreFrom",
        "restoreFrom cannot be added or changed",
    ),
]


@pytest.mark.parametrize(("first", "change", "field", "sentence"), CHANGES, ids=[change for _, change, _, _ in CHANGES])
async def test_what_cannot_change_is_refused(
    api: Kube, namespace: str, first: str, change: str, field: str, sentence: str
) -> None:
    await create(api, namespace, shop(yaml.safe_load(first)))
    with pytest.raises(ApiError) as refused:
        await api.patch(SHOP, namespace, NAME, {"spec": yaml.safe_load(change)})
    assert refused.value.status == 422
    assert f"{field}: Forbidden: {sentence}" in refused.value.message


ALLOWED = [
    ("database: {mode: CloudNativePG, storage: 900Gi}", "database: {storage: 1Ti, instances: 3}"),
    ("messaging: {mode: Bundled}", "messaging: {mode: External, secretName: nats}"),
    ("restoreFrom: {source: pvc://backups}", "restoreFrom: null"),
    ("{}", "backup: {schedule: '*/15 2-4 1,15 * 1-5', destination: pvc://backups/books}"),
    ("deletionPolicy: Delete", "deletionPolicy: Retain"),
]


@pytest.mark.parametrize(("first", "change"), ALLOWED, ids=[change for _, change in ALLOWED])
async def test_what_may_change_is_taken(api: Kube, namespace: str, first: str, change: str) -> None:
    await create(api, namespace, shop(yaml.safe_load(first)))
    changed = await api.patch(SHOP, namespace, NAME, {"spec": yaml.safe_load(change)})
    assert changed["metadata"]["generation"] == 2


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
async def test_a_sample_is_taken(api: Kube, namespace: str, sample: Path) -> None:
    body = yaml.safe_load(sample.read_text(encoding="utf-8"))
    created = await create(api, namespace, body, dryRun="All")
    assert set(created["spec"]) >= {*body["spec"], *ShopSpec().model_dump(by_alias=True, exclude_none=True)}


async def test_defaults_are_put_in(api: Kube, namespace: str) -> None:
    created = await create(api, namespace, {**shop({}), "spec": {}})
    assert created["spec"] == ShopSpec().model_dump(mode="json", by_alias=True, exclude_none=True)


async def test_a_shop_without_a_spec_gets_a_whole_one(api: Kube, namespace: str) -> None:
    bare = shop({})
    del bare["spec"]
    assert (await create(api, namespace, bare))["spec"]["store"]["currency"] == "EUR"


async def test_defaults_inside_what_is_given_are_put_in(api: Kube, namespace: str) -> None:
    spec = yaml.safe_load("{services: {order: {autoscaling: {maxReplicas: 3}}}, backup: {schedule: '0 3 * * *', "
                          "destination: pvc://backups}}")  # fmt: skip
    created = (await create(api, namespace, shop(spec)))["spec"]
    scaling = {"minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 70}
    assert created["services"]["order"] == {"replicas": 1, "logLevel": "INFO", "env": {}, "autoscaling": scaling}
    assert created["backup"]["retention"] == 7


async def test_the_most_that_a_shop_may_hold_is_within_the_rules_budget(api: Kube, namespace: str) -> None:
    countries = sorted(COUNTRIES)
    taxed = [(country, category * 40) for category in "abc" for country in countries][:500]
    env = {f"NAME_{number}": "x" * 200 for number in range(64)}
    spec = {
        "store": {
            "shipsTo": countries,
            "taxes": [{"country": country, "category": category, "ratePercent": 7} for country, category in taxed],
        },
        "services": {noun: {"env": env, "image": "a" * 300} for noun in ("order", "product", "gateway", "payment")},
    }
    created = await create(api, namespace, shop(spec), dryRun="All")
    assert len(created["spec"]["store"]["taxes"]) == 500


async def test_status_is_written_apart_from_the_spec(api: Kube, namespace: str) -> None:
    await create(api, namespace, shop({}))
    status = {"status": {"url": "http://books.example.com"}, "spec": {"suspend": True}}
    written = await api.patch(SHOP, namespace, NAME, status, subresource="status")
    assert written["status"]["url"] == "http://books.example.com"
    assert written["spec"]["suspend"] is False
