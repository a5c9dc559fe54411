"""End the processes that a killed supervisor left running, and only those."""

import contextlib
import signal
from collections.abc import Iterable, Mapping
from typing import Any

import psutil

from shop.operator.errors import ShopctlError

END_TIMEOUT_S = 10.0
# The kernel's start time of a process, as psutil gives it, is exact to a clock tick.
SAME_START_S = 0.05


def identity(pid: int) -> dict[str, float | int] | None:
    """What distinguishes this process from a later one with the same pid."""
    try:
        return {"pid": pid, "started": psutil.Process(pid).create_time()}
    except psutil.NoSuchProcess:
        return None


def end(identities: Iterable[Mapping[str, Any]]) -> list[int]:
    """End those that are still the same processes, with SIGTERM, then SIGKILL; returns their pids."""
    found = [process for one in identities if (process := _same(one)) is not None]
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            # PostgreSQL waits for its clients on SIGTERM and does not on SIGINT.
            process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
    _, alive = psutil.wait_procs(found, timeout=END_TIMEOUT_S)
    for process in alive:
        process.kill()
    _, remaining = psutil.wait_procs(alive, timeout=END_TIMEOUT_S)
    if remaining:
        raise ShopctlError(f"process {remaining[0].pid} of an earlier run does not end; end it and try again")
    return [process.pid for process in found]


def _same(one: Mapping[str, Any]) -> psutil.Process | None:
    try:
        process = psutil.Process(int(one["pid"]))
        ours = abs(process.create_time() - float(one["started"])) < SAME_START_S
    except (psutil.Error, KeyError, ValueError, TypeError):
        return None
    return process if ours and process.status() != psutil.STATUS_ZOMBIE else None
