"""The limit of concurrent work: slow work stops counting, up to a limit, and the number of slots stays the same."""

from __future__ import annotations

import asyncio

import pytest

from shop.devkit.testing import wait_until
from shop.operator.kube import slots as module
from shop.operator.kube.client import MAX_IN_FLIGHT, MAX_SLOW
from shop.operator.kube.slots import Slots

GUARANTEED_SEATS = 24
"""Requests of service accounts that the API server's default priority and fairness always runs at once."""
SHORT_S = 0.02
NEVER_S = 3_600.0


class Work:
    """Tasks that take a slot and work until `ended` is called."""

    def __init__(self, slots: Slots, count: int) -> None:
        self.begun = 0
        self.end = asyncio.Event()
        self._tasks = [asyncio.create_task(self._work(slots)) for _ in range(count)]

    async def _work(self, slots: Slots) -> None:
        await slots.acquire()
        with slots.working():
            self.begun += 1
            await self.end.wait()

    async def ended(self) -> None:
        self.end.set()
        await asyncio.gather(*self._tasks)


async def settled(work: Work) -> int:
    """How many have begun once the loop has turned a few times."""
    for _ in range(10):
        await asyncio.sleep(0)
    return work.begun


async def test_no_more_work_at_once_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_S", NEVER_S)
    work = Work(Slots(2, 2), 5)
    assert await settled(work) == 2
    await work.ended()
    assert work.begun == 5


async def test_slow_work_gives_its_slot_back_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots(2, 3)
    monkeypatch.setattr(module, "SLOW_S", SHORT_S)
    slow = Work(slots, 10)
    await wait_until(lambda: slow.begun == 5, what="both slots and three slow ones")
    monkeypatch.setattr(module, "SLOW_S", NEVER_S)
    more = Work(slots, 1)
    assert (await settled(more), slow.begun) == (0, 5)
    await slow.ended()
    await more.ended()
    again = Work(slots, 5)
    assert await settled(again) == 2
    await again.ended()


def test_requests_stay_below_what_the_api_server_guarantees_service_accounts() -> None:
    """Their priority level by default, `workload-low`, has 245 of 600 seats and lends 90 % of them at most."""
    assert MAX_IN_FLIGHT + MAX_SLOW < GUARANTEED_SEATS


async def test_a_slot_that_was_not_used_is_given_back() -> None:
    slots = Slots(1, 0)
    await slots.acquire()
    slots.release()
    await asyncio.wait_for(slots.acquire(), 1)
