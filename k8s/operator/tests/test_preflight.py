"""What a Shop names must exist, with the keys that are read from it."""

from __future__ import annotations

from k8s.operator.tests.shop_specs import DATABASES_BY_DEFAULT
from shop.operator.engine.reconcile.preflight import Prerequisite, named_by, prerequisites
from shop.operator.kube.kinds import CONFIG_MAP, SECRET
from shop.operator.resource.spec import ShopSpec

EXTERNAL = {"mode": "External", "secretName": "urls"}


def of_database(**more: object) -> list[Prerequisite]:
    return prerequisites(ShopSpec.model_validate({"database": {**EXTERNAL, **more}}))


def test_behind_a_pooler_the_secret_also_leads_to_the_server_itself() -> None:
    assert of_database() == [Prerequisite("database.secretName", SECRET, "urls", DATABASES_BY_DEFAULT)]
    direct = [f"{noun}-direct" for noun in DATABASES_BY_DEFAULT]
    assert of_database(pooler="Transaction") == [
        Prerequisite("database.secretName", SECRET, "urls", (*DATABASES_BY_DEFAULT, *direct))
    ]


def test_an_authority_is_needed_with_its_key() -> None:
    assert of_database(ca={"secretName": "ca"})[1:] == [
        Prerequisite("database.ca.secretName", SECRET, "ca", ("ca.crt",))
    ]
    assert of_database(ca={"configMap": "ca", "key": "root.pem"})[1:] == [
        Prerequisite("database.ca.configMap", CONFIG_MAP, "ca", ("root.pem",))
    ]


def test_an_authority_is_named_by_the_spec() -> None:
    assert ("Secret", "ca") in named_by({"database": {"ca": {"secretName": "ca"}}})
    assert ("ConfigMap", "ca") in named_by({"database": {"ca": {"configMap": "ca"}}})
