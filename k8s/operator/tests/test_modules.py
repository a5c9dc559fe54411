"""A module of a Shop turns the services on that need it; without one, their Shop has nothing of them.

Most of this is about services that a Shop can be without; a project that has none is tested with one in
tests/architecture/test_new_service.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from k8s.operator.tests import shop_specs
from k8s.operator.tests.shop_specs import EVERY_KIND, NAMESPACE, SEED, renderer
from shop.contracts.store import StoreSettings
from shop.operator.engine.reconcile.preflight import prerequisites
from shop.operator.errors import ShopctlError
from shop.operator.kube.objects import NOUN_LABEL
from shop.operator.local import instances
from shop.operator.local.instances import Instance, Wiring, environment, replica_counts
from shop.operator.resource import shopfile
from shop.operator.resource.spec import ShopSpec
from shop.operator.resource.spec_modules import Modules
from shop.operator.services import MODULES, OPTIONAL, SERVICES, WITH_DATABASE

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*.yaml"))
EVERYTHING = next(path for path in SAMPLES if path.stem == "everything")
ON = {name: True for needed in MODULES.values() for name in needed}


def spec(**fields: object) -> ShopSpec:
    return ShopSpec.model_validate(fields)


def test_modules_are_those_that_services_need() -> None:
    assert set(Modules.model_fields) == set(ON)


def test_only_retail_is_on_in_a_shop_that_does_not_say() -> None:
    assert {name for name, on in Modules() if on} == {"retail"}
    assert spec().nouns == tuple(noun for noun in SERVICES if noun not in OPTIONAL)


def test_with_every_module_every_service_runs() -> None:
    assert spec(modules=ON).nouns == SERVICES


def test_the_sample_of_everything_sells_books_food_and_fun() -> None:
    modules = shopfile.load(EVERYTHING).spec.modules
    assert {name for name, on in modules if on} >= {"retail", "food", "arcade", "recommendations", "ops"}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_serves_its_own_country(sample: Path) -> None:
    """In which the town of the food samples lies."""
    store = StoreSettings.model_validate_json(instances.store_json(shopfile.load(sample).spec))
    assert store.country in store.served


def test_a_module_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="restaurants"):
        spec(modules={"restaurants": False})


@pytest.mark.parametrize("noun", OPTIONAL)
@pytest.mark.parametrize("on", [False, True])
async def test_nothing_of_a_service_is_rendered_unless_its_module_is_on(noun: str, on: bool) -> None:
    shop = shop_specs.shop({"modules": {MODULES[noun][0]: on}})
    objects = await renderer().render(shop, NAMESPACE, "uid-1", SEED, EVERY_KIND)
    nouns = {one["metadata"]["labels"].get(NOUN_LABEL) for one in objects}
    assert (noun in nouns) == on
    assert (f"bookshop-database-{noun}" in {one["metadata"]["name"] for one in objects}) == (
        on and noun in WITH_DATABASE
    )


@pytest.mark.parametrize("noun", OPTIONAL)
@pytest.mark.parametrize("on", [False, True])
async def test_others_have_the_addresses_of_a_service_only_if_it_runs(noun: str, on: bool) -> None:
    shop = shop_specs.shop({"modules": {MODULES[noun][0]: on}})
    objects = await renderer().render(shop, NAMESPACE, "uid-1", SEED, EVERY_KIND)
    pods = {o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment"}
    given = {name: {one["name"]: one.get("value") for one in pod["containers"][0]["env"]} for name, pod in pods.items()}
    own = {f"SHOP_{noun.upper()}_URL", f"SHOP_{noun.upper()}_GRPC_URL"}
    assert given["bookshop-gateway"].get(f"SHOP_{noun.upper()}_URL") == (f"http://bookshop-{noun}:8000" if on else None)
    if not on:
        assert not [name for name, variables in given.items() if own & variables.keys()]


@pytest.mark.parametrize("noun", OPTIONAL)
def test_a_service_runs_on_one_machine_if_its_module_is_on(noun: str) -> None:
    assert replica_counts(spec(modules=ON), {})[noun] == 1
    assert noun not in replica_counts(spec(), {})
    with pytest.raises(ShopctlError, match=f"--replicas: {noun} does not run; spec.modules.{MODULES[noun][0]}: true"):
        replica_counts(spec(), {noun: 2})
    (line,) = instances.ignored(spec(services={noun: {"replicas": 2}}), str)
    assert line == f"ignored: spec.services.{noun} (spec.modules.{MODULES[noun][0]} is false)"


@pytest.mark.parametrize("noun", OPTIONAL)
def test_an_address_in_the_environment_is_not_taken_for_a_service_that_does_not_run(noun: str) -> None:
    users = [Instance("user", 1, 9001)]
    wires = Wiring("nats://n", "redis://v", "secret", "admin@shop.local", "hidden", "http://localhost:8080")
    name = f"SHOP_{noun.upper()}_URL"
    assert environment(users[0], spec(), wires, users, {name: "http://elsewhere:8000"})[name] == ""


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize(
    ("module", "variable", "nouns"),
    [("arcade", "SHOP_ARCADE", {"notification", "pricing"}), ("ops", "SHOP_OPS", {"storefront"})],
)
async def test_services_know_of_a_module_only_where_it_is_on(
    module: str, variable: str, nouns: set[str], on: bool
) -> None:
    """In a cluster as on one machine: without the arcade there is no stream for its events."""
    shop = shop_specs.shop({"modules": {module: on}})
    objects = await renderer().render(shop, NAMESPACE, "uid-1", SEED, EVERY_KIND)
    everyone = [Instance(noun, 1, 9000 + at) for at, noun in enumerate(shop.spec.nouns)]
    wires = Wiring("nats://n", "redis://v", "secret", "admin@shop.local", "hidden", "http://localhost:8080")
    told = {
        pod["metadata"]["labels"][NOUN_LABEL]
        for pod in objects
        if pod["kind"] == "Deployment" and {"name": variable, "value": "true"} in _variables(pod)
    }
    local = {one.noun for one in everyone if environment(one, shop.spec, wires, everyone, {}).get(variable)}
    assert told == local == (nouns if on else set())


def _variables(deployment: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for container in deployment["spec"]["template"]["spec"]["containers"] for one in container["env"]]


@pytest.mark.parametrize("noun", [noun for noun in OPTIONAL if noun in WITH_DATABASE])
def test_an_external_database_is_needed_if_the_module_is_on(noun: str) -> None:
    external = {"mode": "External", "secretName": "urls"}
    (asked,) = prerequisites(spec(database=external, modules=ON))
    assert noun in asked.keys
    (asked,) = prerequisites(spec(database=external))
    assert noun not in asked.keys


def test_without_retail_there_is_nothing_to_sell() -> None:
    with pytest.raises(ShopctlError, match=r"spec\.modules\.retail: must be true"):
        replica_counts(spec(modules={"retail": False}), {})
