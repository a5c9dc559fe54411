"""Events of the pods under load, and the logs of pods, also of those that are deleted later."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.kubernetes.kube import ROOT, CommandFailed, Release

LOGS = ROOT / "build" / "e2e" / "logs"
FOLLOWED = ("gateway", "order", "product")
"""Services whose logs are kept: the gateway, and those that are rolled out."""
CALLERS = ("gateway", "order")
COUNTED = re.compile(r"\w+_total\{.*upstream=|\w*breaker\w*\{")
EVENT_COLUMNS = "custom-columns=REASON:.reason,POD:.involvedObject.name,MESSAGE:.message"
WORTH_SHOWING = ('"level":"warning"', '"level":"error"', '"level":"critical"')
STARTING = "Startup probe failed"
"""In the events of every pod until its service listens."""
MAX_LINES = 80
MAX_EVENT_CHARACTERS = 8_000
END_TIMEOUT_S = 10.0


@dataclass
class Timeline:
    """`marks` are steps of the test, `events` those of pods in the cluster; both with their second."""

    release: Release
    folder: Path
    began: float = field(default_factory=time.monotonic)
    marks: list[tuple[float, str]] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)
    _processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    def mark(self, what: str) -> None:
        """A step of the test; later times are relative to it."""
        self.marks.append((time.monotonic(), what))
        print(f"{time.monotonic() - self.began:6.1f} s {what}", flush=True)

    def now(self) -> str:
        """The present time, relative to the last step and the last event of a pod."""
        at = time.monotonic()
        details = [f"{at - then:.1f} s after {what}" for then, what in (*self.marks[-1:], *self.events[-1:])]
        return f"{at - self.began:.1f} s" + (f" ({', '.join(details)})" if details else "")

    async def watch(self) -> None:
        """Record the events of pods and follow the logs of new ones until cancelled."""
        for noun in FOLLOWED:
            for pod in await asyncio.to_thread(self.release.pods, noun):
                await self._follow(pod["metadata"]["name"], "--since=1s")
        chosen = "--field-selector=involvedObject.kind=Pod"
        events = await self._kubectl("get", "events", "--watch-only", "--no-headers", chosen, "-o", EVENT_COLUMNS)
        assert events.stdout is not None
        async for line in events.stdout:
            await self._take(line.decode())

    async def _take(self, line: str) -> None:
        reason, name, message = (*line.split(None, 2), "", "", "")[:3]
        if reason == "Unhealthy" and not message.startswith(STARTING):
            print(f"{self.now()}: {name}: {message.strip()}", flush=True)
        self.events.append((time.monotonic(), f"{reason} {name}"))
        # The event comes for the migrations, of which there may be no log yet, and again for the service.
        if reason == "Started" and name.startswith(FOLLOWED):
            await self._follow(name)

    async def _follow(self, pod: str, *options: str) -> None:
        with (self.folder / f"{pod}.log").open("ab") as file:
            await self._kubectl("logs", "--follow", *options, pod, stdout=file.fileno())

    async def _kubectl(self, *arguments: str, stdout: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            "--namespace",
            self.release.namespace,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._processes.append(process)
        return process

    async def end(self) -> None:
        """Stop the processes that follow."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait_for(process.wait(), END_TIMEOUT_S)

    def report(self) -> str:
        """Diagnostics of a failed request."""
        begun = [f"{at - self.began:6.1f} s {what}" for at, what in sorted([*self.marks, *self.events])]
        with contextlib.suppress(CommandFailed):
            begun.append(self.release.kubectl("get", "events", "--sort-by=.lastTimestamp")[-MAX_EVENT_CHARACTERS:])
        return "\n".join([*begun, *self._warnings(), *self._upstreams()])

    def _upstreams(self) -> Iterator[str]:
        """Metrics of the callers: responses, refused connections, open circuit breakers."""
        for noun in CALLERS:
            for pod in self.release.pods(noun):
                name = pod["metadata"]["name"]
                path = f"/api/v1/namespaces/{self.release.namespace}/pods/{name}:8000/proxy/metrics"
                with contextlib.suppress(CommandFailed):
                    lines = self.release.kubectl("get", "--raw", path).splitlines()
                    yield from (f"{name}: {line}" for line in lines if COUNTED.match(line))

    def _warnings(self) -> Iterator[str]:
        for file in sorted(self.folder.glob("*.log")):
            lines = {line for line in file.read_text(encoding="utf-8").splitlines() if is_worth_showing(line)}
            # Lines begin with their time and may be duplicates.
            yield from (f"{file.stem}: {line}" for line in sorted(lines)[-MAX_LINES:])


def is_worth_showing(line: str) -> bool:
    return any(level in line for level in WORTH_SHOWING)


@contextlib.asynccontextmanager
async def timeline(release: Release, name: str) -> AsyncIterator[Timeline]:
    """The timeline of one test, kept in build/e2e/logs under its name."""
    folder = LOGS / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.log"):
        old.unlink()
    kept = Timeline(release, folder)
    watching = asyncio.create_task(kept.watch())
    try:
        yield kept
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await kept.end()
