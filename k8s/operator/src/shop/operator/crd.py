"""The custom resource definition, made from the Shop's models: `python -m shop.operator.crd > FILE`.

What the models say by code, the definition says by CEL rules, as far as a rule can: that a currency exists, that a
cron schedule has five fields and that no tax has two rates is left to the operator, which checks the models again.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from shop.operator.spec import API_VERSION, KIND, RESERVED_ENV, ShopSpec

Schema = dict[str, Any]
PLURAL = "shops"
MAX_SERVICES = 32
MAX_ENV = 64
MAX_TEXT = 1_024
KEPT = (
    "type",
    "enum",
    "minimum",
    "maximum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "description",
)

# By the name of the model: what must hold, and the sentence for when it does not.
RULES: Mapping[str, Sequence[tuple[str, str]]] = {
    "Catalog": (("has(self.sample) != has(self.configMap)", "give exactly one of sample and configMap"),),
    "Autoscaling": (("self.maxReplicas >= self.minReplicas", "maxReplicas must be at least minReplicas"),),
    "Backend": (
        (
            "self.mode != 'External' || has(self.secretName)",
            "mode External needs secretName, the Secret that holds the connection",
        ),
    ),
    "DatabaseBackend": (
        (
            "self.mode != 'External' || has(self.secretName)",
            "mode External needs secretName, the Secret that holds the connection",
        ),
        (
            "self.mode != 'Bundled' || self.instances == 1",
            "mode Bundled runs one instance; CloudNativePG runs several",
        ),
    ),
    "Exposure": (
        ("self.type == 'None' || has(self.host)", "types Ingress and Gateway need host"),
        ("self.type != 'Gateway' || has(self.gatewayRef)", "type Gateway needs gatewayRef"),
    ),
}

STATUS: Schema = {
    "type": "object",
    "properties": {
        "observedGeneration": {"type": "integer", "format": "int64"},
        "version": {"type": "string"},
        "url": {"type": "string"},
        "lastAppliedHash": {"type": "string"},
        "inventory": {"type": "array", "items": {"type": "string"}},
        "services": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "ready": {"type": "integer"},
                    "desired": {"type": "integer"},
                    "image": {"type": "string"},
                },
            },
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
        "conditions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                "properties": {
                    "type": {"type": "string"},
                    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                    "observedGeneration": {"type": "integer", "format": "int64"},
                    "lastTransitionTime": {"type": "string", "format": "date-time"},
                    "reason": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    },
}
COLUMNS = (
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Version", "type": "string", "jsonPath": ".status.version"},
    {"name": "URL", "type": "string", "jsonPath": ".status.url"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)


def structural(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """`schema` as Kubernetes takes it: references put in place, no null, no closed objects (the API server prunes)."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    given = {**definitions.get(name, {}), **{key: value for key, value in schema.items() if key != "$ref"}}
    found = {key: given[key] for key in KEPT if key in given}
    if "const" in given:
        found |= {"type": "string", "enum": [given["const"]]}
    if "anyOf" in given:
        found |= _any_of(given, definitions)
    found |= _parts(given, definitions)
    if (rules := RULES.get(name)) is not None:
        found["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in rules]
    if (default := without_null(given.get("default"))) is not None:
        found["default"] = default
    return found


def _any_of(given: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A field that may be left out, or a number that pydantic also takes as text."""
    real = [option for option in given["anyOf"] if option["type" if "type" in option else "$ref"] != "null"]
    if "decimal_places" in given:
        return {"type": "number", "minimum": given["ge"], "maximum": given["le"]}
    (only,) = real
    return structural(only, definitions)


def _parts(given: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Fields of an object, members of a list, or values of a map with the names that it takes."""
    if "properties" in given:
        fields = {name: structural(field, definitions) for name, field in given["properties"].items()}
        return {"properties": fields, **({"required": given["required"]} if "required" in given else {})}
    if "items" in given:
        return {"items": structural(given["items"], definitions)}
    if "patternProperties" in given:
        ((pattern, values),) = given["patternProperties"].items()
        return _environment(pattern, structural(values, definitions))
    if isinstance(values := given.get("additionalProperties"), dict):
        nouns = given["propertyNames"]["enum"]
        rule = {"rule": f"self.all(noun, noun in {nouns})", "message": f"a service is one of {', '.join(nouns)}"}
        service = structural(values, definitions)
        return {"additionalProperties": service, "maxProperties": MAX_SERVICES, "x-kubernetes-validations": [rule]}
    return {}


def _environment(pattern: str, values: Schema) -> Schema:
    names = pattern.removeprefix("^(?:").removesuffix(")$")
    rules = (
        (f"self.all(name, name.matches('^{names}$'))", "a variable's name is of letters, digits and underscores"),
        (f"!self.exists(name, name in {list(RESERVED_ENV)})", f"env must not set {', '.join(RESERVED_ENV)}"),
    )
    return {
        "additionalProperties": {**values, "maxLength": MAX_TEXT},
        "maxProperties": MAX_ENV,
        "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules],
    }


def without_null(value: Any) -> Any:
    """A default without the fields that are null, since a field left out says the same."""
    if isinstance(value, dict):
        return {name: without_null(part) for name, part in value.items() if part is not None}
    return value


def definition() -> Schema:
    """The CustomResourceDefinition as Kubernetes takes it."""
    group, version = API_VERSION.split("/")
    models = ShopSpec.model_json_schema(by_alias=True)
    spec = {**structural(models, models["$defs"]), "default": {}}
    schema = {"type": "object", "properties": {"spec": spec, "status": STATUS}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # Deleting the definition would delete every Shop.
        "metadata": {"name": f"{PLURAL}.{group}", "annotations": {"helm.sh/resource-policy": "keep"}},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": "shop",
                "shortNames": ["shop"],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": list(COLUMNS),
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


class _Plain(yaml.SafeDumper):
    """Writes the same list or map twice instead of naming it the second time."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def text() -> str:
    """The definition as a YAML file, the same for the same models."""
    head = "# Generated by `python -m shop.operator.crd` from the Shop's models; not to be edited.\n"
    return head + yaml.dump(definition(), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    sys.stdout.write(text())
