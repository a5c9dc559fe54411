"""A server with its own folder: what the embedded PostgreSQL, NATS and Valkey have in common."""

import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from shop.devkit.processes import (
    HOST,
    EmbeddedError,
    PortInUse,
    ServerFailed,
    free_port,
    kept_secret,
    launch,
    log_tail,
    make_folder,
    port_is_free,
    reuse_port,
    write_private,
)

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 5.0
POLL_S = 0.02
RESTART_PAUSE_S = 0.2
PROBE_TIMEOUT_S = 1.0
LOG_MAX_BYTES = 10_000_000


class Store(ABC):
    """One kind of server and the folder it owns."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, directory: Path | str, *, port: int | None = None) -> None:
        self.directory = Path(directory).absolute()
        self.log = self.directory / "server.log"
        self._wanted_port = port
        self.port = port or 0

    def prepare(self) -> None:
        """Make the folder ready to serve: port, secret, configuration, first data. May be called before every spawn."""
        make_folder(self.directory)
        if self.log.exists() and self.log.stat().st_size > LOG_MAX_BYTES:
            self.log.replace(self.log.with_name("server.log.1"))
        self.port = self._choose_port()
        write_private(self.directory / "port", f"{self.port}\n")

    def reserve_port(self) -> None:
        """Choose the port before `prepare()`, for a supervisor that passes it to other processes first."""
        make_folder(self.directory)
        self.port = self._choose_port()
        self.keep_port()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server's process; it is not ready yet."""
        return launch(
            self.command(),
            signal_number=self.stop_signal,
            owner=self.owner(),
            env=self.env(),
            log=self.log,
            cwd=self.directory,
        )

    def keep_port(self) -> None:
        """Keep the current port from now on, or fail: clients already know it."""
        self._wanted_port = self.port

    def start(self, timeout_s: float = START_TIMEOUT_S) -> "Server":
        """Prepare, spawn and wait until ready; raises `EmbeddedError`."""
        self.prepare()
        server = Server(self, self.spawn())
        server.wait_ready(timeout_s)
        return server

    @property
    @abstractmethod
    def url(self) -> str:
        """The connection URL, with the secret."""

    @abstractmethod
    def command(self) -> list[str]:
        """Program and arguments."""

    @abstractmethod
    def is_ready(self, pid: int) -> bool:
        """Whether the process `pid` serves now; answers within `PROBE_TIMEOUT_S`."""

    def owner(self) -> tuple[int, int] | None:
        """The (uid, gid) to run as, None for the caller's."""
        return None

    def env(self) -> dict[str, str]:
        """The whole environment of the server."""
        return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    @property
    def secret(self) -> str:
        """The password or token of the server, kept in its folder."""
        return kept_secret(self.directory / "secret")

    def _choose_port(self) -> int:
        if self._wanted_port is not None:
            if not port_is_free(self._wanted_port):
                raise PortInUse(f"{self.name}: port {self._wanted_port} is in use")
            return self._wanted_port
        kept = self.directory / "port"
        text = kept.read_text().strip() if kept.exists() else ""
        if text.isdigit() and reuse_port(int(text), owner=str(self.directory)):
            return int(text)
        return free_port(owner=str(self.directory))

    def _ask(self, request: bytes, size: int = 4096, port: int | None = None) -> bytes:
        """Send `request` and return the first answer, b"" without one."""
        try:
            with socket.create_connection((HOST, port or self.port), timeout=PROBE_TIMEOUT_S) as connection:
                connection.sendall(request)
                return connection.recv(size)
        except OSError:
            return b""


@dataclass
class Server:
    """A running server. `stop()` and `start()` may alternate: port, secret and data stay the same."""

    store: Store
    process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1."""
        return self.store.port

    @property
    def url(self) -> str:
        """The superuser's URL."""
        return self.store.url

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return once the server is ready; stop it and raise `ServerFailed` when it is not within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self.store.is_ready(self.process.pid):
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                what = f"ended with code {self.process.returncode}" if ended else f"was not ready in {timeout_s:g} s"
                raise ServerFailed(f"{self.store.name} {what}:\n{log_tail(self.store.log)}")
            time.sleep(POLL_S)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop the server gracefully, by force after `timeout_s`. Does nothing when it has ended."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(self.store.stop_signal)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the server (SIGKILL), as a crash would."""
        self.process.kill()
        self.process.wait(KILL_TIMEOUT_S)

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start again on the same port after `stop()` or `kill()`; waits until a killed server's processes ended."""
        self.store.keep_port()
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.store.prepare()
                self.process = self.store.spawn()
                return self.wait_ready(timeout_s)
            except EmbeddedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(RESTART_PAUSE_S)
