"""Events: each thing told once, counted, bounded, and never a reason to fail."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shop.devkit.testing import wait_until
from shop.operator.engine.kube.client import ApiError, Conflict, NotFound, Unreachable
from shop.operator.engine.kube.kinds import EVENT, Kind
from shop.operator.engine.kube.objects import Object
from shop.operator.engine.status import event_recorder as events
from shop.operator.engine.status.event_recorder import BURST, MESSAGE_CHARS, REFILL_S, REPEAT_S, SERIES_S, Recorder

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Server:
    """Keeps Events by name; `refuse` is raised by the next requests, one each."""

    def __init__(self) -> None:
        self.events: dict[str, Object] = {}
        self.requests: list[str] = []
        self.refuse: list[ApiError] = []

    def _request(self, verb: str) -> None:
        self.requests.append(verb)
        if self.refuse:
            raise self.refuse.pop(0)

    async def create(self, kind: Kind, obj: Object) -> Object:
        assert kind is EVENT
        self._request("create")
        if obj["metadata"]["name"] in self.events:
            raise Conflict(409, "AlreadyExists", "it exists")
        self.events[obj["metadata"]["name"]] = dict(obj)
        return obj

    async def patch(self, kind: Kind, namespace: str | None, name: str, body: Any) -> Object:
        assert kind is EVENT
        self._request("patch")
        if name not in self.events:
            raise NotFound(404, "NotFound", "it is gone")
        assert self.events[name]["metadata"]["namespace"] == namespace
        self.events[name] |= body
        return self.events[name]

    @property
    def only(self) -> Object:
        (event,) = self.events.values()
        return event


class World:
    """A server, a recorder, and a clock that stands still until told."""

    def __init__(self) -> None:
        self.server = Server()
        self.seconds = 1_000.0
        self.recorder = self.another()

    def another(self) -> Recorder:
        """As a process has it that starts now."""
        now = lambda: START + timedelta(seconds=self.seconds - 1_000)  # noqa: E731
        return Recorder(self.server, "operator-1", monotonic=lambda: self.seconds, now=now)

    def tell(self, message: str = "Revision 2 serves", *, shop: str = "bookshop", uid: str = "u-1") -> None:
        self.recorder.event(a_shop(shop, uid), "Normal", "Ready", message)

    async def write(self) -> float | None:
        return await self.recorder.write_due()


def a_shop(name: str = "bookshop", uid: str = "u-1") -> Object:
    return {"metadata": {"name": name, "namespace": "shops", "uid": uid, "resourceVersion": "7"}}


@pytest.fixture
def world() -> World:
    return World()


async def test_an_event_says_all_that_a_person_sees(world: World) -> None:
    world.tell()
    assert await world.write() is None
    event = world.server.only
    assert event["involvedObject"] == {
        "apiVersion": "shops.shopkeeper.dev/v1alpha1",
        "kind": "Shop",
        "name": "bookshop",
        "namespace": "shops",
        "uid": "u-1",
    }
    assert (event["type"], event["reason"], event["message"]) == ("Normal", "Ready", "Revision 2 serves")
    assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (1, *["2026-01-02T03:04:05Z"] * 2)
    assert event["source"] == {"component": "shop-operator"}
    assert event["reportingInstance"] == "operator-1"


async def test_the_same_thing_again_is_counted(world: World) -> None:
    for _ in range(3):
        world.tell()
    await world.write()
    assert (world.server.only["count"], world.server.requests) == (3, ["create"])


async def test_a_count_is_written_now_and_then(world: World) -> None:
    world.tell()
    await world.write()
    for _ in range(20):
        world.seconds += 10
        world.tell()
    assert await world.write() == REPEAT_S - 200
    assert world.server.requests == ["create"]
    world.seconds += REPEAT_S
    assert await world.write() is None
    assert world.server.requests == ["create", "patch"]
    assert (world.server.only["count"], world.server.only["lastTimestamp"]) == (21, "2026-01-02T03:07:25Z")


async def test_other_words_are_another_event(world: World) -> None:
    world.tell("Revision 2 serves")
    world.tell("Revision 3 serves")
    world.tell("Revision 2 serves", shop="toyshop", uid="u-2")
    await world.write()
    assert [event["count"] for event in world.server.events.values()] == [1, 1, 1]


async def test_a_shop_made_anew_starts_its_own_events(world: World) -> None:
    world.tell(uid="u-1")
    world.tell(uid="u-2")
    await world.write()
    assert sorted(event["involvedObject"]["uid"] for event in world.server.events.values()) == ["u-1", "u-2"]


async def test_the_next_process_goes_on_counting(world: World) -> None:
    world.tell()
    world.tell()
    await world.write()
    world.recorder = world.another()
    world.tell()
    await world.write()
    assert world.server.only["count"] == 3
    world.seconds += REPEAT_S
    world.tell()
    await world.write()
    assert world.server.only["count"] == 4


async def test_an_event_that_the_server_forgot_is_made_again(world: World) -> None:
    world.tell()
    await world.write()
    world.server.events.clear()
    world.seconds += REPEAT_S
    world.tell()
    await world.write()
    assert world.server.only["count"] == 2


async def test_after_an_hour_it_is_news_again(world: World) -> None:
    world.tell()
    await world.write()
    world.server.events.clear()
    world.seconds += SERIES_S + 1
    world.tell()
    await world.write()
    assert (world.server.only["count"], world.server.only["firstTimestamp"]) == (1, "2026-01-02T04:04:06Z")


async def test_one_shop_cannot_flood(world: World) -> None:
    for number in range(BURST + 10):
        world.tell(f"message {number}")
    world.tell("of another Shop", shop="toyshop", uid="u-2")
    await world.write()
    assert (len(world.server.events), world.recorder.dropped) == (BURST + 1, 10)
    world.seconds += REFILL_S
    world.tell("one more")
    world.tell("and one too many")
    await world.write()
    assert (len(world.server.events), world.recorder.dropped) == (BURST + 2, 11)


async def test_what_waits_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_WAITING", 3)
    for number in range(5):
        world.tell(uid=f"u-{number}")
    await world.write()
    assert (len(world.server.events), world.recorder.dropped) == (3, 2)
    world.tell(uid="u-9")
    await world.write()
    assert len(world.server.events) == 4


async def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_SERIES", 2)
    monkeypatch.setattr(events, "MAX_SHOPS", 2)
    for number in range(5):
        world.tell(uid=f"u-{number}")
        await world.write()
    world.tell(uid="u-0")
    await world.write()
    assert len(world.server.events) == 5
    assert sorted(event["count"] for event in world.server.events.values()) == [1, 1, 1, 1, 2]


async def test_what_the_server_will_not_have_is_left(world: World) -> None:
    world.server.refuse = [ApiError(403, "Forbidden", "namespace shops is being terminated")]
    world.tell("lost")
    world.tell("written")
    await world.write()
    assert world.server.only["message"] == "written"


async def test_a_lost_event_is_told_when_it_happens_again(world: World) -> None:
    world.server.refuse = [Unreachable(0, "NoAnswer", "timed out")]
    world.tell()
    await world.write()
    assert world.server.events == {}
    world.seconds += REPEAT_S
    world.tell()
    await world.write()
    assert world.server.only["count"] == 2


async def test_long_words_are_cut_to_what_the_server_takes(world: World) -> None:
    world.recorder.event(a_shop(), "Warning", "R" * 200, "m" * 2_000)
    await world.write()
    event = world.server.only
    assert (len(event["reason"]), len(event["message"])) == (128, MESSAGE_CHARS)
    assert event["message"].endswith("…")


async def test_the_longest_name_of_a_shop_still_gives_a_name(world: World) -> None:
    world.tell(shop="a" * 63)
    await world.write()
    assert len(world.server.only["metadata"]["name"]) <= 253


async def test_a_task_writes_what_is_told_meanwhile(world: World) -> None:
    running = asyncio.create_task(world.recorder.run())
    try:
        world.tell("first")
        await wait_until(lambda: len(world.server.events) == 1, what="the first event")
        world.tell("second")
        await wait_until(lambda: len(world.server.events) == 2, what="the second event")
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
