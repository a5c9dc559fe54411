"""The calls from one service to another: how they do, and what an administrator can change of them.

Each instance of the caller is asked, and changes what it does itself. All of it ends by itself after a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shop.kit.upstreams import PREFIX, Upstreams, UpstreamState
from shop.ops.internal import Internal
from shop.ops.levers import audited

log = logging.getLogger(__name__)

FOR_S = 60.0
"""How long an opened breaker and an injected fault last."""
GATEWAY_PREFIX = "/api/v1/services/upstreams"
"""The gateway answers nothing under /internal."""
CLOSED = "closed"

Action = Literal["open", "close", "inject", "end"]
NAMES: Mapping[Action, str] = {
    "open": "open breaker", "close": "close breaker", "inject": "inject fault", "end": "end fault"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """The calls to one service, as each instance of the caller that answers sees them."""

    target: str
    seen: Sequence[UpstreamState]
    may_inject: bool

    @property
    def breaker(self) -> str:
        """Its state in words; of several instances how many are not closed."""
        others = [one.breaker.value.replace("_", " ") for one in self.seen if one.breaker.value != CLOSED]
        if not others:
            return CLOSED
        return others[0] if len(self.seen) == 1 else f"{others[0]} ({len(others)} of {len(self.seen)})"

    @property
    def fault(self) -> str:
        """The injected fault in words; empty without one."""
        found = next((one.fault for one in self.seen if one.fault), None)
        if found is None:
            return ""
        parts = [f"{found.latency_ms:g} ms later"] if found.latency_ms else []
        parts += [f"{found.error_percent:g} % fail"] if found.error_percent else []
        return f"{', '.join(parts)}, for {found.seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class Reached:
    """How many instances of the caller did what was asked."""

    done: int
    asked: int


class Calls:
    def __init__(self, internal: Internal) -> None:
        self._internal = internal

    async def of(self, source: str) -> list[Call]:
        """The services that ``source`` calls; none when no instance of it answers."""
        answers = [
            Upstreams.model_validate(one) for one in await self._internal.each("GET", source, _path(source)) if one
        ]
        seen: dict[str, list[UpstreamState]] = {}
        for answer in answers:
            for one in answer.items:
                seen.setdefault(one.name, []).append(one)
        may_inject = any(answer.may_inject for answer in answers)
        return [Call(target, states, may_inject) for target, states in sorted(seen.items())]

    async def change(
        self,
        source: str,
        target: str,
        action: Action,
        admin_id: str,
        *,
        latency_ms: float = 0,
        error_percent: float = 0,
    ) -> Reached:
        """Do it in every instance of ``source``, and write who did it to the log."""
        place, body = _order(action, latency_ms, error_percent)
        answers = await self._internal.each("PUT", source, f"{_path(source)}/{target}/{place}", body)
        reached = Reached(sum(one is not None for one in answers), len(answers))
        audited(NAMES[action], f"{source} to {target}", admin_id, "done" if reached.done else "failed")
        return reached


def _order(action: Action, latency_ms: float, error_percent: float) -> tuple[str, dict[str, Any]]:
    match action:
        case "open":
            return "breaker", {"state": "open", "seconds": FOR_S}
        case "close":
            return "breaker", {"state": "closed"}
        case "inject":
            return "fault", {"latency_ms": latency_ms, "error_percent": error_percent, "seconds": FOR_S}
        case "end":
            return "fault", {}


def _path(source: str) -> str:
    return GATEWAY_PREFIX if source == "gateway" else PREFIX
