"""charts/shop-operator: minimal RBAC, and the operator's settings."""

from __future__ import annotations

import json
import re

from shop.operator.engine.settings import Settings
from shop.operator.resource import rbac
from tests.charts import helm
from tests.charts.rendering import CHARTS, NAMESPACE, RELEASE, Object, kind, named, preset, template
from tests.operator import audit_rights


def rights(objects: tuple[Object, ...], name: str, kind_name: str, namespace: str | None = None) -> set[rbac.Right]:
    (role,) = [
        found
        for found in kind(objects, kind_name)
        if (found["metadata"]["name"], found["metadata"].get("namespace")) == (name, namespace)
    ]
    return set(audit_rights.rights_of(role["rules"]))


def test_the_rules_are_those_of_the_kinds() -> None:
    written = (CHARTS / "shop-operator" / "files" / "rules.yaml").read_text(encoding="utf-8")
    assert written == rbac.text(), "run `python -m tests.charts.generate`"


def test_an_operator_for_all_namespaces_has_one_cluster_role() -> None:
    objects = preset("shop-operator")
    assert rights(objects, f"{NAMESPACE}-{RELEASE}", "ClusterRole") == rbac.shop_rights()
    (binding,) = kind(objects, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == f"{NAMESPACE}-{RELEASE}"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": RELEASE, "namespace": NAMESPACE}]


def test_an_operator_for_some_namespaces_has_no_cluster_wide_rights() -> None:
    objects = preset("shop-operator-namespaces")
    assert kind(objects, "ClusterRoleBinding") == []
    bindings = kind(objects, "RoleBinding")
    assert {binding["metadata"].get("namespace") for binding in bindings} == {None, "team-a", "team-b"}
    assert {binding["roleRef"]["kind"] for binding in bindings} == {"Role"}
    for namespace in ("team-a", "team-b"):
        assert rights(objects, f"{NAMESPACE}-{RELEASE}", "Role", namespace) == rbac.shop_rights()


def test_the_roles_of_users_are_only_bound_by_aggregation() -> None:
    roles = {role["metadata"]["name"]: role for role in kind(preset("shop-operator"), "ClusterRole")}
    people = {name: role for name, role in roles.items() if name != f"{NAMESPACE}-{RELEASE}"}
    assert set(people) == {f"{NAMESPACE}-{RELEASE}-edit", f"{NAMESPACE}-{RELEASE}-view"}
    for role in people.values():
        assert any("aggregate-to-" in label for label in role["metadata"]["labels"])
        assert {right.group for right in audit_rights.rights_of(role["rules"])} == {"shops.shopkeeper.dev"}
    view = audit_rights.rights_of(people[f"{NAMESPACE}-{RELEASE}-view"]["rules"])
    assert {right.verb for right in view} == {"get", "list", "watch"}


def test_the_lease_is_the_only_one_that_it_may_touch() -> None:
    role = named(preset("shop-operator"), "Role", f"{RELEASE}-lease")
    making, holding = role["rules"]
    assert making == {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]}
    assert holding["resourceNames"] == [environment()["SHOP_OPERATOR_LEASE"]]
    assert "create" not in holding["verbs"]


def environment(name: str = "shop-operator") -> dict[str, str]:
    deployment = named(preset(name), "Deployment", RELEASE)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one.get("value", "") for one in container["env"]}


def test_the_operator_gets_the_namespaces_to_watch() -> None:
    assert environment()["SHOP_OPERATOR_NAMESPACES"] == ""
    assert environment("shop-operator-namespaces")["SHOP_OPERATOR_NAMESPACES"] == "team-a,team-b"
    two = environment("shop-operator-two")
    assert two["SHOP_OPERATOR_IMAGE_REGISTRY"] == "r.example"
    assert two["SHOP_OPERATOR_IMAGE_PULL_POLICY"] == "Always"
    assert two["SHOP_OPERATOR_IMAGE_PULL_SECRETS"] == "pull,pull-more"


def test_every_variable_is_one_of_the_operators_settings() -> None:
    known = {f"SHOP_OPERATOR_{name.upper()}" for name in Settings.model_fields}
    assert set(environment("shop-operator-two")) <= known


def test_the_image_has_the_helm_that_the_test_cluster_has() -> None:
    dockerfile = (helm.ROOT / "services" / "Dockerfile").read_text(encoding="utf-8")
    versions = (helm.ROOT / "tests" / "cluster" / "versions.sh").read_text(encoding="utf-8")
    pinned = re.search(r"^HELM=v(\S+)$", versions, re.MULTILINE)
    assert pinned
    assert f"ARG HELM_IMAGE=docker.io/alpine/helm:{pinned[1]}\n" in dockerfile


def test_by_default_one_operator_runs() -> None:
    objects = preset("shop-operator")
    assert named(objects, "Deployment", RELEASE)["spec"]["replicas"] == 1
    assert kind(objects, "PodDisruptionBudget") == []
    assert kind(preset("shop-operator-two"), "PodDisruptionBudget")[0]["spec"]["maxUnavailable"] == 1


def test_the_definition_is_kept_after_the_release() -> None:
    definition = named(preset("shop-operator"), "CustomResourceDefinition", "shops.shops.shopkeeper.dev")
    assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert len(json.dumps(definition)) < 100_000
    assert kind(template("shop-operator", "--set", "crd.enabled=false"), "CustomResourceDefinition") == []
