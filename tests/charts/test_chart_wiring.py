"""How the shop's services are connected: network policies, settings, addresses and Secrets."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from shop.contracts.store import StoreSettings
from shop.devkit import manifest
from shop.gateway.settings import Settings as GatewaySettings
from shop.kit.settings import ServiceSettings
from shop.operator.services import SERVICES, WITH_DATABASE
from tests.architecture.source import ROOT
from tests.charts.rendering import (
    CHARTS,
    MONITORING,
    PRESETS,
    RELEASE,
    Object,
    PodSpec,
    kind,
    matches,
    named,
    pods,
    preset,
    template,
    title,
    variables,
)

MANIFESTS = manifest.read(ROOT)
SHOPS = [name for name, (chart, _) in PRESETS.items() if chart == "shop"]
BUNDLED = [name for name in SHOPS if name != "shop-production"]
GENERATING = [name for name in BUNDLED if name != "shop-gitops"]
every_shop = pytest.mark.parametrize("name", SHOPS)
ADDRESSES = {"SHOP_JWKS_URL": "user", **{f"SHOP_{noun.upper()}_URL": noun for noun in SERVICES}}
OF_LIBRARIES = {"OTEL_RESOURCE_ATTRIBUTES", "POD_NAME", "NODE_NAME", "PGSSLROOTCERT"}
"""Read by OpenTelemetry's SDK, used in its attributes, and read by the drivers of PostgreSQL."""
PREFIXES = {"shop-everything": "books-"}


def noun_of(pod: PodSpec) -> str:
    return pod.labels["app.kubernetes.io/name"]


def settings(noun: str) -> type[ServiceSettings]:
    """The Settings class of a service."""
    found: type[ServiceSettings] = import_module(f"shop.{noun}.settings").Settings
    return found


def environment(objects: tuple[Object, ...], pod: PodSpec, container: Object) -> dict[str, Any]:
    """Name to value, or to the reference to a Secret."""
    given: dict[str, Any] = {}
    for source in container.get("envFrom", []):
        given |= named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container.get("env", []):
        given[variable["name"]] = variable.get("value", variable.get("valueFrom"))
    return given


def service_pods(objects: tuple[Object, ...]) -> dict[str, PodSpec]:
    return {noun_of(pod): pod for pod in pods(objects) if pod.owner["kind"] == "Deployment"}


@every_shop
def test_every_variable_is_a_setting_of_its_service(name: str) -> None:
    objects = preset(name)
    unknown = []
    for pod in pods(objects):
        noun = {"catalogue": "product"}.get(noun_of(pod), noun_of(pod))
        if noun in SERVICES:
            fields = {f"SHOP_{field.upper()}" for field in settings(noun).model_fields}
            files = [source for v in pod.spec["volumes"] for source in v.get("projected", {}).get("sources", [])]
            mounted = {item["path"] for source in files for item in source["secret"]["items"]}
            given = {variable for part in pod.containers for variable in environment(objects, pod, part)}
            unknown += [f"{noun}: {variable}" for variable in sorted((given | mounted) - fields - OF_LIBRARIES)]
    assert unknown == []


@every_shop
def test_services_accept_their_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = preset(name)
    for noun, pod in service_pods(objects).items():
        with monkeypatch.context() as patch:
            for variable, value in environment(objects, pod, pod.spec["containers"][0]).items():
                patch.setenv(variable, value if isinstance(value, str) else "secret")
            found: Any = settings(noun)()
        assert found.service == noun
        if "store" in type(found).model_fields:
            assert isinstance(found.store, StoreSettings)
            assert found.store.title == "Shopkeeper"


@every_shop
def test_addresses_are_those_of_the_services(name: str) -> None:
    objects = preset(name)
    hosts = {service["metadata"]["name"] for service in kind(objects, "Service")}
    for noun, pod in service_pods(objects).items():
        for variable, value in environment(objects, pod, pod.spec["containers"][0]).items():
            if variable in ADDRESSES:
                host = urlsplit(value).hostname
                own = PREFIXES.get(name, "") + ADDRESSES[variable]
                asks_every_pod = MANIFESTS[noun].observes and variable != "SHOP_JWKS_URL"
                assert host == (f"{own}-all" if asks_every_pod else own), (noun, variable)
                assert host in hosts


@every_shop
def test_only_declared_callers_are_allowed(name: str) -> None:
    objects = preset(name)
    for noun, pod in service_pods(objects).items():
        policy = named(objects, "NetworkPolicy", pod.owner["metadata"]["name"])
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        if noun != "gateway":
            assert allowed(objects, policy) == callers(objects, noun), noun


