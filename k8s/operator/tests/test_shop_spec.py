"""A Shop that is wrong is refused with a sentence that names the place; a right one gets real defaults."""

from decimal import Decimal
from pathlib import Path

import pytest

from shop.contracts.store import StoreSettings
from shop.operator.local import instances
from shop.operator.local.data_dir import DataDir
from shop.operator.program import shopctl
from shop.operator.resource import shopfile
from shop.operator.resource.shopfile import InvalidShop
from shop.operator.resource.spec import Shop, ShopSpec
from shop.operator.services import SERVICES

SAMPLES = Path(__file__).parents[2] / "samples"
COMMAND = DataDir(Path("/my shop")).command
HEAD = "apiVersion: shops.shopkeeper.dev/v1alpha1\nkind: Shop\nmetadata: {name: demo}\n"


def parse(text: str) -> Shop:
    return shopfile.parse(text.encode(), "shop.yaml")


def spec_of(spec: str) -> ShopSpec:
    return parse(f"{HEAD}spec:\n  {spec}\n").spec


INVALID_SPECS = [
    ("store: {currency: EURO}", "spec.store.currency: must be an ISO 4217 currency code such as EUR, not 'EURO'"),
    ("store: {currency: XXX}", "spec.store.currency: must be an ISO 4217 currency code such as EUR, not 'XXX'"),
    (
        "store: {shipsTo: [DE, UK]}",
        "spec.store.shipsTo[1]: must be a two-letter ISO 3166 country code such as DE, not 'UK'",
    ),
    ("store: {country: de}", "spec.store.country: must be a two-letter ISO 3166 country code such as DE, not 'de'"),
    ("store: {language: german}", "spec.store.language: must be a language tag of BCP 47 such as en, de or pt-BR"),
    ("store: {language: xq}", "spec.store.language: xq is no language that CLDR knows, such as en, de or pt-BR"),
    ("store: {timeZone: ../etc}", "spec.store.timeZone: must be an IANA time zone such as Europe/Berlin"),
    ("store: {timeZone: Europe/Bonn}", "spec.store.timeZone: Europe/Bonn is no IANA time zone such as Europe/Berlin"),
    ("store: {country: Germany}", "spec.store.country: must be a two-letter ISO 3166 country code such as DE"),
    ("store: {country: NO}", "spec.store.country: must be text; write it in quotes"),
    ("store: {title: ''}", "spec.store.title: must not be empty"),
    ("store: {titel: Books}", "spec.store.titel: unknown field; did you mean title?"),
    ("store: 7", "spec.store: must be a mapping of fields, not 7"),
    ("stor: {}", "spec.stor: unknown field; did you mean store?"),
    ("store: {taxes: {}}", "spec.store.taxes: must be a list"),
    ("store: {taxes: [{country: DE}]}", "spec.store.taxes[0].ratePercent: is required"),
    ("store: {taxes: [{country: DE, ratePercent: 101}]}", "spec.store.taxes[0].ratePercent: must be at most 100"),
    ("store: {taxes: [{country: DE, ratePercent: true}]}", "spec.store.taxes[0].ratePercent: must be a number"),
    ("store: {taxes: [{country: DE, ratePercent: 1}, 3]}", "spec.store.taxes[1]: must be a mapping of fields, not 3"),
    (
        "store: {taxes: [{country: DE, ratePercent: 7}, {country: DE, ratePercent: 19}]}",
        "spec.store: taxes[1] gives DE general a second rate",
    ),
    ("store: {shipping: {flat: -1}}", "spec.store.shipping.flat: must be at least 0, not -1"),
    ("store: {shipping: {flat: 4.90}}", "spec.store.shipping.flat: must be a whole number, not 4.9"),
    ("store: {catalog: {}}", "spec.store.catalog: give exactly one of sample and configMap"),
    ("store: {catalog: {sample: wine}}", "spec.store.catalog.sample: must be books, not 'wine'"),
    ("services: {ordr: {}}", f"spec.services.ordr: must be {SERVICES[0]}, {SERVICES[1]}, "),
    ("services: {order: {replicas: 0}}", "spec.services.order.replicas: must be at least 1, not 0"),
    ("services: {order: {replicas: '2'}}", "spec.services.order.replicas: must be a whole number, not '2'"),
    ("services: {order: {logLevel: LOUD}}", "spec.services.order.logLevel: must be DEBUG, INFO, WARNING or ERROR"),
    (
        "services: {payment: {env: {SHOP_PAYMENT_PROVIDER: stripe}}}",
        "spec.services: payment.env.SHOP_PAYMENT_PROVIDER must be simulator",
    ),
    ("services: {order: {env: {SHOP_STORE: x}}}", "spec.services.order: env must not set SHOP_STORE"),
    ("services: {order: {env: {1A: x}}}", "spec.services.order.env.1A: must be a name of letters"),
    ("services: {order: {image: 'Bad Image'}}", "spec.services.order.image: must be an image such as"),
    (
        "services: {order: {autoscaling: {minReplicas: 3, maxReplicas: 2}}}",
        "spec.services.order.autoscaling: maxReplicas (2) must be at least minReplicas (3)",
    ),
    (
        "services: {order: {resources: {limits: {cpu: lots}}}}",
        "spec.services.order.resources.limits.cpu: must be a CPU quantity such as 250m or 0.5, not 'lots'",
    ),
    ("database: {mode: Extern}", "spec.database.mode: must be Bundled, CloudNativePG or External, not 'Extern'"),
    ("database: {mode: External}", "spec.database: mode External needs secretName"),
    ("database: {instances: 3}", "spec.database: mode Bundled has one instance"),
    ("database: {pooler: Transaction}", "spec.database: pooler and ca are for mode External"),
    ("database: {mode: CloudNativePG, ca: {secretName: a}}", "spec.database: pooler and ca are for mode External"),
    (
        "database: {mode: External, secretName: s, ca: {secretName: a, configMap: b}}",
        "spec.database.ca: give exactly one of secretName and configMap",
    ),
    (
        "database: {mode: External, secretName: s, ca: {secretName: a, key: 'a b'}}",
        "spec.database.ca.key: must be a key such as ca.crt",
    ),
    ("ipFamilies: [IPv4, IPv6]", "spec.ipFamilies: names two, which needs ipFamilyPolicy PreferDualStack or"),
    (
        "ipFamilies: [IPv4, IPv4]\n  ipFamilyPolicy: RequireDualStack",
        "spec.ipFamilies: names the same family twice",
    ),
    ("ipFamilies: [IPv5]", "spec.ipFamilies[0]: must be IPv4 or IPv6, not 'IPv5'"),
    ("messaging: {mode: External}", "spec.messaging: mode External needs secretName"),
    ("cache: {storage: 5 gigs}", "spec.cache.storage: must be a quantity of bytes such as 256Mi or 10Gi"),
    ("exposure: {type: Ingress}", "spec.exposure: type Ingress needs host"),
    ("exposure: {type: Gateway, host: a.example.com}", "spec.exposure: type Gateway needs gatewayRef"),
    ("exposure: {type: Ingress, host: 'not a host'}", "spec.exposure.host: must be a host name such as"),
    ("observability: {tracing: {endpoint: localhost}}", "spec.observability.tracing.endpoint: must be an http:// or"),
    (
        "observability: {scrapeIntervalSeconds: 60}",
        "spec.observability.scrapeIntervalSeconds: must be at most 30, not 60",
    ),
    (
        "observability: {scrapeFrom: {namespaceLabels: {'a b': c}}}",
        "spec.observability.scrapeFrom.namespaceLabels.a b: must be a name such as release",
    ),
    (
        "observability: {dashboardLabels: {grafana: 'a b'}}",
        "spec.observability.dashboardLabels.grafana: must be a label's value",
    ),
    (
        "observability: {dashboardAnnotations: {'grafana folder': x}}",
        "spec.observability.dashboardAnnotations.grafana folder: must be a name such as grafana_folder",
    ),
    (
        "services: {order: {autoscaling: {maxReplicas: 2, targetCPUUtilizationPercentage: 0}}}",
        "spec.services.order.autoscaling: targetCPUUtilizationPercentage 0 needs targetRequestsPerSecond",
    ),
    ("observability: {tracing: {sampleRatio: 2}}", "spec.observability.tracing.sampleRatio: must be at most 1"),
    ("networkPolicies: maybe", "spec.networkPolicies: must be true or false, not 'maybe'"),
    ("backup: {schedule: daily, destination: 's3://b/x'}", "spec.backup.schedule: must be a cron schedule with five"),
    ("backup: {schedule: '61 * * * *', destination: 's3://b'}", "spec.backup.schedule: must be a cron schedule"),
    ("backup: {schedule: '0 3 * * *', destination: /tmp}", "spec.backup.destination: must be pvc://CLAIM/path or"),
    ("backup: {schedule: '30-10 3 * * *', destination: pvc://b}", "spec.backup.schedule: must be a cron schedule"),
    (
        "backup: {schedule: '0 3 * * *', destination: 's3://books/x'}",
        "spec.backup: destination s3://… needs secretName",
    ),
    ("restoreFrom: {source: 's3://books/x/1'}", "spec.restoreFrom: source s3://… needs secretName"),
    ("restoreFrom: {source: /tmp}", "spec.restoreFrom.source: must be pvc://CLAIM/path or s3://BUCKET/path"),
    ("rollback: Never", "spec.rollback: must be Automatic or Manual, not 'Never'"),
    ("progressDeadlineSeconds: 5", "spec.progressDeadlineSeconds: must be at least 60, not 5"),
    ("exposure: {type: Ingress, host: '*.example.com'}", "spec.exposure.host: must be a host name such as"),
    (
        "exposure: {type: Gateway, host: a.example.com, gatewayRef: {name: g}, tlsSecretName: tls}",
        "spec.exposure: tlsSecretName is for type Ingress",
    ),
    ("database: {storage: 5K}", "spec.database.storage: must be a quantity of bytes such as 256Mi or 10Gi"),
    ("deletionPolicy: Keep", "spec.deletionPolicy: must be Delete or Retain, not 'Keep'"),
    ("version: 1.0", "spec.version: must be text, not 1.0"),
    ("modules: {retail: 1}", "spec.modules.retail: must be true or false, not 1"),
    ("modules: {wholesale: true}", "spec.modules.wholesale: "),
    ("services: {warehouse: {}}", f"spec.services.warehouse: must be {SERVICES[0]}, {SERVICES[1]}, "),
]


