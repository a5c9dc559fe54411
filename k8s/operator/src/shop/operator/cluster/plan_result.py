"""What applying a Shop would do, as data and as text. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shop.operator.cluster.diff import Change
from shop.operator.kube.objects import NamespacedName, Ref

EXIT_SAME, EXIT_REFUSED, EXIT_CHANGES = 0, 1, 2
MAX_SHOWN_CHANGES = 25


class Action(StrEnum):
    """What would happen to one object."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    REFUSE = "refuse"
    UNKNOWN = "unknown"
    NONE = "none"


MARKS = {Action.CREATE: "+", Action.CHANGE: "~", Action.DELETE: "-", Action.REFUSE: "!", Action.UNKNOWN: "?"}
SPOKEN = {
    Action.CREATE: "to create",
    Action.CHANGE: "to change",
    Action.DELETE: "to delete",
    Action.REFUSE: "refused",
    Action.UNKNOWN: "not compared",
    Action.NONE: "unchanged",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One object; `message` says why it is refused or not compared. `wave` is "" where none is known."""

    action: Action
    ref: Ref
    wave: str = ""
    changes: Sequence[Change] = ()
    message: str = ""

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = {"action": self.action.value, "id": str(self.ref), "wave": self.wave}
        if self.changes:
            found["changes"] = [change.document() for change in self.changes]
        if self.message:
            found["message"] = self.message
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """`items` stand in the order of applying, deletions last. `notes` are what the reader must know besides."""

    shop: NamespacedName
    is_new: bool
    items: Sequence[Item]
    notes: Sequence[str] = ()

    @property
    def code(self) -> int:
        """0 nothing would change, 2 something would, 1 the API server would refuse something."""
        actions = {item.action for item in self.items}
        if Action.REFUSE in actions:
            return EXIT_REFUSED
        return EXIT_CHANGES if actions & {Action.CREATE, Action.CHANGE, Action.DELETE} else EXIT_SAME

    def document(self) -> dict[str, Any]:
        """For scripts: objects that stay as they are are counted only."""
        counted = self._counted()
        return {
            "shop": self.shop.name,
            "namespace": self.shop.namespace,
            "new": self.is_new,
            "changed": self.code != EXIT_SAME,
            "summary": {action.value: counted[action] for action in Action},
            "objects": [item.document() for item in self.items if item.action is not Action.NONE],
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """For a person: a mark, the object, its fields; the sum at the end, where a terminal stops."""
        blocks = [line for item in self.items if item.action is not Action.NONE for line in _lines(item)]
        notes = [f"Note: {note}" for note in self.notes]
        return "\n".join([*blocks, *([""] if blocks else []), *notes, self._sum()])

    def _sum(self) -> str:
        counted = self._counted()
        parts = [f"{counted[action]} {SPOKEN[action]}" for action in Action if counted[action]]
        head = f"{'New Shop' if self.is_new else 'Shop'} {self.shop.name} in namespace {self.shop.namespace}"
        return f"{head}: {', '.join(parts)}." + (" Nothing would change." if self.code == EXIT_SAME else "")

    def _counted(self) -> Counter[Action]:
        return Counter(item.action for item in self.items)


def _lines(item: Item) -> list[str]:
    reason = f": {item.message}" if item.message else ""
    shown = [f"    {line}" for change in item.changes[:MAX_SHOWN_CHANGES] for line in change.lines()]
    rest = len(item.changes) - MAX_SHOWN_CHANGES
    return [
        f"{MARKS[item.action]} {item.ref.display_name}{reason}",
        *shown,
        *([f"    and {rest} more fields; --json lists all"] if rest > 0 else []),
    ]
