"""Informers against a real API server that is cut off, forgets, restarts and goes silent: no change is missed."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shop.devkit.testing import wait_until
from shop.operator.engine.cache import informer as informers
from shop.operator.engine.cache.informer import Informer
from shop.operator.kube import client as kubes
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CONFIG_MAP, SECRET, Kind
from shop.operator.kube.objects import NamespacedName, Object
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import define, lenient_definition
from tests.operator.faults import Proxy, Seen

LABELS = "app=t"
LIMIT_S = 30.0
MANY = 76_000
MAX_BYTES = 30_000_000
Change = tuple[str, str | None, str | None]


@pytest.fixture
async def proxy(api: Kube, apiserver: ApiServer) -> AsyncIterator[Proxy]:
    async with Proxy(apiserver, user="operator", groups=["system:masters"]) as proxy:
        yield proxy


class Watching:
    """An informer that runs, and what it has reported."""

    def __init__(self, kube: Kube, namespace: str, kind: Kind = CONFIG_MAP, *, page: int = 100) -> None:
        self.reported: list[Change] = []
        self.informer = Informer(kube, kind, namespace, LABELS, self.keep, self.changed, page=page)
        self._task = asyncio.create_task(self.informer.run())

    @staticmethod
    def keep(obj: Object) -> str | None:
        """The value of `v`; an object without any is not kept."""
        value: str | None = obj.get("data", {}).get("v")
        return value

    def changed(self, name: NamespacedName, old: str | None, new: str | None) -> None:
        self.reported.append((name.name, old, new))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def values(self) -> dict[str, str]:
        return {name.name: value for name, value in self.informer.items.items()}

    async def until(self, values: dict[str, str]) -> None:
        await wait_until(lambda: self.values == values, LIMIT_S, f"{values}")

    async def synced(self) -> None:
        await asyncio.wait_for(self.informer.synced.wait(), LIMIT_S)


Watch = Callable[..., Watching]


@pytest.fixture
async def watch(proxy: Proxy, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watch]:
    """Start an informer behind the proxy."""
    monkeypatch.setattr(kubes, "FIRST_PAUSE_S", 0.01)
    started: list[Watching] = []

    def start(kind: Kind = CONFIG_MAP, **options: Any) -> Watching:
        started.append(Watching(kube, namespace, kind, **options))
        return started[-1]

    async with Kube(proxy.kubeconfig) as kube:
        yield start
        for watching in started:
            await watching.stop()


async def put(api: Kube, namespace: str, name: str, value: str) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": {"app": "t"}}
    return await api.apply(
        CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"v": value}}, force=True
    )


async def test_what_is_there_and_what_changes(api: Kube, namespace: str, watch: Watch) -> None:
    await put(api, namespace, "a", "1")
    watching = watch()
    await watching.synced()
    assert watching.values == {"a": "1"}
    await put(api, namespace, "b", "1")
    await put(api, namespace, "a", "2")
    await watching.until({"a": "2", "b": "1"})
    await api.delete(CONFIG_MAP, namespace, "b")
    await watching.until({"a": "2"})
    assert watching.reported == [("a", None, "1"), ("b", None, "1"), ("a", "1", "2"), ("b", "1", None)]


async def test_an_object_that_loses_its_label_is_gone(api: Kube, namespace: str, watch: Watch) -> None:
    await put(api, namespace, "a", "1")
    watching = watch()
    await watching.until({"a": "1"})
    await api.patch(CONFIG_MAP, namespace, "a", {"metadata": {"labels": {"app": "other"}}})
    await watching.until({})


async def test_many_pages_are_read(api: Kube, namespace: str, watch: Watch, proxy: Proxy) -> None:
    for number in range(7):
        await put(api, namespace, f"c{number}", "1")
    watching = watch(page=2)
    await watching.synced()
    assert len(watching.values) == 7
    assert sum(seen.resource == "configmaps" and not seen.watch for seen in proxy.seen) == 4


async def test_a_cut_watch_goes_on_without_a_list(api: Kube, namespace: str, watch: Watch, proxy: Proxy) -> None:
    watching = watch()
    await watching.synced()
    await wait_until(lambda: proxy.watching == 1)
    for number in range(5):
        await put(api, namespace, "a", f"before {number}")
        proxy.cut_watches()
        await put(api, namespace, "a", f"after {number}")
        await watching.until({"a": f"after {number}"})
    assert sum(not seen.watch for seen in proxy.seen) == 1


async def test_changes_while_the_server_forgets_are_reported(
    api: Kube, namespace: str, watch: Watch, proxy: Proxy
) -> None:
    for name in ("changed", "vanished", "same"):
        await put(api, namespace, name, "1")
    watching = watch()
    await watching.synced()
    await wait_until(lambda: proxy.watching == 1)
    proxy.down = True
    proxy.cut_watches()
    await put(api, namespace, "changed", "2")
    await put(api, namespace, "new", "1")
    await api.delete(CONFIG_MAP, namespace, "vanished")
    watching.reported.clear()
    proxy.answer(410, lambda seen: seen.watch)
    proxy.down = False
    await watching.until({"changed": "2", "same": "1", "new": "1"})
    reported = [change for change in watching.reported if change[1] != change[2]]
    assert sorted(reported, key=str) == [("changed", "1", "2"), ("new", None, "1"), ("vanished", "1", None)]


async def test_a_list_whose_pages_expire_begins_anew(api: Kube, namespace: str, watch: Watch, proxy: Proxy) -> None:
    for number in range(5):
        await put(api, namespace, f"c{number}", "1")

    def third(_: Seen) -> bool:
        return len(proxy.seen) == 3

    proxy.answer(410, third)
    watching = watch(page=2)
    await watching.synced()
    assert len(watching.values) == 5
    assert sum(not seen.watch for seen in proxy.seen) == 3 + 3


async def test_a_restart_of_the_server_loses_nothing(
    api: Kube, apiserver: ApiServer, namespace: str, watch: Watch
) -> None:
    await put(api, namespace, "vanished", "1")
    watching = watch()
    await watching.synced()
    apiserver.stop_server()
    await asyncio.to_thread(apiserver.start_server)
    await put(api, namespace, "a", "2")
    await api.delete(CONFIG_MAP, namespace, "vanished")
    await watching.until({"a": "2"})


async def test_what_a_silent_watch_does_not_report_a_list_does(
    api: Kube, namespace: str, watch: Watch, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubes, "WATCH_IDLE_TIMEOUT_S", 0.3)
    await put(api, namespace, "vanished", "1")
    watching = watch()
    await watching.until({"vanished": "1"})
    await wait_until(lambda: proxy.watching == 1)
    proxy.silent = True
    await put(api, namespace, "a", "1")
    await api.delete(CONFIG_MAP, namespace, "vanished")
    await watching.until({"a": "1"})


async def test_a_kind_without_events_is_no_failure(
    watch: Watch, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The API server sends no bookmarks for it, so its watch looks like a dead one; but its lists are answered."""
    monkeypatch.setattr(kubes, "WATCH_IDLE_TIMEOUT_S", 0.1)
    proxy.silent = True
    watching = watch()
    await watching.synced()
    contacts = {watching.informer.last_contact}

    def heard_again() -> bool:
        contacts.add(watching.informer.last_contact)
        return len(contacts) > 2 * informers.LOGGED_FAILURE

    await wait_until(heard_again, LIMIT_S)
    assert not caplog.records


