"""The custom resource definition, made from the Shop's models: `python -m shop.operator.crd > FILE`.

What the models say by code, the definition says by CEL rules, as far as a rule can: that no tax has two rates and that
a cron schedule's ranges rise is left to the operator, which checks the models again. What may not change from one
version of a Shop to the next only the definition can say, since only the API server sees both.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from shop.operator.fields import SHOP_NAME
from shop.operator.spec import API_VERSION, KIND, ShopSpec
from shop.operator.spec_service import NO_CARD_ENTRY, PROVIDER_ENV, RESERVED_ENV, SIMULATOR

Schema = dict[str, Any]
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


@dataclass(frozen=True)
class Rule:
    """What must hold of a part, the sentence for when it does not, and the field that the sentence is about."""

    rule: str
    message: str
    field: str = ""
    reason: str = "FieldValueInvalid"

    def schema(self) -> Schema:
        place = {"fieldPath": f".{self.field}"} if self.field else {}
        reason = {"reason": self.reason} if self.reason != "FieldValueInvalid" else {}
        return {"rule": self.rule, "message": self.message, **place, **reason}


def needs(rule: str, message: str, field: str) -> Rule:
    """`field` must be there when something else is as it is."""
    return Rule(rule, message, field, "FieldValueRequired")


def fixed(rule: str, message: str, field: str) -> Rule:
    """`field` must not change, or not in a certain way, once the Shop exists."""
    return Rule(rule, message, field, "FieldValueForbidden")


def within_limit(name: str) -> Rule:
    """A request above the limit would be refused of each pod, long after the Shop was taken."""
    request, limit = f"self.requests.{name}", f"self.limits.{name}"
    known = f"has({request}) && has({limit}) && isQuantity({request}) && isQuantity({limit})"
    holds = f"quantity({request}).compareTo(quantity({limit})) <= 0"
    return Rule(f"!({known}) || {holds}", f"requests.{name} must not be more than limits.{name}", f"requests.{name}")


EXTERNAL = needs(
    "self.mode != 'External' || has(self.secretName)",
    "mode External needs secretName, the Secret that holds the connection",
    "secretName",
)
BUNDLED_STORAGE = fixed(
    "self.mode != 'Bundled' || oldSelf.mode != 'Bundled' || self.storage == oldSelf.storage",
    "storage of a Bundled store cannot change: its volume was made with this size",
    "storage",
)
# By the name of the model.
RULES: Mapping[str, Sequence[Rule]] = {
    "Catalog": (Rule("has(self.sample) != has(self.configMap)", "give exactly one of sample and configMap"),),
    "Store": (
        fixed(
            "self.currency == oldSelf.currency",
            "currency cannot change: every stored amount is in its minor units",
            "currency",
        ),
    ),
    "Autoscaling": (
        Rule("self.maxReplicas >= self.minReplicas", "maxReplicas must be at least minReplicas", "maxReplicas"),
    ),
    "Resources": (within_limit("cpu"), within_limit("memory")),
    "Service": (
        Rule(
            f"!has(self.env) || !self.env.exists(name, name in {list(RESERVED_ENV)})",
            f"env must not set {', '.join(RESERVED_ENV)}",
            "env",
        ),
    ),
    "Backend": (EXTERNAL, BUNDLED_STORAGE),
    "CertificateAuthority": (
        Rule("has(self.secretName) != has(self.configMap)", "give exactly one of secretName and configMap"),
    ),
    "CacheBackend": (EXTERNAL, BUNDLED_STORAGE),
    "DatabaseBackend": (
        EXTERNAL,
        Rule(
            "self.mode == 'CloudNativePG' || self.instances == 1",
            "modes Bundled and External have one instance; CloudNativePG runs several",
            "instances",
        ),
        Rule(
            "self.mode == 'External' || (self.pooler == 'None' && !has(self.ca))",
            "pooler and ca are for mode External",
            "mode",
        ),
        BUNDLED_STORAGE,
        fixed(
            "self.mode != 'CloudNativePG' || oldSelf.mode != 'CloudNativePG' || !isQuantity(self.storage)"
            " || quantity(self.storage).compareTo(quantity(oldSelf.storage)) >= 0",
            "storage cannot shrink: a volume only grows",
            "storage",
        ),
        fixed(
            "self.mode == oldSelf.mode",
            "mode cannot change: data does not move by itself; begin a new Shop with restoreFrom",
            "mode",
        ),
    ),
    "Exposure": (
        needs("self.type == 'None' || has(self.host)", "types Ingress and Gateway need host", "host"),
        needs("self.type != 'Gateway' || has(self.gatewayRef)", "type Gateway needs gatewayRef", "gatewayRef"),
        Rule(
            "self.type != 'Gateway' || !has(self.tlsSecretName)",
            "tlsSecretName is for type Ingress; a Gateway's listener has its own certificate",
            "tlsSecretName",
        ),
    ),
    "Backup": (
        needs(
            "!self.destination.startsWith('s3://') || has(self.secretName)",
            "destination s3://… needs secretName, the Secret with the bucket's endpoint and keys",
            "secretName",
        ),
    ),
    "RestoreFrom": (
        needs(
            "!self.source.startsWith('s3://') || has(self.secretName)",
            "source s3://… needs secretName, the Secret with the bucket's endpoint and keys",
            "secretName",
        ),
    ),
    "ShopSpec": (
        Rule(
            f"!has(self.services) || !('payment' in self.services) || !has(self.services['payment'].env)"
            f" || !('{PROVIDER_ENV}' in self.services['payment'].env)"
            f" || self.services['payment'].env['{PROVIDER_ENV}'] == '{SIMULATOR}'",
            f"services.payment.env.{PROVIDER_ENV} {NO_CARD_ENTRY}",
            "services",
        ),
        fixed(
            "!has(self.restoreFrom) || (has(oldSelf.restoreFrom) && self.restoreFrom == oldSelf.restoreFrom)",
            "restoreFrom cannot be added or changed: a Shop begins with a backup or without one",
            "restoreFrom",
        ),
    ),
}


def words(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def count(description: str) -> Schema:
    return {"type": "integer", "format": "int64", "description": description}


def group(description: str, properties: Mapping[str, Schema], required: Sequence[str] = ()) -> Schema:
    found: Schema = {"type": "object", "description": description, "properties": dict(properties)}
    return {**found, "required": list(required)} if required else found


def by_key(description: str, key: str, items: Schema) -> Schema:
    """A list whose members have a key, so that each can be changed alone."""
    merged = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    return {"type": "array", "description": description, "items": items, **merged}


SERVICE_STATUS = group(
    "One service.",
    {
        "name": words("Its noun, such as order."),
        "ready": count("Pods that serve."),
        "desired": count("Pods that there should be."),
        "image": words("What they run."),
    },
    ["name"],
)
OBJECT_STATUS = group(
    "One object.",
    {
        "id": words("Its group, version, kind and name."),
        "uid": words("Its uid, by which nothing else of that name is ever deleted."),
        "digest": words("Hash of the operator's fields as they were applied; another one is drift."),
        "done": {
            "type": "boolean",
            "description": "A Job that has completed: it is not run again when it is cleaned up.",
        },
    },
    ["id"],
)
ROLLOUT_STATUS = group(
    "The rollout under way; left out when there is none.",
    {
        "revision": count("The revision that is rolled out."),
        "hash": words("Hash of everything that its objects follow from."),
        "startedAt": words("When it began.", format="date-time"),
    },
)
FAILURE_STATUS = group(
    "The revision that did not come up and was rolled back; left out when there is none.",
    {
        "revision": count("The revision."),
        "hash": words("Hash of what it was made from; that is not tried again until it changes."),
        "reason": words("One word for scripts."),
        "message": words("A sentence for people."),
    },
)
CONDITION = group(
    "One thing that is so or not.",
    {
        "type": words("Ready, Progressing, Degraded, Drifted or Paused."),
        "status": words("Whether it is so.", enum=["True", "False", "Unknown"]),
        "observedGeneration": count("The generation of the Shop that this was found for."),
        "lastTransitionTime": words("When status last changed.", format="date-time"),
        "reason": words("One word for scripts."),
        "message": words("A sentence for people."),
    },
    ["type", "status", "lastTransitionTime", "reason", "message"],
)
STATUS: Schema = group(
    "What the operator found; it alone writes here.",
    {
        "observedGeneration": count("The generation of the Shop that the status is about."),
        "version": words("Version that serves."),
        "url": words("Where customers find the shop."),
        "servicesReady": words("Services that are ready, of all: 8/8."),
        "revision": count("The last revision that became healthy."),
        "rollout": ROLLOUT_STATUS,
        "failure": FAILURE_STATUS,
        "lastAppliedHash": words("Hash of everything that the objects follow from."),
        "services": by_key("Every service.", "name", SERVICE_STATUS),
        "inventory": by_key("Every object that the Shop is made of.", "id", OBJECT_STATUS),
        "conditions": by_key("Whether the shop is as it should be.", "type", CONDITION),
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
    """What a text must be, in the words of the model: a pattern alone would be shown as it is."""
    if "expected" not in given:
        return []
    holds = f"self in {given['one_of']}" if "one_of" in given else f"self.matches(r'{given['pattern']}')"
    return [Rule(holds, given["expected"])]


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
    head = "# Generated by `python -m shop.operator.crd` from the Shop's models; not to be edited.\n"
    return head + yaml.dump(definition(), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    sys.stdout.write(text())
