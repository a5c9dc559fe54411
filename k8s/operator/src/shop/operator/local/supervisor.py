"""Supervise components: start, wait until ready, restart with backoff, stop within a limit."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

from shop.devkit.processes import DataUnusable, EmbeddedError, log_tail
from shop.kit.backoff import backoff_s
from shop.operator.errors import ShopctlError
from shop.operator.local.component import Component, State, describe_exit, wait_exit

READY_TIMEOUT_S = 60.0
READY_POLL_S = 0.05
FIRST_START_ATTEMPTS = 3
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 20.0
# A process that ran this long is restarted without a long pause: it is not in a crash loop.
STABLE_S = 30.0
KILL_WAIT_S = 5.0
DAMAGED_ADVICE = (
    "\nIf the data in {folder} is damaged, put a backup of that folder back,"
    " or start with an empty shop after {command}."
)


class StartFailed(ShopctlError):
    """A component was never ready; the message has its last log lines."""


class Supervisor:
    """Runs components until they are stopped. `say` prints a line, `changed` is called on every change.

    Use it from the main thread only: on Linux a child ends with the thread that started it.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        changed: Callable[[], None],
        delete_command: str,
    ) -> None:
        self._delete_command = delete_command
        self.components: list[Component] = []
        self._say = say
        self._changed = changed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def add(self, component: Component) -> Component:
        """Register the component; it is not started yet."""
        self.components.append(component)
        self._changed()
        return component

    def remove(self, component: Component) -> None:
        """Forget a component that is stopped."""
        self.components.remove(component)
        self._tasks.pop(component.name, None)
        self._changed()

    async def start(self, components: Sequence[Component]) -> None:
        """Start all at once and return when all are ready; raises `StartFailed` for the first that never was."""
        waits = [asyncio.ensure_future(self._start_one(component)) for component in components]
        try:
            await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _start_one(self, component: Component) -> None:
        task = self._tasks.get(component.name)
        if task is None or task.done():
            component.wanted = True
            component.was_ready.clear()
            task = asyncio.create_task(self._supervise(component), name=component.name)
            self._tasks[component.name] = task
        ready = asyncio.ensure_future(component.was_ready.wait())
        try:
            await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not component.was_ready.is_set() and task.done():
            task.result()

    async def restart(self, component: Component, reason: str) -> None:
        """End the process; it is started again as after a crash."""
        self._say(f"{component.name} is restarted: {reason}")
        await self._end(component)

    async def stop(self, components: Sequence[Component]) -> None:
        """Stop all at once, each with SIGKILL after its own limit. They stay registered and can be started again."""
        await asyncio.gather(*map(self._stop_one, components))

    async def _stop_one(self, component: Component) -> None:
        component.wanted = False
        task = self._tasks.get(component.name)
        if task is None:
            return
        if component.process is not None and component.process.poll() is None:
            self._set(component, State.STOPPING)
            await self._end(component)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ShopctlError):
            await task
        self._set(component, State.STOPPED)

    async def _end(self, component: Component) -> None:
        process = component.process
        if process is None or process.poll() is not None:
            return
        process.send_signal(component.stop_signal)
        try:
            await asyncio.wait_for(wait_exit(process), component.stop_timeout_s)
        except TimeoutError:
            self._say(f"{component.name} did not end within {component.stop_timeout_s:g} s and was killed")
            process.kill()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wait_exit(process), KILL_WAIT_S)

    async def _supervise(self, component: Component) -> None:
        failures = 0
        component.began_at = time.monotonic()
        while True:
            spawned_at = time.monotonic()
            reason = await self._run_once(component)
            if not component.wanted:
                return
            failures = 1 if time.monotonic() - spawned_at > STABLE_S else failures + 1
            if not component.was_ready.is_set() and (component.unusable or failures >= FIRST_START_ATTEMPTS):
                raise self._failed(component, reason)
            await self._pause(component, reason, failures)

    async def _pause(self, component: Component, reason: str, failures: int) -> None:
        component.restarts += 1
        pause = backoff_s(failures - 1, BACKOFF_FIRST_S, BACKOFF_MAX_S)
        self._say(f"{component.name} {reason}; restarts in {pause:.1f} s")
        self._set(component, State.RESTARTING, reason)
        await self.sleep(pause)
        component.began_at = time.monotonic()

    async def _run_once(self, component: Component) -> str:
        """Run the process once; returns in words why it ended."""
        try:
            if component.prepare is not None:
                self._set(component, State.PREPARING)
                await asyncio.to_thread(component.prepare)
            process = component.process = component.spawn()
        except (EmbeddedError, OSError) as error:
            component.unusable = isinstance(error, DataUnusable)
            return f"could not be started: {error}"
        self._set(component, State.STARTING)
        ended = asyncio.ensure_future(wait_exit(process))
        try:
            if not await self._becomes_ready(component, process.pid, ended):
                if ended.done():
                    return describe_exit(ended.result())
                await self._end(component)
                return f"was not ready within {READY_TIMEOUT_S:g} s"
            return describe_exit(await ended)
        finally:
            ended.cancel()

    async def _becomes_ready(self, component: Component, pid: int, ended: "asyncio.Future[int]") -> bool:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not ended.done() and time.monotonic() < deadline:
            if await component.ready(pid) and not ended.done():
                component.seconds = time.monotonic() - component.began_at
                self._set(component, State.READY)
                if component.was_ready.is_set():
                    self._say(f"{component.name} is ready again")
                component.was_ready.set()
                return True
            await asyncio.wait({ended}, timeout=READY_POLL_S)
        return False

    def _failed(self, component: Component, reason: str) -> StartFailed:
        self._set(component, State.FAILED, reason)
        tail = log_tail(component.log)
        lines = f"; its last log lines ({component.log}):\n{tail}" if tail else f"; its log {component.log} is empty"
        if component.process is None:
            lines = ""  # nothing was started, so the log is of an earlier run
        is_store = component.kind == "store"
        advice = DAMAGED_ADVICE.format(folder=component.log.parent, command=self._delete_command) if is_store else ""
        return StartFailed(f"{component.name} {reason}{lines}{advice}")

    def _set(self, component: Component, state: State, detail: str = "") -> None:
        component.state, component.detail = state, detail
        self._changed()