async def test_a_server_that_does_not_answer_is_no_contact(
    watch: Watch, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubes, "WATCH_IDLE_TIMEOUT_S", 0.1)
    watching = watch()
    await watching.synced()
    proxy.down = True
    proxy.cut_watches()
    contact, asked = watching.informer.last_contact, len(proxy.seen)
    await wait_until(lambda: len(proxy.seen) > asked + 2, LIMIT_S)
    assert watching.informer.last_contact == contact


async def test_a_response_is_stored_at_once_and_older_events_change_nothing(
    api: Kube, namespace: str, watch: Watch, proxy: Proxy
) -> None:
    first = await put(api, namespace, "a", "1")
    watching = watch()
    await watching.until({"a": "1"})
    await wait_until(lambda: proxy.watching == 1)
    proxy.down = True  # the watch is behind from here
    proxy.cut_watches()
    second = await put(api, namespace, "a", "2")
    third = await put(api, namespace, "a", "3")
    watching.informer.put(third)
    assert watching.values == {"a": "3"}
    for older in (second, first):
        watching.informer.put(older)
    assert watching.values == {"a": "3"}
    watching.reported.clear()
    proxy.down = False
    await put(api, namespace, "b", "end")
    await watching.until({"a": "3", "b": "end"})
    assert watching.reported == [("b", None, "end")]
    await put(api, namespace, "a", "4")
    await watching.until({"a": "4", "b": "end"})


