"""A shop without the services of a module that is off: nothing of them is left, nor their address."""

from __future__ import annotations

import json

import pytest
import yaml

from shop.operator.services import OPTIONAL, WITH_DATABASE, WITH_GRPC
from tests.charts.rendering import CHARTS, PRESETS, Object, kind, named, preset, template, variables

CALLERS = ("storefront", "gateway")
CONTROL_ROOM = "ops"
"""No page of the shop needs it. In the presets it is off: a cluster has tools of its own."""


def without(noun: str) -> tuple[Object, ...]:
    scaled = f"services.{noun}.autoscaling.enabled=true,services.{noun}.migrations.mode=Job"
    return template("shop", "--set", f"services.{noun}.enabled=false,{scaled},global.serviceMonitors=Always")


@pytest.mark.parametrize("noun", OPTIONAL)
def test_nothing_is_left_of_a_service_that_is_off(noun: str) -> None:
    objects = without(noun)
    assert noun not in json.dumps(objects), "no object, role, database, stream, caller or address"
    assert noun in json.dumps(template("shop"))


@pytest.mark.parametrize("noun", OPTIONAL)
def test_those_that_call_it_have_its_address_only_when_it_is_on(noun: str) -> None:
    names = {f"SHOP_{noun.upper()}_URL", *([f"SHOP_{noun.upper()}_GRPC_URL"] if noun in WITH_GRPC else [])}
    for caller in CALLERS if noun != CONTROL_ROOM else ("gateway",):
        assert not names & variables(without(noun), caller).keys()
        assert f"SHOP_{noun.upper()}_URL" in variables(template("shop"), caller)
    if noun in WITH_GRPC:
        address = variables(template("shop"), "storefront")[f"SHOP_{noun.upper()}_GRPC_URL"]
        assert address == f"dns:///{noun}-grpc:50051"


@pytest.mark.parametrize("noun", [noun for noun in OPTIONAL if noun in WITH_DATABASE])
def test_turning_it_on_later_is_a_new_job_that_provisions_its_database(noun: str) -> None:
    jobs = [
        next(one for one in kind(objects, "Job") if one["metadata"]["name"].startswith("provision-"))
        for objects in (without(noun), template("shop"))
    ]
    assert jobs[0]["metadata"]["name"] != jobs[1]["metadata"]["name"]
    script = named(template("shop"), "ConfigMap", "provision")["data"]["provision.sql"]
    assert f"CREATE DATABASE shop_{noun} " in script


def enabled(noun: str, file: str) -> object:
    given = yaml.safe_load((CHARTS / "shop" / file).read_text(encoding="utf-8"))
    return given["services"].get(noun, {}).get("enabled")


@pytest.mark.parametrize("noun", OPTIONAL)
def test_it_is_off_by_default(noun: str) -> None:
    assert enabled(noun, "values.yaml") is False


@pytest.mark.parametrize("noun", [noun for noun in OPTIONAL if noun != CONTROL_ROOM])
def test_it_is_on_in_the_presets_of_whole_shops(noun: str) -> None:
    assert [enabled(noun, f"values-{name}.yaml") for name in ("kind", "production")] == [True, True]
    for name in ("shop-kind", "shop-production"):
        assert name in PRESETS
        assert named(preset(name), "Deployment", noun)
