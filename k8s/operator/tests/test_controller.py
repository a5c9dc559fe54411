"""When the engine counts as of use, as deaf and as ended: what its probes, its metrics and its log then say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from shop.devkit.testing import wait_until
from shop.operator.engine import controller as engines
from shop.operator.engine import shell
from shop.operator.engine.controller import DEAD_S, Controller, Options
from shop.operator.engine.kube.api_errors import ApiError
from shop.operator.engine.kube.client import Event, Kube, Request
from shop.operator.engine.kube.kinds import DEPLOYMENT, POD, SECRET, SHOP, Kind
from shop.operator.engine.kube.objects import Object
from shop.operator.engine.render.renderer import Renderer

NAMESPACES = "arcade", "market"
SILENCE = "shop_operator_watch_silence_seconds"


class Quiet(Kube):
    """An API server without objects; nothing happens. What is in `refused` may not be listed."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[Kind] = set()
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
        return [], "1", ""

    async def watch(self, *_: Any, **__: Any) -> AsyncGenerator[Event]:
        await asyncio.Event().wait()
        yield "BOOKMARK", {}


class Running:
    """An engine at work; `stop` ends it."""

    def __init__(self, kube: Quiet, **options: Any) -> None:
        self.engine = Controller(kube, Renderer(Path("helm"), Path("charts"), "0.1.0"), Options(NAMESPACES, **options))
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.engine.run(self.stop, asyncio.Event()))

    async def reading(self) -> None:
        """Return when the engine has read everything."""
        await wait_until(lambda: not self.engine.readiness_error(), what="everything read")

    def age(self, kind: Kind, namespace: str, seconds: float) -> None:
        """As if the watch had said nothing for so long."""
        self.engine._watched()[kind, namespace].last_contact -= seconds

    async def ended(self) -> None:
        await asyncio.wait_for(self.task, 10)


@pytest.fixture
def kube() -> Quiet:
    return Quiet()


@pytest.fixture
async def start(kube: Quiet, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Running]]:
    """Engines without kopf, that look at their watches often."""
    monkeypatch.setattr(engines, "LOOK_S", 0.01)
    monkeypatch.setattr(shell, "follow", lambda _seen, _namespaces, stop: stop.wait())
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
async def test_a_dead_watch_fails_the_probe_and_ends_the_engine(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture, kind: Kind, namespace: str
) -> None:
    running = start()
    await running.reading()
    running.age(kind, namespace, DEAD_S - 60)
    assert running.engine.liveness_error() == ""
    running.age(kind, namespace, 60)
    dead = f"{kind.plural} in namespace {namespace}: nothing has come for 240 s"
    assert running.engine.liveness_error() == dead
    await running.ended()
    assert [record.message for record in caplog.records] == [f"the engine ends: {dead}"]
    assert running.engine.liveness_error() == "the engine has ended"


async def test_an_engine_that_cannot_begin_has_ended(
    start: Callable[..., Running], kube: Quiet, caplog: pytest.LogCaptureFixture
) -> None:
    kube.unserved = True
    running = start()
    assert running.engine.liveness_error() == ""
    await running.ended()
    assert running.engine.liveness_error() == "the engine has ended"
    assert [record.message for record in caplog.records] == ["the engine ends: discovery is forbidden"]


@pytest.mark.parametrize("kind", [SECRET, SHOP])
async def test_what_may_not_be_listed_is_named_while_the_engine_is_of_no_use(
    start: Callable[..., Running], kube: Quiet, kind: Kind
) -> None:
    kube.refused.add(kind)
    running = start()
    told = f"{kind.plural} in namespace arcade: have not been read yet: {kind.plural} is forbidden: cannot list"
    await wait_until(lambda: running.engine.readiness_error() == told, what=told)
    assert running.engine.liveness_error() == ""
    kube.refused.clear()
    await running.reading()


async def test_charts_are_rendered_for_the_clusters_version(start: Callable[..., Running]) -> None:
    running = start()
    await running.reading()
    assert running.engine._renderer.kube_version == "v1.35.2"


async def test_an_engine_that_has_not_begun_is_not_of_use() -> None:
    engine = Controller(Quiet(), Renderer(Path("helm"), Path("charts"), "0.1.0"), Options())
    assert engine.readiness_error() == "the watch of Shops has not begun"
    assert engine.liveness_error() == ""


@pytest.mark.parametrize("kind", [SECRET, SHOP])
async def test_what_may_not_be_listed_for_long_ends_the_engine(
    start: Callable[..., Running], kube: Quiet, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    kube.refused.add(kind)
    running = start(first_list_s=0.2)
    await running.ended()
    ends = f"{kind.plural} in namespace arcade: nothing has come for 0.2 s: {kind.plural} is forbidden: cannot list"
    assert f"the engine ends: {ends}" in [record.message for record in caplog.records]


async def test_an_engine_that_reads_in_vain_can_be_stopped(start: Callable[..., Running], kube: Quiet) -> None:
    kube.refused.add(SECRET)
    running = start()
    await wait_until(lambda: "secrets" in running.engine.readiness_error())
    running.stop.set()
    await running.ended()


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("kind", [DEPLOYMENT, SHOP])
async def test_the_quietest_watch_of_a_kind_is_what_a_scrape_shows(
    start: Callable[..., Running], kind: Kind, namespace: str
) -> None:
    running = start()
    await running.reading()
    running.age(kind, namespace, 200)
    shown = {kind: REGISTRY.get_sample_value(SILENCE, {"kind": kind.kind}) or 0.0 for kind in (DEPLOYMENT, SHOP, POD)}
    assert shown.pop(kind) >= 200
    assert max(shown.values()) < 100
