"""The level of a running process is chosen by a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from shop.devkit.testing import wait_until
from shop.kit import log_level
from shop.kit import logging as kit_logging

TIMEOUT_S = 30.0
MODULES = (
    "import sys, shop.kit.log_level; print(*(name for name in sys.modules if name.startswith(('shop', 'pydantic'))))"
)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has no handler for the signals, of which any would end it."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


async def test_a_level_is_chosen_whatever_it_was_before() -> None:
    root, before, loop = logging.getLogger(), logging.getLogger().level, asyncio.get_running_loop()
    kit_logging.obey_signals(loop)
    try:
        for level in ("debug", "error", "info", "info", "warning"):
            log_level.send(os.getpid(), level)
            await wait_until(lambda: root.level == logging.getLevelNamesMapping()[level.upper()])  # noqa: B023
    finally:
        for number in log_level.SIGNALS.values():
            loop.remove_signal_handler(number)
        kit_logging.set_level(before)


def test_a_process_without_a_handler_gets_no_signal(sleeper: subprocess.Popen[bytes]) -> None:
    with pytest.raises(log_level.NotObeyed, match=f"process {sleeper.pid} does not take a log level"):
        log_level.send(sleeper.pid, "debug")
    assert sleeper.poll() is None


def test_a_process_that_has_ended_is_named(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(log_level.NotObeyed, match=f"there is no process {sleeper.pid}"):
        log_level.send(sleeper.pid, "debug")


def test_the_command_says_in_one_line_why_it_failed(sleeper: subprocess.Popen[bytes]) -> None:
    command = [sys.executable, "-m", "shop.kit.log_level", "debug", str(sleeper.pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 1
    assert done.stderr == f"process {sleeper.pid} does not take a log level; it may still be starting\n"


def test_the_command_loads_nothing_else() -> None:
    """It runs beside a busy service, in a container with little processor time."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    assert done.stdout.split() == ["shop", "shop.kit", "shop.kit.log_level"]
