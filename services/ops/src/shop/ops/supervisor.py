"""The supervisor of the shop on this machine: what runs, and commands to it. Nothing of it in a cluster.

It listens on 127.0.0.1 for one JSON line per connection; port and token are in the data folder, which only the user
who started the shop can read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from shop.kit.errors import Problem, Unavailable

NAME = "supervisor"
HOST = "127.0.0.1"
MAX_LINE_BYTES = 4_000_000
LATE_STATUS = 504
ANSWER_TIMEOUT_S = 120.0
"""A store that stops has 15 s and a service that starts a minute; an audit reads every order."""


@dataclass(frozen=True, slots=True)
class Component:
    """One process of the local shop."""

    name: str
    kind: str
    state: str
    healthy: bool
    pid: int | None
    port: int
    restarts: int
    detail: str

    @property
    def noun(self) -> str:
        """The service without the number of the instance; a store's own name."""
        return self.name.rpartition("-")[0] if self.kind == "service" else self.name

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"


class Supervisor:
    def __init__(self, data_dir: Path) -> None:
        self._state_file = data_dir / "state.json"

    async def components(self) -> list[Component]:
        """What runs, as of the last change that the supervisor noticed; Unavailable when none writes that."""
        state = await asyncio.to_thread(self._state)
        return [_component(one) for one in state.get("components", [])]

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one command; Problem 409 ``refused_by_supervisor`` with its reason, 504 when it does not
        come in time; Unavailable when there is no supervisor."""
        control = (await asyncio.to_thread(self._state)).get("control") or {}
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await _exchange(
                    int(control["port"]), {"token": control["token"], "command": command, **arguments}
                )
        except TimeoutError as error:
            raise Problem(
                LATE_STATUS,
                "supervisor_timeout",
                f"the supervisor needs more than {ANSWER_TIMEOUT_S:g} s, and goes on with it",
            ) from error
        except (KeyError, OSError, ValueError) as error:
            raise Unavailable(NAME, f"the supervisor does not answer: {type(error).__name__}") from error
        if "error" in answer:
            raise Problem(409, "refused_by_supervisor", str(answer["error"]))
        return answer

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = orjson.loads(self._state_file.read_bytes())
        except (OSError, ValueError) as error:
            raise Unavailable(NAME, "the supervisor's state cannot be read") from error
        return state


async def _exchange(port: int, request: Mapping[str, Any]) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection(HOST, port, limit=MAX_LINE_BYTES)
    try:
        writer.write(orjson.dumps(request) + b"\n")
        await writer.drain()
        answer: dict[str, Any] = orjson.loads(await reader.readline())
        return answer
    finally:
        writer.close()


def _component(document: Mapping[str, Any]) -> Component:
    values = {name: document.get(name) for name in Component.__dataclass_fields__}
    return Component(**values)  # type: ignore[arg-type]
