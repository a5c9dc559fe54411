"""What differs between two states of an object, as a person names it. Pure; the values of Secrets never leave it."""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from shop.operator.engine.reconcile.drift import identifying_key
from shop.operator.kube.objects import APPLIED, Object

MAX_SHOWN_CHARACTERS = 90
MAX_SHOWN_LINES = 12
LONG_CHARACTERS, CONTEXT_CHARACTERS = 48, 16
HASH, HASH_CHARACTERS = re.compile(r"[0-9a-f]{32,}"), 8
HIDDEN = "(hidden)"
SERVER_FIELDS = frozenset(
    {"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink", "deletionTimestamp"}
)
BOOKKEEPING = frozenset(
    {APPLIED, "kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision"}
)


class _Absent(Enum):
    ABSENT = "absent"


ABSENT: Final = _Absent.ABSENT
"""Instead of a value where there is none, since null is a value."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field; `before` or `after` is ABSENT where it is added or removed."""

    path: str
    before: Any
    after: Any

    def document(self) -> dict[str, Any]:
        """For scripts: `from` is missing where the field is new, `to` where it goes."""
        ends = {"from": self.before, "to": self.after}
        return {"path": self.path, **{end: value for end, value in ends.items() if value is not ABSENT}}

    def lines(self) -> list[str]:
        """One line, or the changed lines of a long text."""
        if lines := _line_diff(self.before, self.after):
            return [f"{self.path}:", *lines]
        if self.before is ABSENT:
            return [f"{self.path}: {_cut(_text(self.after))} (new)"]
        if self.after is ABSENT:
            return [f"{self.path}: {_cut(_text(self.before))} (removed)"]
        if self.before == HIDDEN:
            return [f"{self.path}: changed"]
        before, after = _where_they_differ(_text(self.before), _text(self.after))
        return [f"{self.path}: {_cut(before)} -> {_cut(after)}"]


def essence(obj: Object) -> Object:
    """The object without what the API server and the operator write for themselves."""
    metadata = {name: value for name, value in obj.get("metadata", {}).items() if name not in SERVER_FIELDS}
    annotations = {name: text for name, text in metadata.pop("annotations", {}).items() if name not in BOOKKEEPING}
    kept = {name: value for name, value in obj.items() if name not in ("metadata", "status")}
    return {**kept, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}


def changes(before: Object, after: Object, *, values_known: bool = True) -> list[Change]:
    """Fields that differ, sorted by path. Of a Secret only which keys; `values_known` False: only new and gone keys."""
    found = [change for change in _compare(essence(before), essence(after), "") if change.before != change.after]
    if after.get("kind") != "Secret":
        return sorted(found, key=lambda change: change.path)
    hidden = [_hidden(change) for change in found]
    kept = [one for one in hidden if values_known or HIDDEN != one.before or HIDDEN != one.after]
    return sorted(kept, key=lambda change: change.path)


def _hidden(change: Change) -> Change:
    """Of what a Secret holds only that it is there, and the same for the annotations that may repeat it."""
    if change.path.partition(".")[0] not in ("data", "stringData"):
        return change
    return Change(change.path, *(end if end is ABSENT else HIDDEN for end in (change.before, change.after)))


def _compare(before: Any, after: Any, path: str) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before.keys() | after.keys():
            yield from _compare(before.get(name, ABSENT), after.get(name, ABSENT), _joined(path, name))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _compare_lists(before, after, path)
    else:
        yield Change(path, before, after)


def _joined(path: str, name: str) -> str:
    """`metadata.labels[app.kubernetes.io/name]`: brackets where the name itself holds dots."""
    if "." in name or "/" in name:
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else name


def _compare_lists(before: Sequence[Any], after: Sequence[Any], path: str) -> Iterator[Change]:
    if (key := identifying_key(before, after)) is None:
        old, new = dict(enumerate(before)), dict(enumerate(after))
        members: list[Any] = sorted(old.keys() | new.keys())
    else:
        old, new = ({member[key]: member for member in members} for members in (before, after))
        members = [*old, *(name for name in new if name not in old)]
    for name in members:
        yield from _compare(old.get(name, ABSENT), new.get(name, ABSENT), f"{path}[{name}]")


def _text(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text.replace("\n", "\\n")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def _where_they_differ(before: str, after: str) -> tuple[str, str]:
    """Two long texts without most of what they have in common; of two hashes the beginnings."""
    if all(HASH.fullmatch(text) for text in (before, after)):
        return f"{before[:HASH_CHARACTERS]}...", f"{after[:HASH_CHARACTERS]}..."
    if min(len(before), len(after)) <= LONG_CHARACTERS:
        return before, after
    start = max(0, _same(before, after) - CONTEXT_CHARACTERS)
    end = max(0, _same(before[start:][::-1], after[start:][::-1]) - CONTEXT_CHARACTERS)
    return _middle(before, start, end), _middle(after, start, end)


def _same(before: str, after: str) -> int:
    """How many characters the two have in common from the beginning."""
    pairs = enumerate(zip(before, after, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(before), len(after)))


def _middle(text: str, start: int, end: int) -> str:
    return f"{'...' if start else ''}{text[start : len(text) - end]}{'...' if end else ''}"


def _line_diff(before: Any, after: Any) -> list[str]:
    """Changed lines of a text of several; none for anything else."""
    if not isinstance(before, str) or not isinstance(after, str) or "\n" not in before + after:
        return []
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))
    changed = [line for line in lines[2:] if not line.startswith("@@")]
    shown = [f"  {line[0]} {line[1:][:MAX_SHOWN_CHARACTERS]}" for line in changed[:MAX_SHOWN_LINES]]
    rest = len(changed) - len(shown)
    return [*shown, *([f"  and {rest} more lines; --json has them"] if rest else [])]
