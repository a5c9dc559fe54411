"""Drift detection by managedFields, so that defaults need not be compared.

`metadata.managedFields` says which fields this operator has applied and still owns. A client that changes or removes
one of them becomes its owner, so a hash over our fields and their values changes with every change that concerns us,
and with no other: foreign annotations, an autoscaler's replicas, the status.

A set of fields is a tree: `f:x` a field, `k:{...}` the item of a list with these keys, `v:...` an item that is its own
key, `i:n` an item by position, `.` the item itself; an empty tree is a leaf and stands for the whole value.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import orjson

from shop.operator.kube.objects import MANAGER, Object, amount

DIGEST_BYTES = 10
MAX_PATHS = 50
"""Of a difference, which is shown to people."""
Fields = dict[str, Any]
_ABSENT: Any = object()
_KEYS = ("name", "mountPath", "containerPort", "port", "uid", "key", "type", "topologyKey", "ip", "host")
"""One of these identifies the items of a list in a path."""


def digest(obj: Object) -> str:
    """Hash of the fields that MANAGER owns by Apply, and of their values; the same for equal ones."""
    ours, others = _managed(obj)
    values: list[Any] = []
    for fields in ours:
        # A stringData that was applied stays a field of ours, though its values are in `data` from then on.
        _collect(fields, {**obj, "stringData": obj.get("data")} if "f:stringData" in fields else obj, others, values)
    text = orjson.dumps([ours, values], option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).hexdigest()


def difference(desired: Object, live: Object) -> list[str]:
    """Paths, such as `spec.ports[http].port`, of the fields in which `live` is not what `desired` says, for people.

    At most MAX_PATHS. Two spellings of one quantity are the same. A field of ours that is no longer desired is a
    difference too.
    """
    wanted = desired
    if desired.get("kind") == "Secret" and "stringData" in desired:  # as the server keeps it
        encoded = {name: base64.b64encode(text.encode()).decode() for name, text in desired["stringData"].items()}
        rest = {name: value for name, value in desired.items() if name != "stringData"}
        wanted = {**rest, "data": {**desired.get("data", {}), **encoded}}
    surplus = (path for fields in _managed(live)[0] for path in _surplus(fields, {**desired, **wanted}, live, ""))
    return list(dict.fromkeys([*_unequal(wanted, live, ""), *surplus]))[:MAX_PATHS]


def _managed(obj: Object) -> tuple[list[Fields], list[Fields]]:
    """Our sets of fields, and those of all other managers."""
    ours: list[Fields] = []
    others: list[Fields] = []
    for entry in obj["metadata"].get("managedFields") or ():
        mine = entry.get("manager") == MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")
        (ours if mine else others).append(entry.get("fieldsV1") or {})
    return ours, others


def _collect(fields: Fields, value: Any, others: list[Fields], values: list[Any]) -> None:
    """Append the values of the leaves, in the order of the sorted fields."""
    for name in sorted(fields):
        if name == ".":
            continue
        below, part = fields[name], _part(name, value)
        theirs = [found for other in others if (found := other.get(name))] if others else others
        if below and part is not _ABSENT:
            _collect(below, part, theirs, values)
        elif part is _ABSENT:
            values.append([None, "absent"])
        elif isinstance(part, dict) and theirs:
            # The whole value, less what others own in it: an empty map of ours may have been filled by them.
            foreign = {key[2:] for found in theirs for key in found if key.startswith("f:")}
            values.append({key: inner for key, inner in part.items() if key not in foreign})
        else:
            values.append(part)


def _part(name: str, value: Any) -> Any:
    """The part of `value` that a field's name refers to."""
    what, rest = name[0], name[2:]
    if what == "f":
        return value.get(rest, _ABSENT) if isinstance(value, dict) else _ABSENT
    if not isinstance(value, list):
        return _ABSENT
    if what == "k":
        return _item(_keys_of(rest), value)
    if what == "v":
        wanted = orjson.loads(rest)
        return wanted if wanted in value else _ABSENT
    index = int(rest)
    return value[index] if index < len(value) else _ABSENT


_keys_of = lru_cache(maxsize=4_096)(orjson.loads)
"""Cached: thousands of objects have the same few keys."""


def _item(keys: Object, items: list[Any]) -> Any:
    return next((item for item in items if isinstance(item, dict) and keys.items() <= item.items()), _ABSENT)


def _step(name: str, value: Any, part: Any, first: bool) -> str:
    """What a field's name adds to a path; `part` is what of `value` it refers to."""
    rest = name[2:]
    if name[0] == "f":
        return rest if first else f".{rest}"
    if name[0] == "k" and isinstance(value, list) and (key := identifying_key(value)) and part is not _ABSENT:
        return f"[{part[key]}]"
    if name[0] == "k":
        return f"[{'/'.join(str(found) for found in orjson.loads(rest).values())}]"
    return f"[{orjson.loads(rest)}]"


def identifying_key(*lists: Sequence[Any]) -> str | None:
    """The key that every item of the lists has, each with a value of its own in its list."""
    if not any(lists) or not all(isinstance(item, dict) for items in lists for item in items):
        return None
    for key in _KEYS:
        columns = [[item.get(key) for item in items] for items in lists]
        named = all(isinstance(value, str | int) for values in columns for value in values)
        if named and all(len(set(values)) == len(values) for values in columns):
            return key
    return None


def _unequal(wanted: Any, found: Any, path: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, value in wanted.items():
            where = f"{path}.{name}" if path else name
            if name in found or value not in (None, {}, [], "", False):
                yield from _unequal(value, found.get(name, _ABSENT), where)
    elif isinstance(wanted, list) and isinstance(found, list):
        yield from _unequal_items(wanted, found, path)
    elif not _same(wanted, found):
        yield path


def _unequal_items(wanted: list[Any], found: list[Any], path: str) -> Iterator[str]:
    """Items with a key are compared by it, and foreign ones ignored; all others by their position."""
    if key := identifying_key(wanted):
        by_key = {item[key]: item for item in found if isinstance(item, dict) and key in item}
        for item in wanted:
            yield from _unequal(item, by_key.get(item[key], _ABSENT), f"{path}[{item[key]}]")
    elif len(wanted) != len(found):
        yield path
    else:
        for index, (item, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _unequal(item, other, f"{path}[{index}]")


def _surplus(fields: Fields, wanted: Any, live: Any, path: str) -> Iterator[str]:
    """Fields of ours in `live` that an apply of `wanted` would remove."""
    for name, below in fields.items():
        if name == ".":
            continue
        mine, theirs = _part(name, wanted), _part(name, live)
        where = path + _step(name, live, theirs, not path)
        if mine is _ABSENT and name[0] == "k" and isinstance(theirs, dict) and isinstance(wanted, list):
            # The item's key may have a default of the server, such as protocol TCP, that the wanted one lacks.
            key = identifying_key(live)
            mine = _item({key: theirs[key]}, wanted) if key else _ABSENT
        if mine is _ABSENT:
            yield where
        elif below:
            yield from _surplus(below, mine, theirs, where)


def _same(wanted: Any, found: Any) -> bool:
    try:
        return bool(wanted == found or amount(wanted) == amount(found))
    except ValueError:
        return False
