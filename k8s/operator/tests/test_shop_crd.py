"""The definition says what the models say: the same fields, the same defaults, no less strict where it can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from shop.operator.local import instances
from shop.operator.resource import crd, crd_rules
from shop.operator.resource.spec import ShopSpec

SAMPLES = Path(__file__).parents[2] / "samples"
GENERATED = Path(__file__).parents[3] / "charts" / "shop-operator" / "files" / "crd.yaml"
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


def all_rules() -> list[dict[str, str]]:
    return [rule for schema in schemas(spec_schema()) for rule in schema.get("x-kubernetes-validations", [])]


def test_every_rule_has_its_sentence() -> None:
    assert all(rule["rule"] and rule["message"] for rule in all_rules())


def test_every_rule_of_the_table_is_in_the_definition() -> None:
    wanted = [rule.schema() for rules in crd_rules.RULES.values() for rule in rules]
    assert [rule for rule in wanted if rule not in all_rules()] == []


def test_a_checked_text_tells_its_sentence_and_no_pattern() -> None:
    host = spec_schema()["properties"]["exposure"]["properties"]["host"]
    assert [rule["message"] for rule in host["x-kubernetes-validations"]] == [
        "must be a host name such as shop.example.com, at most 253 characters"
    ]
    assert not any("pattern" in schema for schema in schemas(spec_schema()))


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}{name}", field
        yield from fields(field, f"{path}{name}.")
        for inner in ("items", "additionalProperties"):
            yield from fields(field.get(inner, {}), f"{path}{name}.")


def test_kubectl_explains_every_field() -> None:
    (version,) = crd.definition()["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    assert [path for path, field in fields(schema, "") if not field.get("description")] == []


def test_what_only_a_cluster_does_is_said_to_be_so() -> None:
    here = {*instances.CLUSTER_ONLY, *(f"services.{name}" for name in instances.CLUSTER_ONLY_PER_SERVICE)}
    said = {path for path, field in fields(spec_schema(), "") if "Cluster only" in field["description"]}
    assert said == here


def test_columns_show_what_a_person_asks_first() -> None:
    (version,) = crd.definition()["spec"]["versions"]
    columns = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
    assert columns == ["Ready", "Version", "URL", "Services", "Age"]


def test_the_chart_carries_this_definition() -> None:
    assert GENERATED.read_text(encoding="utf-8") == crd.text(), "run `python -m tests.charts.generate`"


def test_the_definition_is_small() -> None:
    assert len(crd.text().encode()) < MAX_BYTES


def leaves(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Paths of fields that hold a value, map keys as `*` and members of lists as `[]`, with their descriptions."""
    for name, field in schema.get("properties", {}).items():
        place = f"{path}.{name}".removeprefix(".")
        inner = [*leaves(field, place), *leaves(field.get("items", {}), f"{place}[]")]
        inner += leaves(field.get("additionalProperties", {}), f"{place}.*")
        yield from inner or [(place, field["description"])]


def written(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from written(inner, (f"{path}.*" if path == "services" else f"{path}.{name}").removeprefix("."))
    elif isinstance(value, list):
        for inner in value:
            yield from written(inner, f"{path}[]")
    else:
        yield path


def test_the_samples_show_every_field_that_there_is() -> None:
    shown = {path for sample in SAMPLES.glob("*.yaml") for path in written(yaml.safe_load(sample.read_text())["spec"])}
    shown |= {path.rpartition(".")[0] for path in shown}
    text = (SAMPLES / "everything.yaml").read_text(encoding="utf-8")
    missing = {path for path, said in leaves(spec_schema()) if path not in shown and "Not in this version" not in said}
    assert {path for path in missing if f"{path.rpartition('.')[2]}:" not in text} == set()
