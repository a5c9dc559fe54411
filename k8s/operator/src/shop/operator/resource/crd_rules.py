"""The CEL rules of the custom resource definition, by the model that each is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shop.operator.resource.spec import SAME_FAMILY, TWO_FAMILIES
from shop.operator.resource.spec_service import NO_CARD_ENTRY, NO_TARGET, PROVIDER_ENV, RESERVED_ENV, SIMULATOR

Schema = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """A CEL rule, the message when it is violated, and the field that the message is about."""

    rule: str
    message: str
    field: str = ""
    reason: str = "FieldValueInvalid"

    def schema(self) -> Schema:
        place = {"fieldPath": f".{self.field}"} if self.field else {}
        reason = {"reason": self.reason} if self.reason != "FieldValueInvalid" else {}
        return {"rule": self.rule, "message": self.message, **place, **reason}


def needs(rule: str, message: str, field: str) -> Rule:
    """`field` is required by the value of another field."""
    return Rule(rule, message, field, "FieldValueRequired")


def fixed(rule: str, message: str, field: str) -> Rule:
    """`field` is immutable, or may only change in certain ways."""
    return Rule(rule, message, field, "FieldValueForbidden")


def within_limit(name: str) -> Rule:
    """Without it the API server would reject each pod, long after it accepted the Shop."""
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
        needs(
            "self.targetCPUUtilizationPercentage > 0 || has(self.targetRequestsPerSecond)",
            NO_TARGET,
            "targetRequestsPerSecond",
        ),
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
        Rule(
            "!has(self.ipFamilies) || self.ipFamilies.size() < 2"
            " || has(self.ipFamilyPolicy) && self.ipFamilyPolicy != 'SingleStack'",
            f"ipFamilies {TWO_FAMILIES}",
            "ipFamilies",
        ),
        Rule(
            "!has(self.ipFamilies) || self.ipFamilies.size() < 2 || self.ipFamilies[0] != self.ipFamilies[1]",
            f"ipFamilies {SAME_FAMILY}",
            "ipFamilies",
        ),
        fixed(
            "!has(self.ipFamilies) || self.ipFamilies.size() == 0 || !has(oldSelf.ipFamilies)"
            " || oldSelf.ipFamilies.size() == 0 || self.ipFamilies[0] == oldSelf.ipFamilies[0]",
            "the first of ipFamilies cannot change: a Service keeps its first address",
            "ipFamilies",
        ),
        fixed(
            "!has(self.restoreFrom) || (has(oldSelf.restoreFrom) && self.restoreFrom == oldSelf.restoreFrom)",
            "restoreFrom cannot be added or changed: a Shop begins with a backup or without one",
            "restoreFrom",
        ),
    ),
}
