"""Work that a start does once, such as migrations: what the display shows of it."""

from dataclasses import dataclass
from typing import Any

from shop.operator.local.component import State


@dataclass
class Step:
    """Work that is done once, shown with the components."""

    name: str
    state: State = State.WAITING
    seconds: float | None = None
    detail: str = ""

    def snapshot(self) -> dict[str, Any]:
        seconds = None if self.seconds is None else round(self.seconds, 2)
        return {"name": self.name, "state": str(self.state), "seconds": seconds, "detail": self.detail}
