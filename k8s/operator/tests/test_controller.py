"""When the controller is ready, stalled and stopped: what its probes, its metrics and its log then say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from shop.devkit.testing import wait_until
from shop.operator.engine import controller
from shop.operator.engine.controller import WATCH_STALLED_S, Controller
from shop.operator.engine.render.renderer import Renderer
from shop.operator.engine.settings import Settings
from shop.operator.kube.api_errors import ApiError
from shop.operator.kube.client import Event, Kube, Request
from shop.operator.kube.kinds import DEPLOYMENT, POD, SECRET, SHOP, Kind
from shop.operator.kube.objects import Object

NAMESPACES = "arcade", "market"
SILENCE = "shop_operator_watch_silence_seconds"


class Quiet(Kube):
    """An API server with `objects` in every namespace; nothing happens. What is in `refused` may not be listed."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[Kind] = set()
        self.objects: dict[Kind, list[Object]] = {}
        self.patched: list[str] = []
        self.unserved = False

    async def send(self, _: Request) -> bytes:
        return b'{"gitVersion": "v1.35.2"}'

    async def served(self, _: str) -> set[str]:
        if self.unserved:
            raise ApiError(403, "Forbidden", "discovery is forbidden")
        return set()

    async def page(self, kind: Kind, *_: Any, **__: Any) -> tuple[list[Object], str, str]:
        if kind in self.refused:
            raise ApiError(403, "Forbidden", f"{kind.plural} is forbidden: cannot list")
        return self.objects.get(kind, []), "1", ""

    async def patch(self, kind: Kind, namespace: str | None, name: str, *_: Any, **__: Any) -> Object:
        self.patched.append(f"{kind.kind} {namespace}/{name}")
        raise ApiError(403, "Forbidden", "patch is forbidden")

    async def watch(self, *_: Any, **__: Any) -> AsyncGenerator[Event]:
        await asyncio.Event().wait()
        yield "BOOKMARK", {}


class Running:
    """A running controller; `stop` ends it."""

    def __init__(self, kube: Quiet, **options: Any) -> None:
        self.controller = Controller(
            kube, Renderer(Path("helm"), Path("charts"), "0.1.0"), Settings(namespaces=NAMESPACES, **options)
        )
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.controller.run(self.stop, asyncio.Event()))

    async def reading(self) -> None:
        """Return when the controller has listed everything."""
        await wait_until(lambda: not self.controller.readiness_error(), what="everything read")

    def age(self, kind: Kind, namespace: str, seconds: float) -> None:
        """As if the watch had been idle for so long."""
        self.controller._informers[kind, namespace].last_contact -= seconds

    async def ended(self) -> None:
        await asyncio.wait_for(self.task, 10)


@pytest.fixture
def kube() -> Quiet:
    return Quiet()


@pytest.fixture
async def start(kube: Quiet, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Running]]:
    """Controllers that check their watches often."""
    monkeypatch.setattr(controller, "WATCH_CHECK_S", 0.01)
    started: list[Running] = []

    def begin(**options: Any) -> Running:
        started.append(Running(kube, **options))
        return started[-1]

    yield begin
    for running in started:
        running.stop.set()
        await running.ended()


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("kind", [DEPLOYMENT, POD, SHOP])
async def test_a_stalled_watch_fails_the_probe_and_stops_the_controller(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture, kind: Kind, namespace: str
) -> None:
    running = start()
    await running.reading()
    running.age(kind, namespace, WATCH_STALLED_S - 60)
    assert running.controller.liveness_error() == ""
    running.age(kind, namespace, 60)
    stalled = f"{kind.plural} in namespace {namespace}: nothing has come for 240 s"
    assert running.controller.liveness_error() == stalled
    await running.ended()
    assert [record.message for record in caplog.records] == [f"the controller stops: {stalled}"]
    assert running.controller.liveness_error() == "the controller has stopped"


async def test_a_controller_that_cannot_start_has_stopped(
    start: Callable[..., Running], kube: Quiet, caplog: pytest.LogCaptureFixture
) -> None:
    kube.unserved = True
    running = start()
    assert running.controller.liveness_error() == ""
    await running.ended()
    assert running.controller.liveness_error() == "the controller has stopped"
    assert [record.message for record in caplog.records] == ["the controller stops: discovery is forbidden"]


@pytest.mark.parametrize("kind", [SECRET, SHOP])
async def test_what_may_not_be_listed_is_named_by_the_readiness_probe(
    start: Callable[..., Running], kube: Quiet, kind: Kind
) -> None:
    kube.refused.add(kind)
    running = start()
    text = f"{kind.plural} in namespace arcade: have not been read yet: {kind.plural} is forbidden: cannot list"
    await wait_until(lambda: running.controller.readiness_error() == text, what=text)
    assert running.controller.liveness_error() == ""
    kube.refused.clear()
    await running.reading()


async def test_charts_are_rendered_for_the_clusters_version(start: Callable[..., Running]) -> None:
    running = start()
    await running.reading()
    assert running.controller._renderer.kube_version == "v1.35.2"


async def test_a_controller_that_has_not_started_is_not_ready() -> None:
    fresh = Controller(Quiet(), Renderer(Path("helm"), Path("charts"), "0.1.0"), Settings())
    assert fresh.readiness_error() == "no watch has begun yet"
    assert fresh.liveness_error() == ""


@pytest.mark.parametrize("kind", [SECRET, SHOP])
async def test_what_may_not_be_listed_for_long_stops_the_controller(
    start: Callable[..., Running], kube: Quiet, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    kube.refused.add(kind)
    running = start(first_list_s=0.2)
    await running.ended()
    ends = f"{kind.plural} in namespace arcade: nothing has come for 0.2 s: {kind.plural} is forbidden: cannot list"
    assert f"the controller stops: {ends}" in [record.message for record in caplog.records]


async def test_a_controller_that_cannot_list_can_be_stopped(start: Callable[..., Running], kube: Quiet) -> None:
    kube.refused.add(SECRET)
    running = start()
    await wait_until(lambda: "secrets" in running.controller.readiness_error())
    running.stop.set()
    await running.ended()


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("kind", [DEPLOYMENT, SHOP])
async def test_the_metric_shows_the_longest_idle_watch_of_a_kind(
    start: Callable[..., Running], kind: Kind, namespace: str
) -> None:
    running = start()
    await running.reading()
    running.age(kind, namespace, 200)
    shown = {kind: REGISTRY.get_sample_value(SILENCE, {"kind": kind.kind}) or 0.0 for kind in (DEPLOYMENT, SHOP, POD)}
    assert shown.pop(kind) >= 200
    assert max(shown.values()) < 100


async def test_no_shop_is_reconciled_before_every_kind_has_been_listed(
    start: Callable[..., Running], kube: Quiet
) -> None:
    metadata = {"name": "bookshop", "namespace": "market", "uid": "1", "generation": 1, "resourceVersion": "1"}
    kube.objects[SHOP] = [{"apiVersion": SHOP.api_version, "kind": SHOP.kind, "metadata": metadata, "spec": {}}]
    kube.refused.add(SECRET)
    running = start()
    await wait_until(lambda: "secrets" in running.controller.readiness_error() and len(running.controller._queue) == 1)
    assert kube.patched == []
    kube.refused.clear()
    await wait_until(lambda: "Shop market/bookshop" in kube.patched, what="the finalizer is added")