@pytest.mark.parametrize(
    ("spec", "message"), INVALID_SPECS, ids=[message.split(": ")[0] for _, message in INVALID_SPECS]
)
def test_an_invalid_field_is_named_with_its_line(spec: str, message: str) -> None:
    with pytest.raises(InvalidShop) as refused:
        spec_of(spec)
    assert any(problem.startswith(f"shop.yaml:5: {message}") for problem in refused.value.problems)


INVALID_DOCUMENTS = [
    ("", "shop.yaml: holds no Shop"),
    ("- a\n", "shop.yaml: holds no Shop"),
    ("a: [1\n", "shop.yaml:2: is not valid YAML: "),
    ("a: 1\n\tb: 2\n", "shop.yaml:2: is not valid YAML: "),
    ("kind: Shop\nkind: Shop\n", "shop.yaml:2: the key 'kind' is written twice"),
    (f"{HEAD}---\n{HEAD}", "shop.yaml:4: holds a second document"),
    ("kind: Shop\n", "shop.yaml:1: apiVersion: is required"),
    (HEAD.replace("v1alpha1", "v9"), "shop.yaml:1: apiVersion: must be shops.shopkeeper.dev/v1alpha1"),
    (HEAD.replace("kind: Shop", "kind: Pod"), "shop.yaml:2: kind: must be Shop, not 'Pod'"),
    (HEAD.replace("demo", "My_Shop"), "shop.yaml:3: metadata.name: must be lower-case letters, digits and hyphens"),
    (HEAD.replace("{name: demo}", "{}"), "shop.yaml:3: metadata.name: is required"),
    (HEAD + "spec:\n  store:\n    title: a\n    title: b\n", "shop.yaml:7: the key 'title' is written twice"),
    (HEAD + "spec: !!python/object:os.system {}\n", "shop.yaml:4: is not valid YAML: could not determine a constr"),
    (HEAD + "? [a]\n: 1\n", "shop.yaml: is not valid YAML: unhashable type"),
]


