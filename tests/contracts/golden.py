"""The golden JSON schemas of the events, and what may change in them.

Old events wait in outboxes and streams while new code reads them, and old code reads new events during a rolling
update. So a change must suit both directions: the only one allowed within a version is a new optional field.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shop.contracts.events import EVENTS

Schema = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "services" / "contracts" / "schemas"
FOR_PEOPLE = frozenset({"title", "description", "default", "examples"})
ADVICE = "that breaks readers: leave {name} as it is and publish a new version beside it"


def schema_of(name: str) -> Schema:
    """The JSON schema of the event type as the code has it."""
    return {"$id": name, **EVENTS[name].model_json_schema()}


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


def main() -> int:
    """Write the golden schema of every new or extended event; 1, and nothing written, when a change breaks readers."""
    broken = [f"{name} {change}" for name in EVENTS for change in changes_since_golden(name)]
    for line in broken:
        print(line, file=sys.stderr)
    if broken:
        print("nothing written: a breaking change is a new event type with the next version", file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in EVENTS:
        golden_path(name).write_text(text_of(schema_of(name)), encoding="utf-8")
    print(f"{len(EVENTS)} schemas in {FOLDER}")
    return 0


def changes_since_golden(name: str) -> list[str]:
    """The breaking changes of the event type against its golden schema; none when it is new."""
    path = golden_path(name)
    return breaking_changes(json.loads(path.read_text(encoding="utf-8")), schema_of(name)) if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
