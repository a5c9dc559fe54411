"""The definition says what the models say: the same fields, the same defaults, no less strict where it can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from shop.operator import crd
from shop.operator.spec import ShopSpec

SAMPLES = Path(__file__).parents[2] / "samples"
MAX_BYTES = 100_000


def spec_schema() -> dict[str, Any]:
    (version,) = crd.definition()["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """What the API server makes of `value`: every default put in, also inside of defaults."""
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for name, field in schema.get("properties", {}).items():
        if name not in filled and "default" in field:
            filled[name] = field["default"]
        if name in filled:
            filled[name] = with_defaults(field, filled[name])
    return filled


def schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from schemas(schema[name])
    for field in schema.get("properties", {}).values():
        yield from schemas(field)


def test_defaults_are_those_of_the_models() -> None:
    assert with_defaults(spec_schema(), {}) == ShopSpec().model_dump(mode="json", by_alias=True, exclude_none=True)


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_samples_are_valid(sample: Path) -> None:
    spec = yaml.safe_load(sample.read_text(encoding="utf-8"))["spec"]
    jsonschema_rs.validate(spec_schema(), spec)


@pytest.mark.parametrize(
    "wrong",
    [
        {"database": {"mode": "Builtin"}},
        {"database": {"instances": 0}},
        {"services": {"order": {"replicas": "2"}}},
        {"services": {"order": {"autoscaling": {}}}},
        {"store": {"currency": "euro"}},
        {"store": {"taxes": [{"country": "DE", "ratePercent": 119}]}},
        {"store": {"catalog": {"sample": "films"}}},
        {"exposure": {"gatewayRef": {}}},
        {"backup": {"schedule": "0 3 * * *"}},
    ],
    ids=str,
)
def test_what_the_models_refuse_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ShopSpec.model_validate(wrong)
    assert not jsonschema_rs.is_valid(spec_schema(), wrong)


def test_the_schema_is_structural() -> None:
    for schema in schemas(spec_schema()):
        assert isinstance(schema["type"], str)
        assert not {"$ref", "anyOf", "oneOf", "allOf", "patternProperties", "propertyNames"} & set(schema)
        assert not {"properties", "additionalProperties"} <= set(schema)


def test_every_rule_has_its_sentence() -> None:
    rules = [rule for schema in schemas(spec_schema()) for rule in schema.get("x-kubernetes-validations", [])]
    assert len(rules) >= sum(map(len, crd.RULES.values()))
    assert all(rule["rule"] and rule["message"] for rule in rules)


def test_the_definition_is_small() -> None:
    assert len(crd.text().encode()) < MAX_BYTES
