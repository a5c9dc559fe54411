"""With `global.discovery: EndpointSlices` services may watch where pods are; otherwise they have no token at all.

With `DNS` each has a headless Service by which the others find its pods.
"""

from __future__ import annotations

from typing import Any

import pytest
from yarl import URL

from tests.charts.rendering import NAMESPACE, Object, Refused, _set, kind, named, preset, template, variables

SERVICE_PORT = 8_000
NOT_SCRAPED = "pod"
"""A ServiceMonitor, which selects by the same labels, would scrape each pod by a second port of the name http."""
WATCHING = _set("global.discovery=EndpointSlices", "global.namePrefix=books")


def discovery_of(deployment: Object) -> str | None:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return next((one.get("value") for one in container["env"] if one["name"] == "SHOP_DISCOVERY"), None)


def pod(deployment: Object) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def services(objects: tuple[Object, ...]) -> list[Object]:
    return [one for one in kind(objects, "Deployment") if one["spec"]["template"]["spec"].get("serviceAccountName")]


def test_each_service_gets_the_least_rights_and_its_token() -> None:
    objects = template("shop", *WATCHING)
    roles = {one["metadata"]["name"]: one for one in kind(objects, "Role")}
    bindings = {one["metadata"]["name"]: one for one in kind(objects, "RoleBinding")}
    deployments = [one for one in services(objects) if discovery_of(one)]
    assert {pod(one)["serviceAccountName"] for one in deployments} == roles.keys() == bindings.keys()
    assert len(roles) > 5
    for name, role in roles.items():
        assert role["rules"] == [
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
        ]
        assert bindings[name]["roleRef"]["name"] == name
        assert bindings[name]["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]
    for one in deployments:
        assert pod(one)["automountServiceAccountToken"] is True
        assert discovery_of(one) == "kubernetes"


def test_without_it_there_are_no_rights_and_no_tokens() -> None:
    objects = preset("shop")
    assert kind(objects, "Role") == kind(objects, "RoleBinding") == []
    assert {pod(one)["automountServiceAccountToken"] for one in services(objects)} == {False}
    found = {one["metadata"]["name"]: discovery_of(one) for one in services(objects)}
    assert {name for name, discovery in found.items() if discovery} == {"ops"}, "which looks names up"


def test_by_dns_every_address_names_a_headless_service_and_nobody_has_rights() -> None:
    objects = template("shop", *_set("global.discovery=DNS", "global.namePrefix=books"))
    headless = {one["metadata"]["name"]: one["spec"] for one in kind(objects, "Service") if is_of_pods(one)}
    whole = {one["metadata"]["name"]: one["spec"] for one in kind(objects, "Service")}
    assert headless.keys() == {f"{pod(one)['serviceAccountName']}-pods" for one in services(objects)}
    for name, spec in headless.items():
        assert (spec["clusterIP"], spec["selector"]) == ("None", whole[name.removesuffix("-pods")]["selector"])
        assert not spec.get("publishNotReadyAddresses")
        assert [port["name"] for port in spec["ports"]] == [NOT_SCRAPED]
    callers = [one for one in services(objects) if pod(one)["serviceAccountName"] != "books-ops"]
    found = {host for one in callers for host in hosts_of(one)}
    assert len(found) > 5
    assert found <= headless.keys()
    assert {discovery_of(one) for one in services(objects)} == {"dns"}
    assert kind(objects, "Role") == kind(objects, "RoleBinding") == []
    assert {pod(one)["automountServiceAccountToken"] for one in services(objects)} == {False}


def test_the_headless_services_can_outlive_discovery_by_dns_for_one_upgrade() -> None:
    before = template("shop", *_set("global.discovery=DNS"))
    leaving = template("shop", *_set("global.discovery=Service", "global.keepPodsServices=true"))
    headless = {one["metadata"]["name"]: one["spec"] for one in kind(before, "Service") if is_of_pods(one)}
    assert {one["metadata"]["name"]: one["spec"] for one in kind(leaving, "Service") if is_of_pods(one)} == headless
    assert headless
    callers = [one for one in services(leaving) if pod(one)["serviceAccountName"] != "shop-ops"]
    assert not {host for one in callers for host in hosts_of(one)} & headless.keys()


def is_of_pods(service: Object) -> bool:
    return bool(service["metadata"]["name"].endswith("-pods"))


def hosts_of(deployment: Object) -> set[str]:
    """Of the other services' addresses."""
    [container] = pod(deployment)["containers"]
    urls = [one["value"] for one in container["env"] if one["name"].endswith("_URL") and "value" in one]
    return {URL(url).host or "" for url in urls if URL(url).port == SERVICE_PORT}


def test_there_is_no_other_way() -> None:
    with pytest.raises(Refused, match="/global/discovery"):
        template("shop", *_set("global.discovery=Magic"))


def test_the_control_room_finds_every_pod_by_names_of_their_own() -> None:
    objects = template("shop", *_set("services.ops.enabled=true", "global.namePrefix=books"))
    room = variables(objects, "books-ops")
    assert (room["SHOP_DISCOVERY"], room["SHOP_ORDER_URL"]) == ("dns", "http://books-order-all:8000")
    spec = named(objects, "Service", "books-order-all")["spec"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)
    assert [port["name"] for port in spec["ports"]] == [NOT_SCRAPED]
    assert spec["selector"] == named(objects, "Service", "books-order")["spec"]["selector"]


def test_a_shop_without_it_has_no_such_names() -> None:
    names = {one["metadata"]["name"] for one in kind(template("shop", *_set("services.ops.enabled=false")), "Service")}
    assert "order" in names
    assert not [name for name in names if name.endswith("-all")]


@pytest.mark.parametrize(("discovery", "way"), [("EndpointSlices", "kubernetes"), ("DNS", "dns")])
def test_it_looks_for_pods_as_the_others_do(discovery: str, way: str) -> None:
    objects = template("shop", *_set(f"global.discovery={discovery}", "services.ops.enabled=true"))
    assert discovery_of(named(objects, "Deployment", "ops")) == way
    assert variables(objects, "ops")["SHOP_ORDER_URL"] == "http://order-all:8000"
