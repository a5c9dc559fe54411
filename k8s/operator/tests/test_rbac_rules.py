"""Rights follow from the kinds, and the audit log shows which are missing and which are unused."""

from __future__ import annotations

from typing import Any

import yaml

from shop.operator.kube.kinds import RENDERED, SHOP
from shop.operator.resource import rbac
from shop.operator.resource.rbac import Right
from tests.operator import audit_rights

OPERATOR = "system:serviceaccount:ops:shop-operator"


def event(verb: str, resource: str, code: int = 200, user: str = OPERATOR, **reference: str) -> dict[str, Any]:
    found = {"verb": verb, "user": {"username": user}, "responseStatus": {"code": code}}
    return {**found, "objectRef": {"resource": resource, "apiVersion": "v1", **reference}}


def test_every_kind_that_is_rendered_may_be_created_and_deleted() -> None:
    rights = rbac.shop_rights()
    for kind in RENDERED:
        assert {right.verb for right in rights if (right.group, right.resource) == (kind.group, kind.plural)} == set(
            rbac.OWNED
        )


def test_nothing_reaches_beyond_a_shop() -> None:
    text = rbac.text()
    assert "*" not in text
    for resource in ("nodes", "namespaces", "clusterroles", "customresourcedefinitions", "pods/exec", "pods/log"):
        assert resource not in text
    assert Right(SHOP.group, SHOP.plural, "create") not in rbac.shop_rights()
    assert Right(SHOP.group, SHOP.plural, "delete") not in rbac.shop_rights()


def test_rules_and_rights_agree() -> None:
    written = yaml.safe_load(rbac.text())
    assert audit_rights.rights_of(written["shops"]) == rbac.shop_rights()
    assert audit_rights.rights_of(written["makingLeases"] + written["lease"]) == rbac.CREATE_LEASES | rbac.ONE_LEASE


def test_resources_with_the_same_verbs_share_a_rule() -> None:
    rights = [Right("", "secrets", "get"), Right("", "configmaps", "get"), Right("apps", "deployments", "get")]
    assert rbac.rules(rights) == [
        {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
    ]


def test_a_denied_request_is_reported_as_a_missing_right() -> None:
    used = audit_rights.uses(
        [event("list", "pods", 403), event("watch", "pods"), event("get", "nodes", 403, "eve")], OPERATOR
    )
    assert audit_rights.denied(used) == ["list pods"]


def test_an_unused_right_is_reported() -> None:
    audit = [
        event("patch", "deployments", 201, apiGroup="apps"),
        event("patch", "shops", apiGroup=SHOP.group, subresource="status"),
        {"verb": "get", "user": {"username": OPERATOR}, "requestURI": "/apis"},
    ]
    rights = [Right("apps", "deployments", verb) for verb in ("create", "patch", "delete", "update")]
    rights.append(Right(SHOP.group, "shops/status", "patch"))
    assert audit_rights.unused(rights, audit_rights.uses(audit, OPERATOR)) == ["delete deployments.apps"]
