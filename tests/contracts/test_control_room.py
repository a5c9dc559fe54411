"""The control room's client of the supervisor fits the supervisor's own server and state."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from shop.kit.errors import Problem, Unavailable
from shop.operator.errors import ShopctlError
from shop.operator.local.component import Component as RealComponent
from shop.operator.local.control import ControlServer
from shop.ops import supervisor
from shop.ops.supervisor import Supervisor

TOKEN = "token-of-the-shop"


async def handle(request: Mapping[str, Any]) -> dict[str, Any]:
    if request["command"] == "restart":
        await asyncio.Event().wait()
    if request["command"] == "stop":
        return {"components": [request["component"]]}
    raise ShopctlError("unknown command")


async def never(_: int) -> bool:
    return False


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    """The state of a shop as its supervisor writes it."""
    server = ControlServer(TOKEN, handle)
    control = {"port": await server.start(), "token": TOKEN}
    component = RealComponent("order-1", "service", 8_101, tmp_path / "log", spawn=lambda: None, ready=never)  # type: ignore[arg-type, return-value]
    (tmp_path / "state.json").write_text(json.dumps({"components": [component.snapshot()], "control": control}))
    yield tmp_path
    await server.close()


async def test_commands_are_answered(data_dir: Path) -> None:
    assert await Supervisor(data_dir).ask("stop", component="order-1") == {"components": ["order-1"]}


async def test_components_are_read(data_dir: Path) -> None:
    (found,) = await Supervisor(data_dir).components()
    assert (found.name, found.noun, found.state, found.port, found.pid) == ("order-1", "order", "waiting", 8_101, None)


async def test_a_refusal_is_a_problem(data_dir: Path) -> None:
    with pytest.raises(Problem, match="unknown command"):
        await Supervisor(data_dir).ask("dance")


async def test_a_command_that_takes_long_is_said_to_go_on(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "ANSWER_TIMEOUT_S", 0.05)
    with pytest.raises(Problem, match="goes on with it") as raised:
        await Supervisor(data_dir).ask("restart", component="order-1")
    assert raised.value.status == supervisor.LATE_STATUS


async def test_without_a_shop_the_supervisor_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await Supervisor(tmp_path).components()
    (tmp_path / "state.json").write_text(json.dumps({"control": {"port": 1, "token": TOKEN}}))
    with pytest.raises(Unavailable):
        await Supervisor(tmp_path).ask("status")
