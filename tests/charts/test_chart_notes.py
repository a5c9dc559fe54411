"""NOTES.txt: how to reach the shop, and how to sign in as its administrator."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.charts import helm
from tests.charts.rendering import NAMESPACE, PRESETS, RELEASE, kind, named, preset, registry

SHOPS = ("shop", "shop-kind", "shop-production", "shop-everything")
FORWARD = f"kubectl -n {NAMESPACE} port-forward service/gateway 8080:8000"
KIND = yaml.safe_load((helm.ROOT / "k8s" / "kind" / "cluster.yaml").read_text(encoding="utf-8"))


def notes(name: str, *more: str) -> str:
    """The NOTES that an installation of a preset prints."""
    chart, arguments = PRESETS[name]
    done = helm.run(
        "install", RELEASE, f"charts/{chart}", "-n", NAMESPACE, "--dry-run=client", *registry(chart), *arguments, *more
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


def admin_secret(text: str) -> str:
    found = re.search(rf"kubectl -n {NAMESPACE} get secret (\S+) -o go-template=", text)
    assert found, text
    return found[1]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("shop", FORWARD),
        ("shop-kind", "http://localhost:8080"),
        ("shop-production", "https://shop.example.com"),
        ("shop-everything", "http://shop.example.com"),
    ],
)
def test_notes_say_how_to_reach_the_shop(name: str, address: str) -> None:
    assert f"\n  {address}\n" in notes(name)


def test_the_address_in_kind_is_the_gateways() -> None:
    (gateway,) = [found for found in kind(preset("shop-kind"), "Service") if found["spec"]["type"] == "NodePort"]
    ports = {mapped["containerPort"]: mapped["hostPort"] for mapped in KIND["nodes"][0]["extraPortMappings"]}
    assert ports[gateway["spec"]["ports"][0]["nodePort"]] == 8080


@pytest.mark.parametrize("name", SHOPS)
def test_notes_say_where_the_administrators_password_is(name: str) -> None:
    secret = named(preset(name), "Secret", admin_secret(notes(name)))
    assert set(secret["stringData"]) == {"email", "password"}


def test_notes_name_the_administrators_secret_that_was_given() -> None:
    assert admin_secret(notes("shop", "--set", "global.secrets.admin=mine")) == "mine"


def test_the_operators_notes_create_a_first_shop_in_a_watched_namespace() -> None:
    everywhere, some = notes("shop-operator"), notes("shop-operator-namespaces")
    assert "every namespace" in everywhere
    assert "team-a, team-b" in some
    (shop,) = re.findall(r"<<END\n(.*?)\n +END", some, re.DOTALL)
    assert yaml.safe_load(shop)["metadata"] == {"name": "bookshop", "namespace": "team-a"}
