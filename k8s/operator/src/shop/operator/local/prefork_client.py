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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shop.devkit.processes import EmbeddedError, launch
from shop.operator.local import prefork
from shop.operator.local.shared_memory import share_with_forks

PROGRAM = (sys.executable, "-m", "shop.operator.local.prefork")
PR_SET_CHILD_SUBREAPER = 36
WAIT_POLL_S = 0.02


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

    def __init__(
        self,
        log: Path,
        modules: Sequence[str] = (),
        process: subprocess.Popen[bytes] | None = None,
        program: Sequence[str] = PROGRAM,
        *,
        country: str = "",
        language: str = "",
    ) -> None:
        """``modules`` are loaded as well, and the locale data of ``language`` in ``country``.

        ``process`` is that of `forked_server`, instead of which ``program`` runs.
        """
        self._log = log
        self._modules = list(modules)
        self._locale = [country, language]
        self._program = program
        self._lock = threading.Lock()
        self._process = process
        self._ready = False

    @staticmethod
    def supported() -> bool:
        """Whether forks can be handed over to this process on this system."""
        return sys.platform == "linux"

    def start(self) -> None:
        """Start loading; from now on forks become children of this process."""
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if self._process is None:
            self._process = launch(list(self._program), log=self._log, piped=True)
        self._request({"modules": self._modules, "locale": self._locale, "log": str(self._log)})

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
            self._request({**request, "parent": os.getpid()})
            return ForkedProcess(int(self._read()["pid"]))

    def stop(self) -> None:
        """End the server; its forks keep running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _request(self, request: Mapping[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            raise EmbeddedError("the prefork server does not run")
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise EmbeddedError("the prefork server has ended") from error

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process is not None and self._process.stdout else b""
        if not line:
            raise EmbeddedError(f"the prefork server has ended; see {self._log}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def forked_server() -> Iterator[subprocess.Popen[bytes] | None]:
    """A fork of this process, which shares its memory and waits for `PreforkServer.start`; ended with the block.

    None in a process with threads, which cannot be forked, and on other systems. Begin the block before there is an
    event loop. In each service that the fork becomes, SystemExit is raised here.
    """
    if not PreforkServer.supported() or len(os.listdir("/proc/self/task")) > 1:
        yield None
        return
    process = _fork()
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _fork() -> subprocess.Popen[bytes]:
    share_with_forks()
    sys.stdout.flush()
    sys.stderr.flush()
    parent, (requests, asking), (answered, answers) = os.getpid(), os.pipe(), os.pipe()
    if (pid := os.fork()) == 0:
        prefork.run_in_fork(requests, answers, parent)
    os.close(requests)
    os.close(answers)
    process = ForkedProcess(pid)
    process.stdin, process.stdout = os.fdopen(asking, "wb"), os.fdopen(answered, "rb")
    return process


def reap_orphans(known: set[int]) -> None:
    """Reap ended children that this process did not start, such as the workers of a killed server."""
    import psutil

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, OSError):
            if child.pid not in known and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