async def test_a_response_that_a_list_does_not_show_yet_stays(api: Kube, namespace: str, watch: Watch) -> None:
    written = await put(api, namespace, "a", "1")
    watching = watch()
    watching.informer.put({**written, "metadata": {**written["metadata"], "resourceVersion": "999999999"}})
    await watching.synced()
    assert watching.values == {"a": "1"}


async def test_a_late_response_does_not_undo_what_a_list_has_shown(
    api: Kube, namespace: str, watch: Watch, proxy: Proxy
) -> None:
    first = await put(api, namespace, "a", "1")
    await put(api, namespace, "a", "2")
    await put(api, namespace, "b", "1")
    proxy.delay_s = 0.5
    watching = watch(page=1)
    await watching.until({"a": "2"})
    assert not watching.informer.synced.is_set()  # the second page is still to come
    watching.informer.put(first)
    await watching.until({"a": "2", "b": "1"})


async def test_a_watch_that_is_refused_for_good_lists_again(
    api: Kube, namespace: str, watch: Watch, proxy: Proxy
) -> None:
    watching = watch()
    await watching.synced()
    proxy.answer(504, lambda seen: seen.watch, times=3, message="Too large resource version")
    proxy.cut_watches()
    await put(api, namespace, "a", "1")
    await watching.until({"a": "1"})
    await wait_until(lambda: sum(not seen.watch for seen in proxy.seen) == 2)


async def test_what_was_deleted_after_the_response_is_gone(api: Kube, namespace: str, watch: Watch) -> None:
    watching = watch()
    await watching.synced()
    written = await put(api, namespace, "a", "1")
    watching.informer.put(written)
    await api.delete(CONFIG_MAP, namespace, "a")
    await put(api, namespace, "b", "1")
    await watching.until({"b": "1"})
    watching.informer.put(written)  # an answer that comes late
    assert watching.values == {"b": "1"}


async def test_an_object_that_cannot_be_read_stops_nothing(
    api: Kube, namespace: str, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watching, "keep", staticmethod(lambda obj: obj["data"]["v"]))
    odd = {"name": "odd", "namespace": namespace, "labels": {"app": "t"}}
    await api.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": odd})
    watching = watch()
    await put(api, namespace, "a", "1")
    await watching.until({"a": "1"})


async def test_a_kind_that_is_installed_later_is_found(
    api: Kube, namespace: str, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(informers, "ABSENT_PAUSE_S", 0.1)
    late = Kind("tests.example/v1", "Late", "lates")
    watching = watch(late)
    await watching.synced()
    assert watching.values == {}
    await define(api, lenient_definition(late))
    metadata = {"name": "a", "namespace": namespace, "labels": {"app": "t"}}
    await api.create(late, {"apiVersion": late.api_version, "kind": "Late", "metadata": metadata, "data": {"v": "1"}})
    await watching.until({"a": "1"})


async def test_a_refused_list_is_tried_again(
    api: Kube, namespace: str, watch: Watch, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    await put(api, namespace, "a", "1")
    proxy.answer(403, times=4, message="not allowed")
    watching = watch()
    await watching.until({"a": "1"})
    assert [record.message for record in caplog.records] == ["watch of configmaps: not allowed"]
    assert watching.informer.last_error == ""


class Pages(Kube):
    """MANY objects, made page by page."""

    async def page(self, kind: Kind, *_: Any, limit: int = 0, token: str = "", **__: Any) -> Any:
        start = int(token or 0)
        names = range(start, min(start + limit, MANY))
        following = names.stop if names.stop < MANY else ""
        return [obj_of(kind, number) for number in names], "1", str(following)


def obj_of(kind: Kind, number: int) -> Object:
    metadata = {
        "name": f"bookshop-{number:05}-{'order' * 4}",
        "namespace": "".join(["shops-", str(number % 50)]),
        "resourceVersion": str(number + 1),
    }
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "data": {"v": "x" * 4_000}}


async def test_memory_is_that_of_what_is_kept() -> None:
    informer = Informer(Pages(), SECRET, None, "", lambda obj: len(obj["data"]["v"]), lambda *_: None)
    tracemalloc.start()
    try:
        running = asyncio.create_task(informer.run())
        await asyncio.wait_for(informer.synced.wait(), LIMIT_S * 4)
        running.cancel()
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(informer.items) == MANY
    print(f"{now / 1e6:.1f} MB for {MANY:,} objects, at most {peak / 1e6:.1f} MB")
    assert now < MAX_BYTES
    assert peak < 2 * MAX_BYTES