def allowed(objects: tuple[Object, ...], policy: Object) -> set[str]:
    """The nouns of the pods that a policy admits."""
    peers = [peer for rule in policy["spec"]["ingress"] for peer in rule["from"] if "podSelector" in peer]
    found = [noun_of(pod) for pod in pods(objects) for peer in peers if matches(peer["podSelector"], pod.labels)]
    return set(found)


def callers(objects: tuple[Object, ...], noun: str) -> set[str]:
    """The services that have the address of `noun`; all, where all may send it their spans."""
    if MANIFESTS[noun].observes:
        return set(service_pods(objects))
    wanted = {"SHOP_JWKS_URL"} if noun == "user" else set()
    wanted.add(f"SHOP_{noun.upper()}_URL")
    found = service_pods(objects).items()
    return {other for other, pod in found if wanted & set(environment(objects, pod, pod.spec["containers"][0]))}


def copying(objects: tuple[Object, ...]) -> set[str]:
    """The Jobs that dump and restore databases; their variables have other names."""
    return {noun_of(pod) for pod in pods(objects)} & {"backup", "restore"}


@pytest.mark.parametrize("name", BUNDLED)
def test_stores_admit_the_services_that_have_their_address(name: str) -> None:
    objects, prefix = preset(name), PREFIXES.get(name, "")
    stores = {"nats": "SHOP_NATS_URL", "valkey": "SHOP_VALKEY_URL", "postgres": "SHOP_DATABASE_URL"}
    if name == "shop-pooler":
        del stores["postgres"]  # External, and so without a policy
    for store, variable in stores.items():
        holders = {noun_of(p) for p in pods(objects) for c in p.containers if variable in environment(objects, p, c)}
        extra = {"provision", *copying(objects)} if store == "postgres" else set()
        assert allowed(objects, named(objects, "NetworkPolicy", f"{prefix}{store}")) == holders | extra


def test_pods_of_cloudnativepg_admit_callers_their_operator_and_each_other() -> None:
    """They have CloudNativePG's labels and not the shop's, so no other policy selects them."""
    objects = preset("shop-cloudnativepg")
    (cluster,) = kind(objects, "Cluster")
    instance = {"cnpg.io/cluster": cluster["metadata"]["name"]}
    spec = named(objects, "NetworkPolicy", "postgres")["spec"]
    assert matches(spec["podSelector"], instance)
    apps, instances, operator = [({port["port"] for port in rule["ports"]}, rule["from"]) for rule in spec["ingress"]]
    assert apps[0] == {5432}
    assert (instances[0], [matches(peer["podSelector"], instance) for peer in instances[1]]) == ({5432, 8000}, [True])
    (peer,) = operator[1]
    assert operator[0] == {5432, 8000}
    assert peer["namespaceSelector"] == {}
    assert matches(peer["podSelector"], {"app.kubernetes.io/name": "cloudnative-pg"})
    assert not matches(peer["podSelector"], {"app.kubernetes.io/name": "order"})


@every_shop
def test_pods_without_a_policy_accept_no_connections(name: str) -> None:
    objects = preset(name)
    deny = named(objects, "NetworkPolicy", f"{PREFIXES.get(name, '')}default-deny")["spec"]
    assert "ingress" not in deny
    assert all(matches(deny["podSelector"], pod.labels) for pod in pods(objects))


def test_network_policies_can_be_switched_off() -> None:
    assert kind(template("shop", "--set", "global.networkPolicies.enabled=false"), "NetworkPolicy") == []


