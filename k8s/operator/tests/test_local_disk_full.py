"""A full disk stops a stream of NATS until it is restarted, which happens by itself once there is space."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel

from shop.devkit.embedded import NatsStore
from shop.devkit.testing import DatabaseFor, wait_until
from shop.kit import outbox
from shop.kit.bus import Bus
from shop.kit.db import Database
from shop.kit.outbox import Outbox
from shop.kit.tasks import Tasks
from shop.operator.cli.status import status_table
from shop.operator.local import store_restarts, supervisor
from shop.operator.local.assembly import store_component
from shop.operator.local.component import Component, State
from shop.operator.local.store_restarts import MAX_RESTARTS, MIN_FREE_BYTES, RESTARTS_WINDOW_S, StoreRestarter
from shop.operator.local.supervisor import Supervisor
from tests.small_disk import SmallDisk, mounted

DISK_MIB = 24
EVENTS = 50
NO_SPACE = "no space left on device"


class Happened(BaseModel):
    TYPE: ClassVar[str] = "kit.happened.v1"

    number: int

    def subject_id(self) -> str:
        return str(self.number)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted(tmp_path, DISK_MIB) as found:
        yield found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(store_restarts, "CHECK_EVERY_S", 0.05)
    monkeypatch.setattr(outbox, "ACK_TIMEOUT_S", 0.3)
    monkeypatch.setattr(outbox, "WATCH_EVERY_S", 0.05)
    monkeypatch.setattr(outbox, "LATE_AFTER_S", 0.3)


@pytest.mark.usefixtures("quick")
async def test_all_events_leave_once_there_is_space(disk: SmallDisk, database_for: DatabaseFor) -> None:
    said: list[str] = []
    keeper = Supervisor(said.append, lambda: None, "")
    store = NatsStore(disk.folder / "nats")
    nats = keeper.add(store_component(store))
    await keeper.start([nats])
    database = await Database.connect(await database_for("kit"), pool_size=4, application="kit")
    bus, tasks = Bus(store.url, "kit"), Tasks()
    relay = Outbox(database, bus, "kit", 3_600.0)

    async def waiting() -> int:
        return int(await database.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"))

    async def add(*numbers: int) -> None:
        async with database.transaction() as connection:
            await outbox.publish(connection, *(Happened(number=number) for number in numbers))
        relay.wake()

    async def none_waits() -> bool:
        return await waiting() == 0

    bus.start(tasks)
    tasks.start("outbox", relay.run)
    tasks.start("outbox age", relay.watch)
    try:
        await add(0)
        await wait_until(none_waits)
        disk.fill()
        await add(*range(1, EVENTS))
        await wait_until(lambda: NO_SPACE in store.write_error())
        await wait_until(lambda: "has waited" in relay.state())
        restarter = asyncio.create_task(StoreRestarter(keeper).run())
        await wait_until(lambda: NO_SPACE in nats.detail)
        assert nats.restarts == 0
        assert await waiting() > 0
        disk.free()
        await wait_until(none_waits, 30.0)
        await wait_until(lambda: relay.state() == "ok")
        restarter.cancel()
        assert (nats.restarts, store.write_error()) == (1, "")
        assert any(NO_SPACE in line for line in said)
        assert (await bus.stream.stream_info("kit")).state.messages == EVENTS
    finally:
        await tasks.stop()
        await bus.close()
        await database.close()
        await keeper.stop([nats])


@pytest.fixture
def broken(tmp_path: Path) -> Component:
    async def ready(pid: int) -> bool:
        return True

    def spawn() -> subprocess.Popen[bytes]:
        raise NotImplementedError

    made = Component("nats", "store", 0, tmp_path / "server.log", spawn, ready, trouble=lambda: NO_SPACE)
    made.state = State.READY
    return made


async def test_nothing_is_restarted_while_the_disk_is_full(broken: Component) -> None:
    said: list[str] = []
    await StoreRestarter(Supervisor(said.append, lambda: None, ""), free=lambda _: MIN_FREE_BYTES - 1).check(broken)
    assert (said, broken.detail) == ([], NO_SPACE)


async def test_restarts_are_bounded(broken: Component) -> None:
    said: list[str] = []
    now = 0.0
    restarter = StoreRestarter(
        Supervisor(said.append, lambda: None, ""), free=lambda _: MIN_FREE_BYTES, clock=lambda: now
    )
    for _ in range(MAX_RESTARTS + 2):
        await restarter.check(broken)
    assert len(said) == MAX_RESTARTS
    now = RESTARTS_WINDOW_S
    await restarter.check(broken)
    assert len(said) == MAX_RESTARTS + 1


@pytest.mark.parametrize(
    ("healthy", "detail", "shown"),
    [(True, "", "ready"), (True, "events: an event has waited 75 s", "degraded"), (False, NO_SPACE, "not ready")],
)
def test_status_shows_what_does_not_work(healthy: bool, detail: str, shown: str) -> None:
    part = {"name": "order-1", "state": "ready", "healthy": healthy, "detail": detail, "pid": 1, "port": 2}
    found = {
        "components": [{**part, "restarts": 0, "memory_bytes": 0}],
        "supervisor": {"pid": 1, "memory_bytes": 0},
        "phase": "selling",
        "url": "http://localhost:1",
        "data_dir": "shop",
    }
    table = status_table(found)
    assert shown in table.splitlines()[1]
    assert detail in table
