"""Short notation for strict JSON schemas: the fields that an object may have and their types."""

from __future__ import annotations

from typing import Any

import jsonschema_rs

Shape = dict[str, Any]
TEXT: Shape = {"type": "string"}
NUMBER: Shape = {"type": "integer"}
FLAG: Shape = {"type": "boolean"}
ANY: Shape = {}
TEXTS: Shape = {"type": "object", "additionalProperties": TEXT}


def record(fields: dict[str, Shape], required: str = "") -> Shape:
    """An object with only these `fields`; `required` are names separated by spaces."""
    return {"type": "object", "properties": fields, "required": required.split(), "additionalProperties": False}


def listed(item: Shape) -> Shape:
    return {"type": "array", "items": item}


def one_of(words: str) -> Shape:
    return {"enum": words.split()}


def written_as(pattern: str) -> Shape:
    return {"type": "string", "pattern": pattern}


def complaints(shape: Shape, found: Any) -> list[str]:
    """The validation errors of `found`, each with its path."""
    errors = jsonschema_rs.Draft202012Validator(shape).iter_errors(found)
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in errors]