@every_shop
def test_images_are_of_the_charts_version(name: str) -> None:
    version = yaml.safe_load((CHARTS / "shop" / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
    images = {c["image"] for pod in pods(preset(name)) for c in pod.containers if "/shop-" in c["image"]}
    assert {image.rpartition("/")[2] for image in images} == {
        f"shop-{noun}:{version}" for noun in (*SERVICES, *(["operator"] if name == "shop-backup-bucket" else []))
    }


@every_shop
def test_passwords_are_only_in_secrets(name: str) -> None:
    objects = preset(name)
    values = {text for secret in kind(objects, "Secret") for text in secret["stringData"].values() if len(text) > 30}
    passwords = {part for text in values for part in re.findall(r"[A-Za-z][A-Za-z0-9]{31}", text)}
    others = json.dumps([found for found in objects if found["kind"] != "Secret"])
    assert [password for password in passwords if password in others] == []
    if name in GENERATING:
        assert len(passwords) >= len(WITH_DATABASE) + 5


@pytest.mark.parametrize("name", [*GENERATING, "shop-production"])  # shop-gitops: test_chart_gitops.py
def test_every_named_secret_is_generated_or_given(name: str) -> None:
    objects = preset(name)
    made = {(s["metadata"]["name"], key) for s in kind(objects, "Secret") for key in s["stringData"]}
    production = {"shop-postgres-admin", "shop-nats", "shop-valkey", "shop-smtp"}
    given = production if name == "shop-production" else {"nats", "bucket", "admin"}
    missing = []
    for pod in pods(objects):
        references = re.findall(r"'secretKeyRef': (\{[^}]*\})", str(pod.spec))
        found = [yaml.safe_load(reference.replace("'", '"')) for reference in references]
        missing += [r for r in found if (r["name"], r["key"]) not in made and r["name"] not in given]
    assert missing == []


def test_existing_secrets_are_used_and_not_generated() -> None:
    kinds = ("admin", "internal", "keys", "postgres", "nats", "valkey")
    chosen = [f"global.secrets.{name}=my-{name}" for name in kinds]
    chosen += [f"global.secrets.database.{noun}=my-{noun}" for noun in WITH_DATABASE]
    objects = template("shop", "--set", ",".join(chosen))
    assert kind(objects, "Secret") == []
    text = json.dumps([pod.spec for pod in pods(objects)])
    assert set(re.findall(r'"(?:name|secretName)": "(my-[a-z]+)"', text)) == {
        f"my-{name}" for name in (*kinds, *WITH_DATABASE)
    }


def test_secrets_are_kept_after_the_release() -> None:
    secrets = kind(preset("shop"), "Secret")
    assert len(secrets) == len(WITH_DATABASE) + 6
    assert {secret["metadata"]["annotations"]["helm.sh/resource-policy"] for secret in secrets} == {"keep"}
    for claimed in kind(preset("shop"), "StatefulSet"):
        assert claimed["spec"]["persistentVolumeClaimRetentionPolicy"] == {
            "whenDeleted": "Retain",
            "whenScaled": "Retain",
        }


def test_every_service_connects_to_its_own_database_as_its_own_role() -> None:
    for noun in WITH_DATABASE:
        url = urlsplit(named(preset("shop"), "Secret", f"database-{noun}")["stringData"]["url"])
        assert (url.username, url.hostname, url.path) == (f"shop_{noun}", "postgres", f"/shop_{noun}")
        holders = [title(pod.owner) for pod in pods(preset("shop")) if f"'database-{noun}'" in str(pod.spec)]
        own = [holder for holder in holders if not holder.startswith("Job/provision-")]
        assert {holder.partition("-")[0] for holder in own} <= {f"Deployment/{noun}", "Job/catalogue"}


def test_a_changed_configuration_replaces_the_pods() -> None:
    def pod(*arguments: str) -> Object:
        found: Object = named(template("shop", *arguments), "Deployment", "order")["spec"]["template"]
        return found

    assert pod() == pod("--set", "services.product.replicas=2")
    assert pod() != pod("--set", "global.store.title=Other")


def test_jobs_are_new_ones_when_their_work_changes() -> None:
    def jobs(*arguments: str) -> set[str]:
        return {found["metadata"]["name"] for found in kind(template("shop", *arguments), "Job")}

    assert jobs() == jobs("--set", "services.order.replicas=3")
    assert len(jobs() & jobs("--set", "global.image.tag=0.2.0")) == 1
    assert not jobs() & jobs(
        "--set", "runAsUser=20001,services.product.resources.limits.memory=1Gi,database.image=x/postgres:17"
    )


def test_a_cluster_with_prometheus_gets_service_monitors() -> None:
    objects = template("shop", *MONITORING)
    monitors = kind(objects, "ServiceMonitor")
    assert {found["metadata"]["name"] for found in monitors} == set(SERVICES)
    for monitor in monitors:
        service = named(objects, "Service", monitor["metadata"]["name"])
        assert matches(monitor["spec"]["selector"], service["metadata"]["labels"])
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    # The kind alone does not mean that a Prometheus selects these ServiceMonitors.
    for noun, pod in service_pods(objects).items():
        assert pod.owner["spec"]["template"]["metadata"]["annotations"]["prometheus.io/scrape"] == "true", noun
    without = template("shop", *MONITORING, "--set", "services.order.prometheusAnnotations=false")
    assert "prometheus.io/scrape" not in json.dumps(service_pods(without)["order"].owner)


def test_production_scales_and_survives_the_loss_of_a_node() -> None:
    objects = preset("shop-production")
    limits = {
        a["metadata"]["name"]: (a["spec"]["minReplicas"], a["spec"]["maxReplicas"])
        for a in kind(objects, "HorizontalPodAutoscaler")
    }
    assert limits == dict.fromkeys(SERVICES, (2, 20))
    assert {budget["metadata"]["name"] for budget in kind(objects, "PodDisruptionBudget")} == set(SERVICES)
    assert kind(objects, "StatefulSet") == []
    assert all(pod.spec["topologySpreadConstraints"] for pod in service_pods(objects).values())


def test_event_streams_have_no_timeout_at_a_gateway_controller() -> None:
    (route,) = kind(preset("shop-everything"), "HTTPRoute")
    assert [rule["timeouts"] for rule in route["spec"]["rules"]] == [{"request": "0s", "backendRequest": "0s"}]


def test_spans_have_the_names_of_pod_and_shop() -> None:
    objects = preset("shop-everything")
    given = environment(objects, service_pods(objects)["order"], service_pods(objects)["order"].spec["containers"][0])
    about = dict(pair.split("=") for pair in given["OTEL_RESOURCE_ATTRIBUTES"].split(","))
    assert about["service.namespace"] == RELEASE
    assert about["k8s.deployment.name"] == "books-order"
    assert given[about["k8s.pod.name"][2:-1]] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert "OTEL_RESOURCE_ATTRIBUTES" not in json.dumps(preset("shop"))


@pytest.mark.parametrize(
    ("values", "trusted"),
    [
        ((), ""),
        (
            ("services.gateway.ingress.enabled=true", "services.gateway.ingress.host=shop.example.com"),
            "10.0.0.0/8,172.16.0.0/12",
        ),
        (
            ("services.gateway.httpRoute.enabled=true", "services.gateway.httpRoute.gatewayRef.name=public"),
            "10.0.0.0/8,172.16.0.0/12",
        ),
        (("global.trustedProxies={203.0.113.0/24,2001:db8::/32}",), "203.0.113.0/24,2001:db8::/32"),
    ],
)
def test_a_controller_in_front_of_the_gateway_is_trusted(values: tuple[str, ...], trusted: str) -> None:
    objects = template("shop", *(part for value in values for part in ("--set", value)))
    found = variables(objects, "gateway").get("SHOP_TRUSTED_PROXIES", "")
    assert found.startswith(trusted)
    assert bool(found) == bool(trusted)
    gateway = GatewaySettings(trusted_proxies=found)
    assert len(gateway.trusted_proxies) == len(list(filter(None, found.split(","))))


def test_a_service_needs_nothing_but_its_values() -> None:
    """No template has a list of services: another one gets all its objects, and the stores admit it."""
    url = {"secretName": "another-database", "key": "url"}
    values = {
        "networkPolicy": {"callers": ["gateway"]},
        "config": {"SHOP_ORDER_URL": '{{ include "shop.url" (list . "order") }}'},
        "secretEnv": {"SHOP_DATABASE_URL": url, "SHOP_NATS_URL": url, "SHOP_VALKEY_URL": url},
        "migrations": {"enabled": True, "mode": "Job"},
    }
    # The schema only has the services of the project.
    more = ("--skip-schema-validation", "--set-json", f"services.another={json.dumps(values)}")
    objects = template("shop", *more)
    assert {title(found) for found in objects} - {title(found) for found in preset("shop")} == {
        "Deployment/another",
        "NetworkPolicy/another",
        "PodDisruptionBudget/another",
        "Secret/database-another",
        "Service/another",
        "Service/another-all",
        "ServiceAccount/another",
        *(title(job) for job in kind(objects, "Job") if "another" in json.dumps(job)),
    }
    assert variables(objects, "another")["SHOP_ORDER_URL"] == "http://order:8000"
    for store in ("postgres", "nats", "valkey"):
        assert "another" in allowed_names(named(objects, "NetworkPolicy", store)), store
    assert "shop_another" in named(objects, "ConfigMap", "provision")["data"]["provision.sql"]


def allowed_names(policy: Object) -> list[str]:
    """The nouns that the first rule of a policy admits."""
    nouns: list[str] = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"]
    return nouns