@pytest.mark.parametrize(("text", "message"), INVALID_DOCUMENTS)
def test_an_invalid_document_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidShop) as refused:
        parse(text)
    assert any(problem.startswith(message) for problem in refused.value.problems), refused.value.problems


def test_a_document_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InvalidShop, match=r"shop.yaml: is not UTF-8 \(byte 4\)"):
        shopfile.parse(b"ab: \xff", "shop.yaml")


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InvalidShop) as refused:
        spec_of("store: {currency: no, country: x, title: ''}")
    assert len(refused.value.problems) == 3


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidShop, match=r"nowhere.yaml: No such file or directory"):
        shopfile.load(tmp_path / "nowhere.yaml")


def test_a_shop_without_a_spec_has_working_defaults() -> None:
    spec = parse(HEAD).spec
    assert (spec.store.currency, spec.modules.retail, spec.database.mode) == ("EUR", True, "Bundled")
    assert spec.service("order").replicas == 1
    assert instances.ignored(spec, COMMAND) == []


def test_what_kubectl_adds_to_a_shop_is_let_through() -> None:
    shop = parse(HEAD.replace("{name: demo}", "{name: demo, uid: 1, generation: 3}") + "status: {url: x}\n")
    assert shop.metadata.name == "demo"


def test_the_bookshop_sample_sells_books_in_europe() -> None:
    store = shopfile.load(SAMPLES / "bookshop.yaml").spec.store
    rates = {(tax.country, tax.category): tax.rate_percent for tax in store.taxes}
    assert rates["DE", None] == Decimal(7)
    assert rates["DE", "stationery"] == Decimal(19)
    assert len({tax.country for tax in store.taxes}) >= 10
    assert store.catalog is not None
    assert store.catalog.sample == "books"


