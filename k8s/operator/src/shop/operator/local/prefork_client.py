"""The supervisor's side of the prefork server: request forks, and manage them like processes started here."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shop.devkit.processes import EmbeddedError, launch

PROGRAM = (sys.executable, "-m", "shop.operator.local.prefork")
PR_SET_CHILD_SUBREAPER = 36
WAIT_POLL_S = 0.02
LARGE_BLOCK_BYTES = 1 << 20
"""Memory of larger blocks goes back to the system once they are freed. Otherwise glibc keeps as much as the largest
block that was ever freed: 19 MiB in the user service once it has hashed a password."""


class ForkedProcess(subprocess.Popen[bytes]):
    """A child that another process started; only the methods overridden here work."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.args = ["prefork"]
        self._child_created = False

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self.returncode = 1
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(WAIT_POLL_S)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class PreforkServer:
    """Start it from the main thread; `spawn` may then be called from there, after `wait_ready` in any thread."""

    def __init__(self, log: Path, program: Sequence[str] = PROGRAM) -> None:
        self._log = log
        self._program = program
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    @staticmethod
    def supported() -> bool:
        """Whether forks can be handed over to this process on this system."""
        return sys.platform == "linux"

    def start(self) -> None:
        """Start loading; from now on forks become children of this process."""
        if self._process is not None and self._process.poll() is None:
            return
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._ready = False
        env = {"MALLOC_MMAP_THRESHOLD_": str(LARGE_BLOCK_BYTES), **os.environ}
        self._process = launch(list(self._program), log=self._log, env=env, piped=True)

    @property
    def pid(self) -> int | None:
        """The server's process, None when there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def wait_ready(self) -> None:
        """Return once it has loaded everything; raises `EmbeddedError` when it ended instead."""
        with self._lock:
            if not self._ready:
                self._read()
                self._ready = True

    def spawn(self, request: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        """A service as a fork; raises `EmbeddedError` when the server has ended."""
        with self._lock:
            if self._process is None or self._process.stdin is None:
                raise EmbeddedError("the prefork server does not run")
            try:
                self._process.stdin.write(json.dumps({**request, "parent": os.getpid()}).encode() + b"\n")
                self._process.stdin.flush()
            except OSError as error:
                raise EmbeddedError("the prefork server has ended") from error
            return ForkedProcess(int(self._read()["pid"]))

    def stop(self) -> None:
        """End the server; its forks keep running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process is not None and self._process.stdout else b""
        if not line:
            raise EmbeddedError(f"the prefork server has ended; see {self._log}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def reap_orphans(known: set[int]) -> None:
    """Reap ended children that this process did not start, such as the workers of a killed server."""
    import psutil

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, OSError):
            if child.pid not in known and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
