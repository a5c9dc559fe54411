"""Streams of changes: nothing is missed by a slow client, and unversioned events reach the open streams alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from uuid import UUID

import orjson
import pytest
from prometheus_client import Gauge

from shop.devkit.testing import wait_until
from shop.kit.errors import Problem
from shop.kit.ids import new_id
from shop.kit.tasks import Tasks
from shop.kit.watchers import KEEPALIVE, MAX_UNSENT, Change, Watchers, event

STREAMS = Gauge("shop_kit_test_streams", "Clients of this test")
POLL_S = 0.01


class Stored:
    """Versions 1 to ``last`` of every entity, as a database has them."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.reads = 0

    async def read(self, seen: Mapping[UUID, int]) -> list[Change[int]]:
        self.reads += 1
        return [
            Change(key, version, version, last=version == self.last)
            for key, after in seen.items()
            for version in range(after + 1, self.last + 1)
        ]


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.stop()


def watchers(stored: Stored, tasks: Tasks, max_streams: int = 4) -> Watchers[int]:
    made = Watchers(stored.read, poll_s=POLL_S, keepalive_s=10, max_streams=max_streams, streams=STREAMS)
    tasks.start("watchers", made.run)
    return made


def encode(change: Change[int]) -> bytes:
    return b"%d" % change.content


async def test_a_client_slower_than_the_changes_misses_none(tasks: Tasks) -> None:
    last = MAX_UNSENT * 3
    stream = watchers(Stored(last), tasks).events(new_id(), 0, encode)
    assert await anext(stream) == KEEPALIVE
    received = [int(content) async for content in stream]
    assert received == list(range(1, last + 1))


async def test_a_stream_resumes_after_the_version_seen(tasks: Tasks) -> None:
    stream = watchers(Stored(5), tasks).events(new_id(), 3, encode)
    assert [content async for content in stream] == [KEEPALIVE, b"4", b"5"]


async def test_a_stream_begins_at_once_whether_or_not_there_is_anything_to_send(tasks: Tasks) -> None:
    many, key = watchers(Stored(0), tasks), new_id()
    assert await anext(many.events(key, 0, encode)) == KEEPALIVE
    assert await anext(many.events(key, 0, encode, Change(key, 0, 0))) == b"0"


async def test_an_event_without_a_version_reaches_the_clients_of_its_entity(tasks: Tasks) -> None:
    watched, other = new_id(), new_id()
    many = watchers(Stored(0), tasks)
    stream = many.events(watched, 0, encode)
    assert await anext(stream) == KEEPALIVE
    first = asyncio.ensure_future(anext(stream))
    await wait_until(lambda: many.watched() == {watched})
    many.send(other, b"other")
    many.send(watched, b"position")
    assert await first == b"position"
    await stream.aclose()  # type: ignore[attr-defined]
    assert many.watched() == frozenset()


async def test_a_slow_client_gets_the_newest_event_without_a_version(tasks: Tasks) -> None:
    many, key = watchers(Stored(0), tasks), new_id()
    stream = many.events(key, 0, encode, Change(key, 0, 0))
    assert await anext(stream) == b"0"
    for number in range(MAX_UNSENT * 2):
        many.send(key, b"position %d" % number)
    assert await anext(stream) == b"position %d" % (MAX_UNSENT * 2 - 1)
    many.send(key, b"next")
    assert await anext(stream) == b"next"


async def test_streams_end_with_the_poller_even_when_nothing_more_fits(tasks: Tasks) -> None:
    stored, key = Stored(MAX_UNSENT * 2), new_id()
    many = watchers(stored, tasks)
    stream = many.events(key, 0, encode, Change(key, 0, 0))
    assert await anext(stream) == b"0"
    await wait_until(lambda: stored.reads > 1)
    await tasks.stop()
    assert len([content async for content in stream]) == MAX_UNSENT - 1


async def test_the_number_of_streams_is_limited(tasks: Tasks) -> None:
    many = watchers(Stored(0), tasks, max_streams=1)
    key = new_id()
    stream = many.events(key, 0, encode, Change(key, 0, 0))
    await anext(stream)
    with pytest.raises(Problem) as refused:
        many.check_capacity()
    assert (refused.value.status, refused.value.code) == (503, "too_many_streams")


def test_an_event_names_its_version_only_if_it_has_one() -> None:
    versioned, other = event("state", {"a": 1}, 7), event("position", {"a": 1})
    assert versioned == b'id: 7\nevent: state\ndata: {"a":1}\n\n'
    assert other == b'event: position\ndata: {"a":1}\n\n'
    assert orjson.loads(other.splitlines()[1][6:]) == {"a": 1}
