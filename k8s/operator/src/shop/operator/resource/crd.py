"""The custom resource definition, made from the Shop's models: `python -m shop.operator.resource.crd > FILE`.

What the models say by code, the definition says by CEL rules, as far as a rule can: that no tax has two rates and that
a cron schedule's ranges rise is left to the operator, which checks the models again. What may not change from one
version of a Shop to the next only the definition can say, since only the API server sees both.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from shop.operator.resource.crd_rules import RULES, Rule, Schema
from shop.operator.resource.fields import SHOP_NAME
from shop.operator.resource.spec import API_VERSION, KIND, ShopSpec

PLURAL = "shops"
KEPT = (
    "type",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "description",
)


def string(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def integer(description: str) -> Schema:
    return {"type": "integer", "format": "int64", "description": description}


def record(description: str, properties: Mapping[str, Schema], required: Sequence[str] = ()) -> Schema:
    found: Schema = {"type": "object", "description": description, "properties": dict(properties)}
    return {**found, "required": list(required)} if required else found


def keyed_list(description: str, key: str, items: Schema) -> Schema:
    """A list whose members have a key, so that each can be changed alone."""
    merged = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    return {"type": "array", "description": description, "items": items, **merged}


SERVICE_STATUS = record(
    "One service.",
    {
        "name": string("Its noun, such as order."),
        "ready": integer("Pods that serve."),
        "desired": integer("Pods that there should be."),
        "image": string("What they run."),
    },
    ["name"],
)
OBJECT_STATUS = record(
    "One object.",
    {
        "id": string("Its group, version, kind and name."),
        "uid": string("Its uid, by which nothing else of that name is ever deleted."),
        "digest": string("Hash of the operator's fields as they were applied; another one is drift."),
        "done": {
            "type": "boolean",
            "description": "A Job that has completed: it is not run again when it is cleaned up.",
        },
    },
    ["id"],
)
BASIS = {
    "generation": integer("Of the Shop."),
    "spec": string("Hash of what of the spec objects follow from."),
    "retry": string("Hash of the annotation that asks for another try."),
}
ROLLOUT_STATUS = record(
    "The rollout under way; left out when there is none.",
    {
        "revision": integer("The revision that is rolled out."),
        "hash": string("Hash of everything that its objects follow from."),
        "startedAt": string("When it began.", format="date-time"),
        "release": string("The operator's, when nothing but its own change is rolled out."),
        "failedBefore": {"type": "boolean", "description": "That release has failed here and is tried again."},
    },
)
FAILURE_STATUS = record(
    "The revision that did not come up and was rolled back; left out when there is none.",
    {
        "revision": integer("The revision."),
        "hash": string("Hash of what it was made from; that is not tried again until it changes."),
        "reason": string("One word for scripts."),
        "message": string("A sentence for people."),
        "release": string("The operator's, when its change was what was rolled out."),
        "basis": record("What the user had asked for.", BASIS),
    },
)
CONDITION = record(
    "One thing that is so or not.",
    {
        "type": string("Ready, Progressing, Degraded, Drifted or Paused."),
        "status": string("Whether it is so.", enum=["True", "False", "Unknown"]),
        "observedGeneration": integer("The generation of the Shop that this was found for."),
        "lastTransitionTime": string("When status last changed.", format="date-time"),
        "reason": string("One word for scripts."),
        "message": string("A sentence for people."),
    },
    ["type", "status", "lastTransitionTime", "reason", "message"],
)
STATUS: Schema = record(
    "What the operator found; it alone writes here.",
    {
        "observedGeneration": integer("The generation of the Shop that the status is about."),
        "version": string("Version that serves."),
        "url": string("Where customers find the shop."),
        "servicesReady": string("Services that are ready, of all: 8/8."),
        "revision": integer("The last revision that became healthy."),
        "rollout": ROLLOUT_STATUS,
        "failure": FAILURE_STATUS,
        "release": string("The operator's, which the last revision that became healthy was made by."),
        "basis": record("What the user had asked for when that revision was made.", BASIS),
        "lastAppliedHash": string("Hash of everything that the objects follow from."),
        "services": keyed_list("Every service.", "name", SERVICE_STATUS),
        "inventory": keyed_list("Every object that the Shop is made of.", "id", OBJECT_STATUS),
        "conditions": keyed_list("Whether the shop is as it should be.", "type", CONDITION),
    },
)
READY = '.status.conditions[?(@.type=="Ready")]'
COLUMNS = (
    {"name": "Ready", "type": "string", "jsonPath": f"{READY}.status"},
    {"name": "Version", "type": "string", "jsonPath": ".status.version"},
    {"name": "URL", "type": "string", "jsonPath": ".status.url"},
    {"name": "Services", "type": "string", "jsonPath": ".status.servicesReady"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Message", "type": "string", "jsonPath": f"{READY}.message", "priority": 1},
)


def structural(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """`schema` as Kubernetes takes it: references put in place, no null, no closed objects (the API server prunes)."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    given = {**definitions.get(name, {}), **{key: value for key, value in schema.items() if key != "$ref"}}
    found = {key: given[key] for key in KEPT if key in given}
    if "const" in given:
        found |= {"type": "string", "enum": [given["const"]]}
    if "anyOf" in given:
        found |= {**_any_of(given, definitions), **found}
    found |= _parts(given, definitions)
    if rules := [*_of_text(given), *RULES.get(name, ())]:
        found["x-kubernetes-validations"] = [rule.schema() for rule in rules]
    if (default := without_null(given.get("default"))) is not None:
        found["default"] = default
    return found


