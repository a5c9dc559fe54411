"""With `global.discovery: EndpointSlices` services may watch where pods are; without it they have no token at all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts.rendering import NAMESPACE, Object, Refused, _set, kind, preset, template

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
    assert {discovery_of(one) for one in services(objects)} == {None}


def test_there_is_no_other_way() -> None:
    with pytest.raises(Refused, match="/global/discovery"):
        template("shop", *_set("global.discovery=Magic"))
