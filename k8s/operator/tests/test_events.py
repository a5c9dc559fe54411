"""Events: each recorded once, counted, bounded, and never a reason to fail."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shop.devkit.testing import wait_until
from shop.operator.engine.status import event_recorder as events
from shop.operator.engine.status.event_recorder import BURST, MESSAGE_CHARS, REFILL_S, REPEAT_S, SERIES_S, EventRecorder
from shop.operator.kube.api_errors import ApiError, Conflict, NotFound, Unreachable
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import EVENT, Kind
from shop.operator.kube.objects import Object

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Server(Kube):
    """Keeps Events by name; `refuse` is raised by the next requests, one each."""

    def __init__(self) -> None:
        super().__init__()
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

    async def patch(self, kind: Kind, namespace: str | None, name: str, body: Any, *_: Any, **__: Any) -> Object:
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


class Recording:
    """A server, a recorder, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.server = Server()
        self.seconds = 1_000.0
        self.recorder = self.another()

    def another(self) -> EventRecorder:
        """As a process has it that starts now."""
        now = lambda: START + timedelta(seconds=self.seconds - 1_000)  # noqa: E731
        return EventRecorder(self.server, monotonic=lambda: self.seconds, now=now)

    def record(self, message: str = "Revision 2 serves", *, shop: str = "bookshop", uid: str = "u-1") -> None:
        self.recorder.record(a_shop(shop, uid), "Normal", "Ready", message)

    async def write(self) -> float | None:
        return await self.recorder.write_due()


def a_shop(name: str = "bookshop", uid: str = "u-1") -> Object:
    return {"metadata": {"name": name, "namespace": "shops", "uid": uid, "resourceVersion": "7"}}


@pytest.fixture
def recording() -> Recording:
    return Recording()


async def test_an_event_has_every_field_that_kubectl_shows(recording: Recording) -> None:
    recording.record()
    assert await recording.write() is None
    event = recording.server.only
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
    assert event["reportingInstance"] == "shop-operator"


async def test_the_same_thing_again_is_counted(recording: Recording) -> None:
    for _ in range(3):
        recording.record()
    await recording.write()
    assert (recording.server.only["count"], recording.server.requests) == (3, ["create"])


async def test_a_count_is_written_at_intervals(recording: Recording) -> None:
    recording.record()
    await recording.write()
    for _ in range(20):
        recording.seconds += 10
        recording.record()
    assert await recording.write() == REPEAT_S - 200
    assert recording.server.requests == ["create"]
    recording.seconds += REPEAT_S
    assert await recording.write() is None
    assert recording.server.requests == ["create", "patch"]
    assert (recording.server.only["count"], recording.server.only["lastTimestamp"]) == (21, "2026-01-02T03:07:25Z")


async def test_another_message_is_another_event(recording: Recording) -> None:
    recording.record("Revision 2 serves")
    recording.record("Revision 3 serves")
    recording.record("Revision 2 serves", shop="toyshop", uid="u-2")
    await recording.write()
    assert [event["count"] for event in recording.server.events.values()] == [1, 1, 1]


async def test_a_shop_created_again_starts_its_own_events(recording: Recording) -> None:
    recording.record(uid="u-1")
    recording.record(uid="u-2")
    await recording.write()
    assert sorted(event["involvedObject"]["uid"] for event in recording.server.events.values()) == ["u-1", "u-2"]


async def test_the_next_process_goes_on_counting(recording: Recording) -> None:
    recording.record()
    recording.record()
    await recording.write()
    recording.recorder = recording.another()
    recording.record()
    await recording.write()
    assert recording.server.only["count"] == 3
    recording.seconds += REPEAT_S
    recording.record()
    await recording.write()
    assert recording.server.only["count"] == 4


async def test_an_event_that_the_server_forgot_is_made_again(recording: Recording) -> None:
    recording.record()
    await recording.write()
    recording.server.events.clear()
    recording.seconds += REPEAT_S
    recording.record()
    await recording.write()
    assert recording.server.only["count"] == 2


async def test_after_an_hour_it_is_a_new_event(recording: Recording) -> None:
    recording.record()
    await recording.write()
    recording.server.events.clear()
    recording.seconds += SERIES_S + 1
    recording.record()
    await recording.write()
    assert (recording.server.only["count"], recording.server.only["firstTimestamp"]) == (1, "2026-01-02T04:04:06Z")


async def test_events_of_one_shop_are_limited(recording: Recording) -> None:
    for number in range(BURST + 10):
        recording.record(f"message {number}")
    recording.record("of another Shop", shop="toyshop", uid="u-2")
    await recording.write()
    assert (len(recording.server.events), recording.recorder.dropped) == (BURST + 1, 10)
    recording.seconds += REFILL_S
    recording.record("one more")
    recording.record("and one too many")
    await recording.write()
    assert (len(recording.server.events), recording.recorder.dropped) == (BURST + 2, 11)


async def test_what_waits_is_bounded(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_WAITING", 3)
    for number in range(5):
        recording.record(uid=f"u-{number}")
    await recording.write()
    assert (len(recording.server.events), recording.recorder.dropped) == (3, 2)
    recording.record(uid="u-9")
    await recording.write()
    assert len(recording.server.events) == 4


async def test_what_is_remembered_is_bounded(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_SERIES", 2)
    monkeypatch.setattr(events, "MAX_SHOPS", 2)
    recording.recorder = recording.another()
    for number in range(5):
        recording.record(uid=f"u-{number}")
        await recording.write()
    recording.record(uid="u-0")
    await recording.write()
    assert len(recording.server.events) == 5
    assert sorted(event["count"] for event in recording.server.events.values()) == [1, 1, 1, 1, 2]


async def test_an_event_that_the_server_rejects_is_dropped(recording: Recording) -> None:
    recording.server.refuse = [ApiError(403, "Forbidden", "namespace shops is being terminated")]
    recording.record("lost")
    recording.record("written")
    await recording.write()
    assert recording.server.only["message"] == "written"


async def test_a_lost_event_is_reported_when_it_happens_again(recording: Recording) -> None:
    recording.server.refuse = [Unreachable(0, "NoAnswer", "timed out")]
    recording.record()
    await recording.write()
    assert recording.server.events == {}
    recording.seconds += REPEAT_S
    recording.record()
    await recording.write()
    assert recording.server.only["count"] == 2


async def test_a_long_message_is_cut_to_the_servers_limit(recording: Recording) -> None:
    recording.recorder.record(a_shop(), "Warning", "R" * 200, "m" * 2_000)
    await recording.write()
    event = recording.server.only
    assert (len(event["reason"]), len(event["message"])) == (128, MESSAGE_CHARS)
    assert event["message"].endswith("…")


async def test_the_longest_name_of_a_shop_still_gives_a_name(recording: Recording) -> None:
    recording.record(shop="a" * 63)
    await recording.write()
    assert len(recording.server.only["metadata"]["name"]) <= 253


async def test_a_task_writes_what_is_reported_meanwhile(recording: Recording) -> None:
    running = asyncio.create_task(recording.recorder.run())
    try:
        recording.record("first")
        await wait_until(lambda: len(recording.server.events) == 1, what="the first event")
        recording.record("second")
        await wait_until(lambda: len(recording.server.events) == 2, what="the second event")
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