def _of_text(given: Schema) -> list[Rule]:
    """The rule of a string field with the model's message; a plain pattern would be shown as a regular expression."""
    if "expected" not in given:
        return []
    holds = f"self in {given['one_of']}" if "one_of" in given else f"self.matches(r'{given['pattern']}')"
    return [Rule(holds, given["expected"])]


def _any_of(given: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A field that may be left out, or a number that pydantic also takes as text."""
    options = [option for option in given["anyOf"] if option["type" if "type" in option else "$ref"] != "null"]
    if "decimal_places" in given:
        return {"type": "number", "minimum": given["ge"], "maximum": given["le"]}
    (only,) = options
    return structural(only, definitions)


def _parts(given: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Fields of an object, members of a list, or values of a map with the names that it takes."""
    if "properties" in given:
        parts = {name: structural(field, definitions) for name, field in given["properties"].items()}
        return {"properties": parts, **({"required": given["required"]} if "required" in given else {})}
    if "items" in given:
        return {"items": structural(given["items"], definitions)}
    if "patternProperties" in given:
        ((pattern, values),) = given["patternProperties"].items()
        return _map(pattern, given["propertyNames"], structural(values, definitions))
    if isinstance(values := given.get("additionalProperties"), dict):
        nouns = given["propertyNames"]["enum"]
        rule = Rule(f"self.all(noun, noun in {nouns})", f"a service is one of {', '.join(nouns)}")
        return {"additionalProperties": structural(values, definitions), "x-kubernetes-validations": [rule.schema()]}
    return {}


def _map(pattern: str, names: Schema, values: Schema) -> Schema:
    """Values by names of one pattern: a service's environment, or labels."""
    holds = f"self.all(name, name.size() <= {names['maxLength']} && name.matches(r'{pattern}'))"
    rule = Rule(holds, f"{names['subject']} {names['expected']}")
    return {"additionalProperties": values, "x-kubernetes-validations": [rule.schema()]}


def without_null(value: Any) -> Any:
    """A default without the fields that are null, since a field left out says the same."""
    if isinstance(value, dict):
        return {name: without_null(part) for name, part in value.items() if part is not None}
    return value


_name = SHOP_NAME.json_schema()
NAMED = Rule(
    f"self.metadata.name.size() <= {_name['maxLength']} && self.metadata.name.matches(r'{_name['pattern']}')",
    f"metadata.name {_name['expected']}, for the names of the Shop's objects begin with it",
)


def definition() -> Schema:
    """The CustomResourceDefinition as Kubernetes takes it."""
    group, version = API_VERSION.split("/")
    models = ShopSpec.model_json_schema(by_alias=True)
    spec = structural({"$ref": "ShopSpec", "default": {}}, {**models["$defs"], "ShopSpec": models})
    schema = {
        "type": "object",
        "description": "A whole shop: services, data stores, routes, backups.",
        "properties": {"spec": spec, "status": STATUS},
        "x-kubernetes-validations": [NAMED.schema()],
    }
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
                "categories": ["all"],
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
    head = "# Generated by `python -m shop.operator.resource.crd` from the Shop's models; not to be edited.\n"
    return head + yaml.dump(definition(), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    sys.stdout.write(text())
