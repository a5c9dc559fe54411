"""Every public endpoint refuses a field that it does not know: a misspelt one is never ignored."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from shop.devkit import manifest
from tests.architecture.source import ROOT

PUBLIC = "/api/"
NOUNS = tuple(noun for noun, one in manifest.read(ROOT).items() if one.api)


def openapi(noun: str) -> dict[str, Any]:
    document: dict[str, Any] = import_module(f"shop.{noun}.main").app.openapi()
    return document


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each public operation that takes JSON, and the schema of it."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content and path.startswith(PUBLIC):
                yield f"{method.upper()} {path}", content["schema"]


def objects(schema: Any, document: dict[str, Any], path: str = "body") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object with named members inside of `schema`, with where it is."""
    if isinstance(schema, list):
        for index, part in enumerate(schema):
            yield from objects(part, document, f"{path}[{index}]")
        return
    if not isinstance(schema, dict):
        return
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        yield from objects(document["components"]["schemas"][name], document, f"{path}:{name}")
        return
    if "properties" in schema:
        yield path, schema
        for name, member in schema["properties"].items():
            yield from objects(member, document, f"{path}.{name}")
    for keyword in ("items", "anyOf", "allOf", "oneOf"):
        yield from objects(schema.get(keyword), document, path)


@pytest.mark.parametrize("noun", NOUNS)
def test_unknown_fields_are_refused_everywhere(noun: str) -> None:
    document = openapi(noun)
    lenient = [
        f"{operation} {path}"
        for operation, schema in bodies(document)
        for path, found in objects(schema, document)
        if found.get("additionalProperties") is not False
    ]
    assert lenient == []


def test_there_are_bodies_to_look_at() -> None:
    found = {operation for noun in NOUNS for operation, _ in bodies(openapi(noun))}
    assert {"POST /api/v1/orders", "POST /api/v1/quotes", "POST /api/v1/payments/{payment_id}/refunds"} <= found
