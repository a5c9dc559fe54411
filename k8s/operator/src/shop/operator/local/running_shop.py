"""Commands to a running shop: status, stop, start, logs and down."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shop.operator.console import note
from shop.operator.errors import ShopctlError
from shop.operator.local import stale_processes
from shop.operator.local.control import ask
from shop.operator.local.data_dir import DataDir
from shop.operator.local.log_files import SERVERS

# Longer than the sum of the limits of a clean shutdown.
DOWN_TIMEOUT_S = 60.0
DOWN_POLL_S = 0.1


def command(
    data: DataDir, name: str, *, up: str = "up", report: Callable[[str], None] = note, **arguments: Any
) -> dict[str, Any]:
    """The answer of the supervisor in this data folder; raises `ShopctlError` when none runs; `up` starts one."""
    control = data.read_state().get("control")
    if not data.is_locked() or not control:
        raise data.not_running(up)
    try:
        return ask(control["port"], control["token"], name, report=report, **arguments)
    except TimeoutError as error:
        raise ShopctlError(
            f"the supervisor in {data.path} has not answered {name}: {error}. It may still carry it out;"
            f" {data.command('status')} shows what runs"
        ) from error
    except OSError as error:
        raise ShopctlError(f"the supervisor in {data.path} does not answer: {error}") from error


def status(data: DataDir) -> dict[str, Any]:
    """The state of every component, with its memory in bytes; the supervisor's includes the prefork server's."""
    answer = command(data, "status")
    for component in answer["components"]:
        component["memory_bytes"] = memory(component["pid"], component["kind"] == "store")
    supervisor = answer["supervisor"]
    supervisor["memory_bytes"] = memory(supervisor["pid"]) + memory(supervisor.get("prefork_pid"))
    return answer


def memory(pid: int | None, with_children: bool = False) -> int:
    """Bytes of memory of a process; a page shared by several processes counts a share for each, where known."""
    import psutil

    if pid is None:
        return 0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)] if with_children else [process]
    except psutil.Error:
        return 0
    return sum(map(_own_memory, family))


def _own_memory(process: Any) -> int:
    import psutil

    try:
        full = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(full, "pss", 0) or full.rss)


def down(data: DataDir, delete: bool) -> bool:
    """End the shop, if one runs, and delete its data if asked; returns whether one ran."""
    ran = data.is_locked()
    if ran:
        command(data, "shutdown")
        deadline = time.monotonic() + DOWN_TIMEOUT_S
        while data.is_locked():
            if time.monotonic() > deadline:
                raise ShopctlError(f"the shop in {data.path} did not end within {DOWN_TIMEOUT_S:g} s")
            time.sleep(DOWN_POLL_S)
    elif data.exists:
        stale_processes.end(data.read_state().get("processes", []))
    if delete:
        data.delete()
    return ran


def log_files(data: DataDir, name: str | None) -> list[Path]:
    """The logs of one component, service or store, or of all; raises `ShopctlError` for an unknown name."""
    stores = {store: data.store(store) / "server.log" for store in SERVERS}
    services = {path.stem: path for path in sorted(data.logs.glob("*.log"))}
    logs = {**services, **{store: path for store, path in stores.items() if path.exists()}}
    if not logs:
        raise ShopctlError(
            f"no logs in {data.path}; start a shop with {data.command('up')}, or name its folder: --data-dir"
        )
    if name is None:
        return list(logs.values())
    chosen = [path for key, path in logs.items() if name in (key, key.rsplit("-", 1)[0])]
    if not chosen:
        raise ShopctlError(f"no logs of {name}; there are logs of {', '.join(logs)}")
    return chosen
