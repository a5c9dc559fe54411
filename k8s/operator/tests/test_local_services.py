"""Processes of services that are changed while a shop runs, above all when a change fails half-way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from k8s.operator.tests import shop_specs
from shop.devkit.processes import launch
from shop.operator.local import assembly, service_processes, supervisor
from shop.operator.local.component import Component, State
from shop.operator.local.data_dir import DataDir
from shop.operator.local.instances import Instance, Wiring
from shop.operator.local.service_processes import ServiceProcesses
from shop.operator.local.supervisor import StartFailed, Supervisor
from shop.operator.resource.spec import ShopSpec

RUNS = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
FAILS = "import sys; sys.exit(3)"
WIRES = Wiring("nats://n", "redis://v", "secret", "admin@shop.local", "hidden", "http://localhost:8080")


def spec(**env: str) -> ShopSpec:
    """A Shop whose order service has these settings."""
    return shop_specs.shop({"services": {"order": {"env": env}}}).spec


FIRST, SECOND = spec(EXAMPLE_A="first"), spec(EXAMPLE_A="second")
BROKEN = spec(EXAMPLE_A="broken")
"""With it the first process of order does not start."""


class Shop:
    def __init__(self, folder: Path) -> None:
        self.supervisor = Supervisor(lambda _line: None, lambda: None, "")
        data = DataDir(folder)
        everyone = [assembly.instance(data, noun, 1) for noun in ("user", "order")]
        self.processes = ServiceProcesses(data, FIRST, WIRES, everyone, self.supervisor, None)

    async def start(self) -> None:
        await self.supervisor.start(self.processes.components())

    async def change(self, wanted: ShopSpec, nouns: tuple[str, ...] = ("user", "order")) -> list[str]:
        return await self.processes.change(wanted, WIRES, dict.fromkeys(nouns, 1))

    @property
    def serving(self) -> list[str]:
        """The processes of order that are ready."""
        found = [one for one in self.supervisor.components if one.noun == "order" and one.state is State.READY]
        return sorted(one.name for one in found)

    @property
    def names(self) -> list[str]:
        return sorted(one.name for one in self.supervisor.components)


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """With small processes in place of the services'."""

    def component(instance: Instance, env: Mapping[str, str], _prefork: object, data: DataDir) -> Component:
        flag, log = data.path / f"{instance.name}.ready", data.path / f"{instance.name}.log"
        code = FAILS if env.get("EXAMPLE_A") == "broken" and instance.number == 1 else RUNS

        def spawn() -> subprocess.Popen[bytes]:
            flag.unlink(missing_ok=True)
            return launch([sys.executable, "-S", "-c", code, str(flag)], log=log)

        async def ready(_pid: int) -> bool:
            return flag.exists()

        return Component(instance.name, "service", instance.port, log, spawn, ready)

    monkeypatch.setattr(assembly, "service_component", component)
    # pytest changes the environment between the phases of a test, which would be other settings.
    monkeypatch.setattr(service_processes, "os", SimpleNamespace(environ=dict(os.environ)))
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.01)
    made = Shop(tmp_path)
    await made.start()
    yield made
    await made.supervisor.stop(made.supervisor.components)


@pytest.fixture
async def half_changed(shop: Shop) -> Shop:
    """Another process of order serves, because the first one did not start with its new settings."""
    with pytest.raises(StartFailed):
        await shop.change(BROKEN)
    assert shop.serving == ["order-2"]
    return shop


async def test_what_has_the_same_settings_goes_on(shop: Shop) -> None:
    pids = {one.name: one.pid for one in shop.supervisor.components}
    assert await shop.change(FIRST) == []
    assert await shop.change(SECOND) == ["order"]
    after = {one.name: one.pid for one in shop.supervisor.components}
    assert after.keys() == pids.keys()
    assert after["user-1"] == pids["user-1"]
    assert after["order-1"] != pids["order-1"]


async def test_a_corrected_change_leaves_no_spare_process(half_changed: Shop) -> None:
    assert await half_changed.change(SECOND) == ["order"]
    assert half_changed.names == ["order-1", "user-1"]
    assert half_changed.serving == ["order-1"]


async def test_a_spare_process_serves_until_another_one_does(
    half_changed: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving: list[list[str]] = []
    start = half_changed.supervisor.start

    async def seen(components: list[Component]) -> None:
        if components:
            serving.append(half_changed.serving)
        await start(components)

    monkeypatch.setattr(half_changed.supervisor, "start", seen)
    await half_changed.change(SECOND)
    assert serving == [["order-2"], ["order-3"]]


async def test_a_service_is_scaled_while_a_spare_process_serves(half_changed: Shop) -> None:
    await half_changed.processes.scale("order", 2)
    assert half_changed.names == ["order-1", "order-2", "order-3", "user-1"]
    assert half_changed.serving == ["order-2", "order-3"]


async def test_a_spare_process_ends_with_its_service(half_changed: Shop) -> None:
    await half_changed.change(FIRST, ("user",))
    assert half_changed.names == ["user-1"]
