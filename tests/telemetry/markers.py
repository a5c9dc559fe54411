"""Requests to every operation with a marker in each field, made from the API's own documents and .proto files."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

MARKER = "zqxmarker"
"""Stands in nothing else, and is never to be seen outside of the databases and answers."""
MARKED_ID = f"{MARKER}-id"
METHODS = ("get", "post", "put", "patch", "delete")
MAX_DEPTH = 16
MAX_VARIANTS = 6
"""Requests of one operation, for bodies that have alternatives."""
FORMATS = {
    "uuid": lambda: str(uuid.uuid4()),
    "date-time": lambda: datetime.now(UTC).isoformat(),
    "date": lambda: datetime.now(UTC).date().isoformat(),
    "email": lambda: f"{MARKER}-{uuid.uuid4().hex[:8]}@example.com",
    "uri": lambda: f"https://example.com/{MARKER}",
}
RIGHT = {
    "If-Match": '"1"',
    "closes": "20:00",
    "code": "1234",
    "country": "DE",
    "currency": "EUR",
    "ids": str(uuid.uuid4()),
    "near": "51.9,-0.2",
    "opens": "08:00",
    "password": f"{MARKER}-{uuid.uuid4()}",
    "phone": "+491701234567",
    "postal_code": "10115",
    "time_zone": "Europe/Berlin",
    "traceparent": "",
}
"""Values of fields whose schema does not say what is right."""
CHOICES = ("anyOf", "oneOf")
LIST, KEY = "[]", "{}"
"""Parts of a field's path: an item of a list, a value of an object with free keys."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One request; ``path``, ``query`` and ``headers`` hold markers, and so does ``body``, if the operation has one."""

    method: str
    template: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def name(self) -> str:
        return f"{self.method} {self.template}"


def operations(document: Json, *, wrong: bool, under: str = "/") -> Iterator[Operation]:
    """Requests for each operation of an OpenAPI document whose path begins with ``under``: one for each alternative.

    ``wrong``: each field has a marker, whatever its type. Otherwise values keep to their types, and ids are ids.
    """
    for template, item in document["paths"].items():
        for method in METHODS:
            if method in item and template.startswith(under):
                schema = body_of(document, item[method])
                for choice in range(alternatives(document, schema) if schema else 1):
                    yield _operation(document, template, method, item[method], _Sampler(document, wrong, choice))


def body_of(document: Json, described: Json) -> Json | None:
    """The schema of an operation's body in JSON."""
    content = _resolved(document, described.get("requestBody", {})).get("content", {})
    schema: Json | None = content.get("application/json", {}).get("schema")
    return schema


def _operation(document: Json, template: str, method: str, described: Json, sampler: _Sampler) -> Operation:
    places: dict[str, dict[str, str]] = {"path": {}, "query": {MARKER: MARKER}, "header": {}, "cookie": {}}
    for parameter in described.get("parameters", ()):
        parameter = _resolved(document, parameter)
        value = sampler.parameter(parameter["name"], parameter.get("schema", {}))
        places[parameter["in"]][parameter["name"]] = value
    path = template
    for name, value in places["path"].items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    schema = body_of(document, described)
    body = None if schema is None else sampler.value(schema, 0)
    return Operation(method.upper(), template, path, places["query"], places["header"], body)


def _resolved(document: Json, part: Json) -> Json:
    while "$ref" in part:
        found: Any = document
        for key in part["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        part = found
    return part


def _options(schema: Json) -> list[Json]:
    """The alternatives of a schema, null left out."""
    found = [option for choice in CHOICES for option in schema.get(choice, ()) if option.get("type") != "null"]
    return found or [option for choice in CHOICES for option in schema.get(choice, ())]


def alternatives(document: Json, schema: Json, depth: int = 0) -> int:
    """The largest number of alternatives at any place of the schema, at most MAX_VARIANTS."""
    schema = _resolved(document, schema)
    options = _options(schema)
    parts = [*options, *_parts(schema).values()] if depth < MAX_DEPTH else []
    most = max((alternatives(document, part, depth + 1) for part in parts), default=1)
    return min(max(len(options), most, 1), MAX_VARIANTS)


def _parts(schema: Json) -> dict[str, Json]:
    """What a value of the schema consists of, by the part of its path."""
    found: dict[str, Json] = dict(schema.get("properties", {}))
    further = next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties", False))
    if further is not False:
        found[KEY] = further if isinstance(further, dict) else {"type": "string"}
    if "items" in schema:
        found[LIST] = schema["items"]
    return found


def fields_of(document: Json, schema: Json, path: str = "", depth: int = 0) -> set[str]:
    """The paths of everything that can be filled in, such as "lines.[].product_id"."""
    schema = _resolved(document, schema)
    options, parts = _options(schema), _parts(schema)
    if depth > MAX_DEPTH:
        return set()
    if options:
        return {found for option in options for found in fields_of(document, option, path, depth + 1)}
    if parts:
        return {
            found
            for name, part in parts.items()
            for found in fields_of(document, part, f"{path}.{name}".lstrip("."), depth + 1)
        }
    return {path}


def marked_in(body: Any, path: str = "") -> set[str]:
    """The paths of the markers in a body."""
    if isinstance(body, dict):
        names = ((KEY if name == MARKER else name, value) for name, value in body.items())
        return {found for name, value in names for found in marked_in(value, f"{path}.{name}".lstrip("."))}
    if isinstance(body, list):
        return {found for value in body for found in marked_in(value, f"{path}.{LIST}".lstrip("."))}
    return {path} if isinstance(body, str) and MARKER in body else set()


@dataclass(frozen=True)
class _Sampler:
    """Makes values of schemas; ``choice`` is the number of the alternative where there are several."""

    document: Json
    wrong: bool
    choice: int

    def parameter(self, name: str, schema: Json) -> str:
        if self.wrong:
            return MARKED_ID
        found = self.value(schema, 0, name)
        value = found[0] if isinstance(found, list) else found
        return value if isinstance(value, str) else str(value).lower()

    def value(self, schema: Json, depth: int, name: str = "") -> Any:
        """``name`` is that of the field."""
        schema = _resolved(self.document, schema)
        if options := _options(schema):
            return self.value(options[self.choice % len(options)], depth + 1, name)
        if "allOf" in schema:
            return self.value(schema["allOf"][0], depth + 1, name)
        parts = _parts(schema) if depth <= MAX_DEPTH else {}
        if schema.get("type") == "array":
            return [self.value(part, depth + 1, name) for part in parts.values()]
        if schema.get("type") == "object" or parts:
            return {MARKER if key == KEY else key: self.value(part, depth + 1, key) for key, part in parts.items()}
        return MARKER if self.wrong else _scalar(name, schema)


def _scalar(name: str, schema: Json) -> Any:
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    match schema.get("type"):
        case "integer" | "number":
            return int(schema.get("minimum", 1))
        case "boolean":
            return True
        case "null":
            return None
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]()
    return RIGHT.get(name, MARKER[: schema.get("maxLength", len(MARKER))])


def call(method: MethodDescriptor, *, wrong: bool) -> Message:
    """The request of a gRPC method with a marker in each text; ids are ids unless it is to be ``wrong``."""
    message = message_factory.GetMessageClass(method.input_type)()
    for field in method.input_type.fields:
        value = _field(field, wrong)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    return message


def _field(field: FieldDescriptor, wrong: bool) -> str | int:
    if field.type != FieldDescriptor.TYPE_STRING:
        return 1
    is_id = field.name.removesuffix("s").endswith("_id")
    return str(uuid.uuid4()) if is_id and not wrong else MARKER
