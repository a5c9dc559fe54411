"""What the API's documentation shows: a request example for every body, and operations named by verb and resource."""

from __future__ import annotations

import re
from collections import Counter
from importlib import import_module
from typing import Any

import jsonschema_rs
import pytest

from shop.devkit import manifest
from shop.gateway import cors
from shop.gateway.openapi import METHODS, merge
from tests.architecture.source import ROOT

NOUNS = tuple(noun for noun, one in manifest.read(ROOT).items() if one.api)
VERBS = frozenset(
    {
        *("Add", "Cancel", "Change", "Collect", "Create", "Delete", "Deliver", "Drop", "Fulfil", "Get"),
        *("Finish", "Open", "Remove", "Unlock"),
        *(
            "List",
            "Place",
            "Reach",
            "Refresh",
            "Refund",
            "Register",
            "Reject",
            "Replace",
            "Retry",
            "Set",
            "Start",
            "Watch",
        ),
    }
)
MIN_BODIES = 13
JSON = "application/json"

Document = dict[str, Any]


def merged() -> Document:
    return merge({noun: own(noun) for noun in NOUNS})


def own(noun: str) -> Document:
    """The document of one service."""
    document: Document = import_module(f"shop.{noun}.main").app.openapi()
    return document


def operations(document: Document) -> dict[str, Document]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def body_schemas(document: Document, operation: Document) -> list[Document]:
    """The schemas of an operation's JSON body, one per kind, with the components beside each; none without a body."""
    schema = operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema")
    if schema is None:
        return []
    names = [kind["$ref"].rpartition("/")[2] for kind in schema.get("anyOf", [schema])]
    return [{**document["components"]["schemas"][name], "components": document["components"]} for name in names]


def wrong_examples(document: Document) -> list[str]:
    """The operations with a body whose example is missing or is not what the body's schema describes."""
    return [
        name
        for name, operation in operations(document).items()
        if not all(map(has_right_examples, body_schemas(document, operation)))
    ]


def has_right_examples(schema: Document) -> bool:
    check = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    examples = schema.get("examples", [])
    return bool(examples) and all(check.is_valid(example) for example in examples)


def test_every_body_has_an_example_that_its_schema_accepts() -> None:
    document = merged()
    assert wrong_examples(document) == []
    with_body = [name for name, one in operations(document).items() if body_schemas(document, one)]
    assert len(with_body) >= MIN_BODIES


def test_a_missing_and_a_wrong_example_are_found() -> None:
    document = merged()
    schemas = document["components"]["schemas"]
    del schemas["RefundBody"]["examples"]
    schemas["StockChange"]["examples"] = [{"delta": "five"}]
    assert wrong_examples(document) == [
        "POST /api/v1/payments/{payment_id}/refunds",
        "POST /api/v1/products/{product_id}/stock",
    ]


def test_operations_are_named_by_a_verb_and_a_resource() -> None:
    unclear = []
    for name, operation in operations(merged()).items():
        verb, *resource = operation["summary"].split()
        if verb not in VERBS or not resource:
            unclear.append(f"{name}: {operation['summary']}")
    assert unclear == []


PLAIN_NAME = re.compile(r"[A-Z][A-Za-z0-9]*(_[A-Z]\w*_)?")
"""A model's name, or Page_Model_: without its module's path, and without a suffix for its direction."""


@pytest.mark.parametrize("noun", NOUNS)
def test_components_of_each_service_have_plain_names(noun: str) -> None:
    assert unclear_components(own(noun)) == []


def test_components_of_the_merged_document_have_plain_names() -> None:
    document = merged()
    assert unclear_components(document) == []
    taken = document["components"]["schemas"]
    taken["shop__pricing__schemas__QuoteRequest"] = taken["MenuBody-Input"] = {}
    assert unclear_components(document) == ["shop__pricing__schemas__QuoteRequest", "MenuBody-Input"]


def unclear_components(document: Document) -> list[str]:
    return [name for name in document["components"]["schemas"] if not PLAIN_NAME.fullmatch(name)]


def test_pages_of_other_origins_may_send_every_header_of_an_operation() -> None:
    allowed = {name.strip().lower() for name in cors.ALLOWED_HEADERS.decode().split(",")}
    wanted = {
        parameter["name"].lower()
        for operation in operations(merged()).values()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "header"
    }
    assert wanted - allowed == set()
    assert {"if-match", "idempotency-key", "last-event-id"} <= wanted


def test_names_of_operations_are_unique() -> None:
    found = operations(merged()).values()
    for field in ("summary", "operationId"):
        assert [name for name, times in Counter(one[field] for one in found).items() if times > 1] == []
