"""Each option of charts/service and charts/shop-operator reaches the object that it is about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shop.operator.services import SERVICES
from tests.charts import described, options
from tests.charts.options import Option
from tests.charts.rendering import CHARTS, PRESETS, Object, kind, named, pods, preset, template

SHOP_PRESETS = [name for name, (chart, _) in PRESETS.items() if chart == "shop"]
GIVEN = [("service-options", option) for option in options.SERVICE if option.places]
GIVEN += [("shop-operator-two", option) for option in options.OPERATOR]
# Set by charts/shop for its services, and tested there.
SET_BY_THE_SHOP = ("enabled", "noun", "consumes", "migrations.", "autoscaling.", "networkPolicy.open", "global.")
OF_AN_INGRESS = {"grpc.className", "grpc.tlsSecretName"}
"""Tested in test_chart_grpc.py: options are those of a GRPCRoute."""
SWITCHES = {"prometheusAnnotations", "podDisruptionBudget.enabled", "topologySpread.enabled"}


def at(objects: tuple[Object, ...], place: str) -> Any:
    """The value at `place`, a kind and a path in its only object; `Headless` is a Service without an address."""
    kind_name, *path = place.split("/")
    found: Any
    headless = kind_name == "Headless"
    chosen = kind(objects, "Service" if headless else kind_name)
    if len(chosen) > 1:
        chosen = [one for one in chosen if (one["spec"].get("clusterIP") == "None") == headless]
    (found,) = chosen
    for step in path:
        found = found[int(step)] if isinstance(found, list) else found[step]
    return found


def holds(found: Any, wanted: Any) -> bool:
    """Whether `found` contains `wanted`."""
    if isinstance(wanted, dict):
        return all(name in found and holds(found[name], value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return all(any(holds(one, value) for one in found) for value in wanted)
    return bool(found == wanted)


@pytest.mark.parametrize(("name", "option"), GIVEN, ids=[f"{name}-{option.path}" for name, option in GIVEN])
def test_an_option_is_rendered(name: str, option: Option) -> None:
    for place, wanted in option.places.items():
        assert holds(at(preset(name), place), wanted), place


def test_no_option_of_a_service_is_left_out() -> None:
    every = {value.path for value in described.values(CHARTS / "service")}
    tried = {option.path for option in options.SERVICE} | SWITCHES | OF_AN_INGRESS
    assert [path for path in sorted(every - tried) if not path.startswith(SET_BY_THE_SHOP)] == []


def test_the_grace_period_of_a_pod_follows_from_its_options() -> None:
    assert at(preset("service-options"), f"{options.POD}/terminationGracePeriodSeconds") > 8 + 30


def test_a_disabled_option_renders_nothing() -> None:
    objects = template("service", "--set", ",".join(f"{switch}=false" for switch in sorted(SWITCHES)))
    assert "annotations" not in at(objects, options.POD_METADATA)
    assert kind(objects, "PodDisruptionBudget") == []
    assert "topologySpreadConstraints" not in at(objects, options.POD)


@pytest.mark.parametrize("noun", SERVICES)
def test_a_service_of_a_shop_can_set_min_available(noun: str) -> None:
    budget = {"maxUnavailable": None, "minAvailable": "50%"}
    given = {one: {"enabled": True, "podDisruptionBudget": budget} for one in SERVICES}
    objects = template("shop", "--set-json", json.dumps({"services": given}))
    spec = named(objects, "PodDisruptionBudget", noun)["spec"]
    assert (spec["minAvailable"], "maxUnavailable" in spec) == ("50%", False)


def test_the_jobs_of_migrations_run_where_their_service_does() -> None:
    where = {"nodeSelector", "tolerations", "affinity", "priorityClassName"}
    chosen = [option for option in options.SERVICE if option.path in where | {"secretEnv"}]
    switches = ("--set", "migrations.enabled=true,migrations.mode=Job")
    objects = template("service", *options.set_json(chosen), *switches)
    job, deployment = at(objects, "Job/spec/template/spec"), at(objects, options.POD)
    assert {name: job[name] for name in where} == {name: deployment[name] for name in where}


@pytest.mark.parametrize("name", SHOP_PRESETS)
def test_settings_of_a_service_are_in_its_pod_template(name: str) -> None:
    """A pod of an earlier revision that restarts during a failed rollout must not get those of the later one.

    Only the size of the streams is shared: it follows the broker's volume and not the revision.
    """
    shared = {"streams", "books-streams"}
    for pod in pods(preset(name)):
        if pod.owner["kind"] == "Deployment":
            sources = [source["configMapRef"]["name"] for one in pod.containers for source in one.get("envFrom", [])]
            assert set(sources) <= shared, pod.title


def test_a_dollar_in_a_setting_is_no_reference() -> None:
    given = {"SHOP_STORE": "$(HOME) costs $5, $$ and $"}
    objects = template("service", "--set-json", f"config={json.dumps(given)}")
    (deployment,) = kind(objects, "Deployment")
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "SHOP_STORE", "value": "$$(HOME) costs $$5, $$$$ and $$"} in env


def test_a_variable_of_env_replaces_a_setting() -> None:
    objects = template("service", "--set-json", 'env=[{"name": "SHOP_LOG_LEVEL", "value": "DEBUG"}]')
    (deployment,) = kind(objects, "Deployment")
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [one["value"] for one in env if one["name"] == "SHOP_LOG_LEVEL"] == ["DEBUG"]


@pytest.mark.parametrize("enabled", [True, False])
def test_address_of_a_disabled_service_is_left_out_where_a_shop_can_be_without_it(enabled: bool) -> None:
    config = {"SHOP_NOTIFICATION_URL": '{{ include "shop.optionalUrl" (list . "notification") }}'}
    options = ("--set-json", f"services.gateway.config={json.dumps(config)}")
    objects = template("shop", *options, "--set", f"services.notification.enabled={str(enabled).lower()}")
    container = named(objects, "Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0]
    given = {one["name"]: one.get("value") for one in container["env"]}
    assert given.get("SHOP_NOTIFICATION_URL") == ("http://notification:8000" if enabled else None)
