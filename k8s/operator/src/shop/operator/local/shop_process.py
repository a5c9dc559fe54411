"""`shopctl up` and `shopctl up --detach`."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shop.operator.errors import ShopctlError
from shop.operator.local.data_dir import ADMIN_EMAIL, DataDir
from shop.operator.local.display import Display, PlainDisplay, for_terminal, welcome
from shop.operator.local.log_files import rotate
from shop.operator.local.prefork_client import forked_server
from shop.operator.local.shop import LocalShop, Options

SUPERVISOR_LOG = "supervisor.log"
REPORT_VARIABLE = "SHOPCTL_REPORT_FD"


def foreground(options: Options, shown_dir: str) -> None:
    """Run the shop until Ctrl-C or SIGTERM; raises `ShopctlError` when it cannot be started."""
    began = time.monotonic()
    with forked_server() as server:
        _show(options, shown_dir, server, began)


def _show(options: Options, shown_dir: str, server: subprocess.Popen[bytes] | None, began: float) -> None:
    display = for_terminal()
    shop = LocalShop(options, display.say, display.show, server)

    def selling() -> None:
        display.finish()
        display.say(welcome(**_facts(shop), seconds=time.monotonic() - began, data_dir=shown_dir))
        display.say("Ctrl-C ends the shop; its data stays.")

    try:
        asyncio.run(_run(shop, selling))
    finally:
        display.finish()
    if shop.data.exists:
        display.say("The shop has ended; its data stays.")


async def _run(shop: LocalShop, selling: Callable[[], None], claimed: Callable[[], None] = lambda: None) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, shop.request_stop)
    await shop.run(selling, claimed)


def supervise(options: Options, report_fd: int) -> None:
    """The background process of `--detach`: reports JSON lines until the shop is ready or fails, then only logs."""
    with forked_server() as server:
        _report(options, _Report(report_fd), server)


def _report(options: Options, report: "_Report", server: subprocess.Popen[bytes] | None) -> None:
    def say(line: str) -> None:
        report.send({"say": line})
        PlainDisplay().say(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}")

    shop = LocalShop(options, say, lambda snapshot: report.send({"show": snapshot}), server)

    def selling() -> None:
        report.send({"selling": _facts(shop)})
        report.close()

    try:
        asyncio.run(_run(shop, selling, lambda: _log_to(shop.data.logs / SUPERVISOR_LOG)))
    except Exception as error:
        report.send({"error": str(error) or type(error).__name__})
        raise
    finally:
        report.close()


def _log_to(path: Path) -> None:
    """Redirect standard output and error to the log."""
    rotate(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)


def _facts(shop: LocalShop) -> dict[str, Any]:
    """What `welcome` says about a shop that sells, in JSON's types."""
    return {
        "url": shop.url,
        "admin": {"email": ADMIN_EMAIL, "password_file": str(shop.data.admin_password_file)},
        "password": shop.data.admin_password() if shop.first_start else None,
        "grpc": shop.grpc_addresses,
        "pages": shop.pages,
    }


class _Report:
    """The pipe to the waiting parent; a parent that has ended is ignored."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def send(self, message: dict[str, Any]) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(self._descriptor, json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def detach(arguments: Sequence[str], data_dir: Path, shown_dir: str) -> None:
    """Start `shopctl up` in the background and return once the shop sells; raises `ShopctlError`."""
    began = time.monotonic()
    display = for_terminal()
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "shop.operator.cli", "up", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[writing],
        env={**os.environ, REPORT_VARIABLE: str(writing)},
    )
    os.close(writing)
    try:
        found = _watch(reading, display)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    finally:
        display.finish()
    if found is None:
        raise ShopctlError(f"the supervisor ended before the shop was ready; see {data_dir / 'logs' / SUPERVISOR_LOG}")
    display.say(welcome(**found, seconds=time.monotonic() - began, data_dir=shown_dir))
    display.say(f"The shop runs in the background; {DataDir(data_dir).command('down')} ends it.")


def _watch(reading: int, display: Display) -> dict[str, Any] | None:
    with os.fdopen(reading) as lines:
        for line in lines:
            message = json.loads(line)
            if "error" in message:
                raise ShopctlError(message["error"])
            if "selling" in message:
                found: dict[str, Any] = message["selling"]
                return found
            if "show" in message:
                display.show(message["show"])
            if "say" in message:
                display.say(message["say"])
    return None
