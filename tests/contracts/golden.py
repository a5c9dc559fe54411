"""The golden JSON schemas of events and of calls between services, and what may change in them; protos.py has those of
gRPC.

Old events wait in outboxes and streams while new code reads them, and old code reads new events during a rolling
update; so do callers and called services of two versions. So a change must suit both directions: the only one allowed
within a version is a new optional field.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shop.contracts
from shop.contracts.calls import BatchCall, ReadCall
from shop.contracts.events import EVENTS
from tests.contracts import protos

Schema = dict[str, Any]
Call = BatchCall[Any, Any] | ReadCall[Any, Any]

FOLDER = Path(__file__).parents[2] / "services" / "contracts" / "schemas"
FOR_PEOPLE = frozenset({"title", "description", "default", "examples"})
ADVICE = "that breaks readers: leave {name} as it is and publish a new version beside it"


def _calls() -> Iterator[Call]:
    for module in pkgutil.iter_modules(shop.contracts.__path__, "shop.contracts."):
        for member in vars(importlib.import_module(module.name)).values():
            if isinstance(member, BatchCall | ReadCall):
                yield member


CALLS: dict[str, Call] = {call.name: call for call in _calls()}
"""Every call between services by its name."""


def names() -> list[str]:
    """Names of all golden schemas: event types, and ``calls/<call>.request`` and ``.result``."""
    return [*EVENTS, *(f"calls/{name}.{part}" for name in sorted(CALLS) for part in ("request", "result"))]


def schema_of(name: str) -> Schema:
    """The JSON schema of an event type, or of one side of a call, as the code has it."""
    if name in EVENTS:
        return {"$id": name, **EVENTS[name].model_json_schema()}
    call_name, _, part = name.removeprefix("calls/").rpartition(".")
    call = CALLS[call_name]
    adapter = call.result if part == "result" else call.item if isinstance(call, BatchCall) else call.query
    return {"$id": name, **adapter.json_schema()}


def golden_path(name: str) -> Path:
    return FOLDER / f"{name}.json"


def text_of(schema: Schema) -> str:
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def breaking_changes(golden: Schema, current: Schema) -> list[str]:
    """Every difference that could stop a reader, as "path: what changed"; empty when all are additive."""
    return list(_differences(golden, current, golden, current, "$"))


def _differences(old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    yield from _fields(old, new, old_root, new_root, path)
    for key in sorted((old.keys() | new.keys()) - FOR_PEOPLE - {"$defs", "$id", "properties", "required"}):
        before, after = old.get(key), new.get(key)
        if key == "items" and isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, old_root, new_root, f"{path}[]")
        elif key in {"anyOf", "oneOf"} and len(before or []) == len(after or []):
            for index, (one, other) in enumerate(zip(before or [], after or [], strict=True)):
                yield from _differences(one, other, old_root, new_root, f"{path}|{index}")
        elif before != after:
            yield f"{path}: {key} was {before!r}, is {after!r}"


def _fields(old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    required_before, required_after = set(old.get("required", ())), set(new.get("required", ()))
    for name in before:
        if name not in after:
            yield f"{path}.{name}: removed"
        else:
            yield from _differences(before[name], after[name], old_root, new_root, f"{path}.{name}")
    for name in sorted(required_after - required_before):
        yield f"{path}.{name}: newly required"
    for name in sorted((required_before - required_after) & after.keys()):
        yield f"{path}.{name}: no longer always there"


def _resolved(schema: Schema, root: Schema) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target: Schema = root["$defs"][reference.rpartition("/")[2]]
    return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}


def assert_current(name: str) -> None:
    """The golden schema is what the code has, and nothing in it changed in a way that breaks readers."""
    path = golden_path(name)
    assert path.exists(), f"{name} has no golden schema yet: run `make schemas` and commit it"
    broken = changes_since_golden(name)
    assert not broken, f"{broken}: " + ADVICE.format(name=name)
    assert path.read_text(encoding="utf-8") == text_of(schema_of(name)), (
        f"{name} changed in a way that readers of both versions survive: run `make schemas` and commit it"
    )


def main() -> int:
    """Write the golden schemas that are new or extended; 1, and nothing written, when a change breaks readers."""
    broken = [f"{name} {change}" for name in names() for change in changes_since_golden(name)]
    broken += [f"{name} {change}" for name in protos.FILES for change in protos.changes_since_golden(name)]
    for line in broken:
        print(line, file=sys.stderr)
    if broken:
        print("nothing written: a breaking change is a new event type, call or package beside the old", file=sys.stderr)
        return 1
    texts = {golden_path(name): text_of(schema_of(name)) for name in names()}
    texts |= {protos.golden_path(name): protos.text_of(file) for name, file in protos.FILES.items()}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"{len(texts)} schemas in {FOLDER}")
    return 0


def changes_since_golden(name: str) -> list[str]:
    """The breaking changes against the golden schema; none when it is new."""
    path = golden_path(name)
    return breaking_changes(json.loads(path.read_text(encoding="utf-8")), schema_of(name)) if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
