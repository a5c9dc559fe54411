"""Secrets from a seed: the same names, types and keys as the chart's own, and the same values every time."""

from __future__ import annotations

import json
import re
import tempfile
from base64 import b64decode
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from k8s.operator.tests import shop_specs
from k8s.operator.tests.shop_specs import EVERY_KIND, NAMESPACE, SEED, Spec
from shop.operator.engine.render.shop_secrets import named, password, secrets
from shop.operator.engine.render.values import Values, values
from shop.operator.kube.objects import Object
from tests.charts import helm
from tests.charts.rendering import GENERATED

SPECS: dict[str, Spec] = {
    "bundled": {},
    "cloudnativepg": {"database": {"mode": "CloudNativePG", "instances": 3}},
    "external": {
        "database": {"mode": "External", "secretName": "databases"},
        "messaging": {"mode": "External", "secretName": "nats"},
        "cache": {"mode": "External", "secretName": "valkey"},
    },
    "bundled with own passwords": {
        "database": {"secretName": "mine"},
        "messaging": {"secretName": "mine"},
        "cache": {"secretName": "mine"},
    },
}
every_mode = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def values_of(spec: Spec) -> Values:
    return values(shop_specs.shop(spec), optional=EVERY_KIND, version="0.1.0")


def made(spec: Spec, seed: bytes = SEED) -> list[Object]:
    return secrets("bookshop", NAMESPACE, values_of(spec), seed)


def of_the_chart(given: Values) -> list[Object]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(given, file)
        file.flush()
        done = helm.run("template", "bookshop", "charts/shop", "--namespace", NAMESPACE, "--values", file.name)
    assert done.returncode == 0, done.stderr
    objects = yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)
    return [obj for obj in objects if obj and obj["kind"] == "Secret"]


def texts(secret: Object) -> dict[str, str]:
    """What it holds, as the chart writes it."""
    decoded = {key: b64decode(value).decode() for key, value in secret.get("data", {}).items()}
    return {**decoded, **secret.get("stringData", {})}


def shape(secret: Object) -> tuple[Any, ...]:
    """A Secret without its passwords and without the labels of its owner."""
    found = {key: GENERATED.sub("<password>", text) for key, text in texts(secret).items()}
    labels = {
        name: secret["metadata"]["labels"][f"app.kubernetes.io/{name}"] for name in ("name", "instance", "part-of")
    }
    return secret["metadata"]["name"], secret["type"], secret["metadata"]["annotations"], labels, found


@every_mode
def test_they_are_those_that_the_chart_would_make(spec: Spec) -> None:
    expected = {found["metadata"]["name"]: shape(found) for found in of_the_chart(values_of(spec))}
    assert {found["metadata"]["name"]: shape(found) for found in made(spec)} == expected
    assert len(expected) == len(made(spec)) >= 3


@every_mode
def test_the_chart_makes_none_when_they_are_named(spec: Spec) -> None:
    assert of_the_chart(named("bookshop", values_of(spec))) == []


def test_values_are_not_changed_by_naming() -> None:
    given = values_of(SPECS["external"])
    before = json.dumps(given)
    named("bookshop", given)
    assert json.dumps(given) == before


def test_every_password_is_its_own() -> None:
    found = [
        text for secret in made({}) for key, text in texts(secret).items() if key not in ("url", "username", "email")
    ]
    assert len(found) == len(set(found)) == len(shop_specs.DATABASES_BY_DEFAULT) + 7
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]{31}", text) for text in found)


def test_a_url_holds_the_password_of_its_secret() -> None:
    for secret in made({}):
        found = texts(secret)
        if "url" in found:
            assert urlsplit(found["url"]).password == found["password"]


def test_another_seed_changes_all_of_them_and_the_same_none() -> None:
    assert made({}) == made({})
    pairs = zip(made({}), made({}, b"another"), strict=True)
    for first, second in pairs:
        differing = {key for key, text in texts(first).items() if text != texts(second)[key]}
        assert differing == set(texts(first)) - {"username", "email"}


def test_a_password_does_not_depend_on_other_settings() -> None:
    cluster = {secret["metadata"]["name"]: texts(secret)["password"] for secret in made(SPECS["cloudnativepg"])[3:]}
    bundled = {secret["metadata"]["name"]: texts(secret)["password"] for secret in made({})[3:]}
    assert cluster == bundled


def test_the_derivation_stays_as_it_is() -> None:
    """Another way to derive would lock every running shop out of its data."""
    assert password(SEED, "database-order/password") == "bHTutU3l4R4knfX1LhEloGlZce1lKaCy"
    assert password(SEED, "keys/keyEncryptionKey") == "qjozHoyn92MclMCjOlnyOPrVE1rCmuel"


def test_characters_are_spread_evenly() -> None:
    drawn = "".join(password(SEED, str(number))[1:] for number in range(2_000))
    counts = [drawn.count(sign) for sign in sorted(set(drawn))]
    # 62,000 signs, 1,000 of each expected: five standard deviations either way.
    assert len(counts) == 62
    assert min(counts) > 840
    assert max(counts) < 1_160
