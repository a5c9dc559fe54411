"""What an administrator can do to the shop on this machine: stop, start, restart, scale, and run the audit.

Each use is a line in the log, with who did it and what became of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shop.kit.errors import Problem, Unavailable
from shop.kit.logging import decision
from shop.ops.supervisor import Component, Supervisor

log = logging.getLogger(__name__)

Action = Literal["stop", "start", "restart"]
COMMANDS: Mapping[Action, tuple[str, ...]] = {"stop": ("stop",), "start": ("start",), "restart": ("stop", "start")}
DONE: Mapping[Action, str] = {"stop": "was stopped", "start": "was started", "restart": "was restarted"}
NEEDED = frozenset({"ops", "gateway", "storefront"})
"""Without these nobody could come back to this page, or sign in for it, to start them again."""
NO_RESTART = frozenset({"ops", "gateway"})
"""The answer to the request goes through them."""


@dataclass(frozen=True, slots=True)
class Oracle:
    """One promise of the shop as the audit found it."""

    number: int
    name: str
    ok: bool
    checked: int
    violations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """``at`` is in seconds since 1970; ``problem`` says why there is no result."""

    at: float
    oracles: tuple[Oracle, ...] = ()
    problem: str = ""

    @property
    def ok(self) -> bool:
        return not self.problem and all(oracle.ok for oracle in self.oracles)


def actions(component: Component) -> list[Action]:
    """What may be done to a component."""
    if component.state in {"stopped", "failed"}:
        return ["start"]
    found: list[Action] = [] if component.noun in NO_RESTART else ["restart"]
    return found if component.noun in NEEDED else [*found, "stop"]


class Levers:
    """One change at a time. The last audit is kept until the process ends."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.audit: Audit | None = None
        self._changing = asyncio.Lock()
        self._auditing: asyncio.Task[None] | None = None

    @property
    def auditing(self) -> bool:
        return self._auditing is not None and not self._auditing.done()

    async def change(self, name: str, action: Action, admin_id: str) -> str:
        """Do it and return what was done, in a sentence; Problem 404, 409 or Unavailable when it was not."""
        component = next((one for one in await self.supervisor.components() if one.name == name), None)
        if component is None:
            raise Problem(404, "unknown_component", f"Nothing of this shop is called {name}.")
        if action not in actions(component):
            raise Problem(409, "not_possible", f"{name} is {component.state}; that is not possible now.")
        outcome = "failed"
        try:
            async with self._changing:
                for command in COMMANDS[action]:
                    await self.supervisor.ask(command, component=name)
            outcome = "done"
        finally:
            audited(action, name, admin_id, outcome)
        return f"{name} {DONE[action]}."

    async def scale(self, noun: str, count: int, admin_id: str) -> str:
        """Have ``count`` processes of a service and return in a sentence which; Problem or Unavailable otherwise."""
        outcome = "failed"
        try:
            async with self._changing:
                answer = await self.supervisor.ask("scale", service=noun, count=count)
            outcome = "done"
        finally:
            audited("scale", f"{noun} to {count}", admin_id, outcome)
        return f"{noun} was scaled: {', '.join(answer.get('components', ()))}."

    def start_audit(self, admin_id: str) -> bool:
        """Whether an audit was begun: one runs at a time."""
        if self.auditing:
            return False
        audited("audit", "shop", admin_id, "begun")
        self._auditing = asyncio.create_task(self._audit())
        return True

    async def _audit(self) -> None:
        try:
            self.audit = read_audit(await self.supervisor.ask("audit"), time.time())
        except (Problem, Unavailable) as error:
            self.audit = Audit(time.time(), problem=error.detail if isinstance(error, Problem) else str(error))

    async def close(self) -> None:
        if self._auditing is not None:
            self._auditing.cancel()
            await asyncio.wait({self._auditing})


def read_audit(document: Mapping[str, Any], at: float) -> Audit:
    """What `shopctl audit --json` says."""
    oracles = tuple(
        Oracle(
            int(one["number"]),
            str(one["name"]),
            bool(one["ok"]),
            int(one["checked"]),
            tuple(str(violation) for violation in one.get("violations", ())),
        )
        for one in document.get("oracles", ())
    )
    return Audit(at, oracles)


def audited(action: str, component: str, admin_id: str, outcome: str) -> None:
    """Write to the log who used which lever on what, and whether it was done."""
    decision(
        log, "lever_used", "lever %s on %s: %s", action, component, outcome, admin_id=admin_id, action=action,
        component=component, outcome=outcome,
    )  # fmt: skip
