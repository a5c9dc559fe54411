"""Operators as processes that start at once: a process that has imported everything forks one per line it reads.

Python takes over a second to import kopf and the rest; tests that kill an operator at each of its writes start two
hundred. Reads {"environment": {...}, "log": path}, answers with the new process's id.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

from shop.operator.engine import main as operator

PR_SET_PDEATHSIG = 1


def run(order: dict[str, Any]) -> None:
    """Become an operator; dies with the spawner."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target in (1, 2):
        os.dup2(log, target)
    os.environ.update(order["environment"])
    try:
        operator.main()
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, flush=True)
        os._exit(error.code if isinstance(error.code, int) else 2)
    except BaseException as error:  # noqa: BLE001 - the last word of a process goes to its log
        print(f"{type(error).__name__}: {error}", flush=True)
    os._exit(3)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            run(json.loads(line))
        print(pid, flush=True)


if __name__ == "__main__":
    main()