def test_defaults_that_an_earlier_definition_wrote_are_taken() -> None:
    """It had modules that were not built; the API server stored their defaults."""
    stored = {"retail": True, "food": False, "arcade": False, "recommendations": False}
    assert ShopSpec.model_validate({"modules": stored}) == ShopSpec()


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sample_is_valid_and_services_can_read_its_store(sample: Path) -> None:
    spec = shopfile.load(sample).spec
    settings = StoreSettings.model_validate_json(instances.store_json(spec))
    assert settings.title == spec.store.title
    assert len(settings.taxes) == len(spec.store.taxes)
    assert settings.shipping.free_above == spec.store.shipping.free_above


def test_fields_for_clusters_only_are_reported_once_each() -> None:
    spec = spec_of(
        "{exposure: {type: Ingress, host: a.example.com}, networkPolicies: false,"
        " observability: {rules: true}, services: {order: {autoscaling: {maxReplicas: 3}}}}"
    )
    assert instances.ignored(spec, COMMAND) == [
        "ignored locally: spec.exposure (needs a cluster)",
        "ignored locally: spec.observability.rules (needs a cluster)",
        "ignored locally: spec.networkPolicies (needs a cluster)",
        "ignored locally: spec.services.order.autoscaling (needs a cluster)",
    ]


def test_advised_commands_name_this_shop() -> None:
    spec = spec_of("{deletionPolicy: Retain, backup: {schedule: 15 3 * * *, destination: 'pvc://backups/shop'}}")
    backup, deletion = instances.ignored(spec, COMMAND)
    assert backup.endswith(f"here `{shopctl()} backup --to FOLDER --data-dir '/my shop'` makes one)")
    assert deletion.endswith(f"here `{shopctl()} down --delete-data --data-dir '/my shop'` deletes)")
