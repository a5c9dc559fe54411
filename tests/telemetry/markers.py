"""Requests to every public operation with a marker in each field that takes text, made from the API's own document."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

MARKER = "zqxmarker"
"""Stands in nothing else, and is never to be seen outside of the databases and answers."""
MARKED_ID = f"{MARKER}-id"
METHODS = ("get", "post", "put", "patch", "delete")
MAX_DEPTH = 8
FORMATS = {
    "uuid": lambda: str(uuid.uuid4()),
    "date-time": lambda: datetime.now(UTC).isoformat(),
    "date": lambda: datetime.now(UTC).date().isoformat(),
    "email": lambda: f"{MARKER}-{uuid.uuid4().hex[:8]}@example.com",
    "uri": lambda: f"https://example.com/{MARKER}",
}
Json = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One request; ``query`` and ``path`` hold markers, and so does ``body``, if the operation has one."""

    method: str
    template: str
    path: str
    query: dict[str, str]
    body: Any


def operations(document: Json, *, wrong: bool) -> Iterator[Operation]:
    """A request per operation of an OpenAPI document.

    ``wrong``: each field has a marker, whatever its type. Otherwise values keep to their types, and ids are ids.
    """
    for template, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield _operation(document, template, method, item[method], wrong)


def _operation(document: Json, template: str, method: str, described: Json, wrong: bool) -> Operation:
    path, query = template, {}
    for parameter in described.get("parameters", ()):
        parameter = _resolved(document, parameter)
        value = MARKED_ID if wrong else _text(_sample(document, parameter.get("schema", {}), wrong, 0))
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(value, safe=""))
        elif parameter["in"] == "query":
            query[parameter["name"]] = value
    content = _resolved(document, described.get("requestBody", {})).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    body = None if schema is None else _sample(document, schema, wrong, 0)
    return Operation(method.upper(), template, path, query | {MARKER: MARKER}, body)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _resolved(document: Json, part: Json) -> Json:
    while "$ref" in part:
        found: Any = document
        for key in part["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        part = found
    return part


def _sample(document: Json, schema: Json, wrong: bool, depth: int) -> Any:
    """A value of ``schema`` with markers where it takes text."""
    schema = _resolved(document, schema)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return _sample(document, schema[choice][0], wrong, depth + 1)
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        fields = schema.get("properties", {}) if depth < MAX_DEPTH else {}
        return {name: _sample(document, field, wrong, depth + 1) for name, field in fields.items()}
    if kind == "array":
        return [_sample(document, schema.get("items", {}), wrong, depth + 1)]
    return MARKER if wrong else _scalar(schema)


def _scalar(schema: Json) -> Any:
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type"):
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]()
    return MARKER[: schema.get("maxLength", len(MARKER))] if "pattern" not in schema else MARKER
