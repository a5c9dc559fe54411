"""Processes are started, restarted with backoff, stopped within a limit, and never outlive their supervisor."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from k8s.operator.tests.processes import has_ended
from shop.devkit.processes import launch
from shop.devkit.testing import wait_until
from shop.operator.local import stale_processes, supervisor
from shop.operator.local.component import Component, State
from shop.operator.local.supervisor import StartFailed, Supervisor

READY_THEN_SLEEP = "import sys, time, pathlib; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
DEAF = (
    "import signal, sys, time, pathlib; signal.signal(15, signal.SIG_IGN);"
    " pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
)
FAILS = "import sys; print('no luck today'); sys.exit(3)"


class Bench:
    """A supervisor with what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.supervisor = Supervisor(self.said.append, lambda: None, "")

    def component(self, name: str, code: str, **options: object) -> Component:
        flag = self.folder / f"{name}.ready"
        log = self.folder / f"{name}.log"

        def spawn() -> subprocess.Popen[bytes]:
            flag.unlink(missing_ok=True)
            return launch([sys.executable, "-c", code, str(flag)], log=log)

        async def ready(pid: int) -> bool:
            return flag.exists()

        made = Component(name, "service", 0, log, spawn, ready, **options)  # type: ignore[arg-type]
        return self.supervisor.add(made)

    def has_said(self, words: str) -> bool:
        return any(words in line for line in self.said)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.01)
    made = Bench(tmp_path)
    yield made
    await made.supervisor.stop(made.supervisor.components)


async def test_components_start_together_and_stop(bench: Bench) -> None:
    several = [bench.component(name, READY_THEN_SLEEP) for name in ("a-1", "b-1", "c-1")]
    await bench.supervisor.start(several)
    pids = [one.pid for one in several]
    assert all(one.state is State.READY and one.seconds for one in several)
    await bench.supervisor.stop(several)
    assert all(one.state is State.STOPPED and one.pid is None for one in several)
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)


async def test_a_killed_process_is_restarted_and_the_restart_is_reported(bench: Bench) -> None:
    component = bench.component("order-1", READY_THEN_SLEEP)
    await bench.supervisor.start([component])
    first = component.pid
    assert first
    os.kill(first, signal.SIGKILL)
    await wait_until(lambda: component.state is State.READY and component.pid not in (None, first))
    assert component.restarts == 1
    assert bench.has_said("order-1 was ended by SIGKILL; restarts in")
    await wait_until(lambda: bench.has_said("order-1 is ready again"))


async def test_the_pause_between_restarts_grows_up_to_its_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 1.0)
    monkeypatch.setattr(supervisor, "FIRST_START_ATTEMPTS", 9)
    bench.supervisor.sleep = note
    with pytest.raises(StartFailed):
        await bench.supervisor.start([bench.component("a-1", FAILS)])
    assert len(pauses) == 8
    assert pauses[0] < pauses[1] < pauses[2] < pauses[3]
    assert max(pauses) <= supervisor.BACKOFF_MAX_S


async def test_a_process_that_never_becomes_ready_fails_with_its_last_log_lines(bench: Bench) -> None:
    with pytest.raises(StartFailed, match=r"(?s)a-1 ended with code 3; its last log lines .*no luck today"):
        await bench.supervisor.start([bench.component("a-1", FAILS)])


async def test_a_process_that_hangs_before_it_is_ready_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "READY_TIMEOUT_S", 0.05)
    hangs = bench.component("a-1", "import time; time.sleep(600)")
    with pytest.raises(StartFailed, match="was not ready within"):
        await bench.supervisor.start([hangs])
    assert hangs.pid is None


async def test_a_process_that_ignores_sigterm_is_killed(bench: Bench) -> None:
    deaf = bench.component("a-1", DEAF, stop_timeout_s=0.2)
    await bench.supervisor.start([deaf])
    await bench.supervisor.stop([deaf])
    assert deaf.pid is None
    assert bench.has_said("a-1 did not end within 0.2 s and was killed")


async def test_a_stopped_component_stays_stopped_until_it_is_started_again(bench: Bench) -> None:
    component = bench.component("pricing-1", READY_THEN_SLEEP)
    await bench.supervisor.start([component])
    await bench.supervisor.stop([component])
    assert component.snapshot()["state"] == "stopped"
    await bench.supervisor.start([component])
    assert component.snapshot()["state"] == "ready"
    assert component.restarts == 0


async def test_a_start_that_is_cancelled_leaves_nothing_running(bench: Bench) -> None:
    hangs = bench.component("a-1", "import time; time.sleep(600)")
    task = asyncio.create_task(bench.supervisor.start([hangs]))
    await wait_until(lambda: hangs.pid)
    pid = hangs.pid
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await bench.supervisor.stop([hangs])
    assert pid
    assert not psutil.pid_exists(pid)


ABANDON = """
import os, sys
from shop.devkit.processes import launch
child = launch([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="parent death signals are Linux's")
async def test_children_do_not_outlive_a_killed_supervisor() -> None:
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", ABANDON], capture_output=True, text=True, check=False
    )
    pid = int(killed.stdout)
    await wait_until(lambda: has_ended(pid))


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


async def test_left_over_processes_are_ended_and_others_are_not(end_later: Callable[..., None]) -> None:
    ours, other = sleeper(), sleeper()
    end_later(ours, other)
    mine, theirs = stale_processes.identity(ours.pid), stale_processes.identity(other.pid)
    assert mine is not None
    assert theirs is not None
    # Another process has the pid now.
    reused = {**theirs, "started": theirs["started"] - 60}
    found = [mine, reused, {"pid": 2**22 + 1, "started": 1.0}, {}]
    assert await asyncio.to_thread(stale_processes.end, found) == [ours.pid]
    assert ours.poll() is not None
    assert other.poll() is None


@pytest.fixture
def end_later() -> Iterator[Callable[..., None]]:
    started: list[subprocess.Popen[bytes]] = []
    yield lambda *processes: started.extend(processes)
    for process in started:
        process.kill()
        process.wait()
