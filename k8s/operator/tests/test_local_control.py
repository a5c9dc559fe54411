"""Commands to a supervisor: what a client receives while one is carried out, and when that takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from shop.devkit.testing import wait_until
from shop.operator.errors import ShopctlError
from shop.operator.local import control, running_shop
from shop.operator.local.control import ControlServer
from shop.operator.local.data_dir import DataDir

TOKEN = "token-of-the-shop"


class Shop:
    """Carries a command out when it may; meanwhile it waits for something."""

    def __init__(self) -> None:
        self.port = 0
        self.waits_for = "order-1 starting"
        self.may_finish = asyncio.Event()
        self.finished: list[str] = []

    async def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        await self.may_finish.wait()
        self.finished.append(str(request["command"]))
        if request["command"] == "scale":
            raise ShopctlError("no such service")
        return {"services": ["order"]}

    async def ask(self, command: str, reported: list[str]) -> dict[str, Any]:
        return await asyncio.to_thread(control.ask, self.port, TOKEN, command, report=reported.append)


@pytest.fixture
async def shop(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr(control, "PROGRESS_EVERY_S", 0.01)
    made = Shop()
    server = ControlServer(TOKEN, made.handle, lambda: made.waits_for)
    made.port = await server.start()
    yield made
    made.may_finish.set()
    await server.close()


async def test_a_client_hears_what_is_waited_for_each_time_that_it_changes(shop: Shop) -> None:
    reported: list[str] = []
    asked = asyncio.create_task(shop.ask("apply", reported))
    await wait_until(lambda: reported == ["order-1 starting"])
    shop.waits_for = "order-2 starting"
    await wait_until(lambda: reported == ["order-1 starting", "order-2 starting"])
    shop.may_finish.set()
    assert await asked == {"services": ["order"]}
    assert len(reported) == 2


async def test_a_refusal_comes_after_progress_as_well(shop: Shop) -> None:
    reported: list[str] = []
    asked = asyncio.create_task(shop.ask("scale", reported))
    await wait_until(lambda: reported)
    shop.may_finish.set()
    with pytest.raises(ShopctlError, match="no such service"):
        await asked


async def test_a_command_that_takes_too_long_is_carried_out_all_the_same(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ANSWER_TIMEOUT_S", 0.0)
    with pytest.raises(TimeoutError, match="not finished within 0 s: order-1 starting"):
        await shop.ask("apply", [])
    shop.may_finish.set()
    await wait_until(lambda: shop.finished == ["apply"])


async def test_a_supervisor_that_sends_nothing_is_given_up(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(control, "PROGRESS_EVERY_S", 60.0)
    monkeypatch.setattr(control, "SILENCE_S", 0.05)
    data = DataDir(tmp_path / "shop")
    data.claim("bookshop", "EUR")
    data.write_state({"control": {"port": shop.port, "token": TOKEN}})
    with pytest.raises(ShopctlError, match=r"has not answered apply: .*It may still carry it out; .*shopctl status"):
        await asyncio.to_thread(running_shop.command, data, "apply", shop="")
    data.release()
