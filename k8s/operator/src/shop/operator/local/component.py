"""One supervised process: how to start it, and its state."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

EXIT_POLL_S = 0.1


class State(StrEnum):
    WAITING = "waiting"
    PREPARING = "preparing"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass
class Component:
    """`prepare` may block and runs in a thread; `spawn` must return at once; `ready` gets the pid."""

    name: str
    kind: Literal["service", "store", "monitoring"]
    port: int
    log: Path
    spawn: Callable[[], subprocess.Popen[bytes]]
    ready: Callable[[int], Awaitable[bool]]
    grpc_port: int | None = None
    page: str = ""
    """Address of its web page, "" without one."""
    prepare: Callable[[], None] | None = None
    trouble: Callable[[], str] | None = None
    """What is wrong although the process is ready, and a restart repairs; "" when nothing is. May block."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 8.0

    state: State = State.WAITING
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    detail: str = ""
    began_at: float = field(default_factory=time.monotonic)
    seconds: float | None = None
    wanted: bool = True
    unusable: bool = False
    """Its data cannot be used, so another attempt would fail as well."""
    was_ready: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def noun(self) -> str:
        """The service without the number of the instance; a store's own name."""
        return self.name.rsplit("-", 1)[0] if self.kind == "service" else self.name

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None

    def snapshot(self) -> dict[str, Any]:
        """What status and the display show, in JSON's types."""
        return {
            "name": self.name,
            "kind": self.kind,
            "state": str(self.state),
            "pid": self.pid,
            "port": self.port,
            **({"grpc_port": self.grpc_port} if self.grpc_port else {}),
            **({"page": self.page} if self.page else {}),
            "healthy": self.state is State.READY,
            "restarts": self.restarts,
            "seconds": None if self.seconds is None else round(self.seconds, 2),
            "detail": self.detail,
        }


async def wait_exit(process: subprocess.Popen[bytes]) -> int:
    """The exit code, once there is one; takes no thread."""
    with contextlib.suppress(AttributeError, OSError):
        descriptor = os.pidfd_open(process.pid)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    while process.poll() is None:  # noqa: ASYNC110 - without pidfd only polling is left
        await asyncio.sleep(EXIT_POLL_S)
    return process.returncode


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
