"""Sets the log level of a running process by a signal: one for each level, so that the level before does not matter.

    python -m shop.kit.log_level debug [PID]

Only the standard library is imported, so that it starts quickly beside a busy service in its container.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path

LEVELS = ("debug", "info", "warning", "error")
FIRST = getattr(signal, "SIGRTMIN", None)
SIGNALS = {level: FIRST + 1 + number for number, level in enumerate(LEVELS)} if FIRST is not None else {}
"""By level. Real-time signals, which have no meaning of their own; only Linux has them."""
CAUGHT = re.compile(r"^SigCgt:\s*([0-9a-f]+)$", re.MULTILINE)
MAIN_PROCESS = 1
"""Of a container."""


class NotObeyed(RuntimeError):
    """The process has no handler for the signal, which would end it or do nothing."""


def send(pid: int, level: str) -> None:
    """Make the process write lines of ``level`` and above, from now on and until it ends.

    NotObeyed when it is no process of a service, or one that has not started; PermissionError when it is another
    user's.
    """
    number = SIGNALS.get(level)
    if number is None:
        raise NotObeyed("this system has no real-time signals: a running process keeps its log level")
    if not _catches(pid, number):
        raise NotObeyed(f"process {pid} does not take a log level; it may still be starting")
    os.kill(pid, number)


def _catches(pid: int, number: int) -> bool:
    try:
        found = CAUGHT.search(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotObeyed(f"there is no process {pid}") from None
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


def main() -> None:
    """The exit status is 1, with one line on stderr, when the level was not set."""
    parser = argparse.ArgumentParser(prog="shop.kit.log_level", description="Set the log level of a running service.")
    parser.add_argument("level", choices=LEVELS)
    parser.add_argument("pid", type=int, nargs="?", default=MAIN_PROCESS, help="default: a container's main process")
    arguments = parser.parse_args()
    try:
        send(arguments.pid, arguments.level)
    except (NotObeyed, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
