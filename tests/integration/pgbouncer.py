"""PgBouncer in transaction mode before a test's PostgreSQL, with TLS by an authority of its own."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from shop.devkit.processes import HOST, write_private
from shop.devkit.stores import Store
from tests.operator.certificates import Authority

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SERVER_CONNECTIONS = 4
"""Of each database and role: fewer than the clients, so that transactions of one client get different ones."""
ROUND_ROBIN = "server_round_robin = 1"
"""The next transaction gets the connection that was idle longest, which is hardly ever the one before."""


class PgBouncer(Store):
    """Passes on to the server at `server_url` as the role that connected; `passwords` are by role."""

    name: ClassVar[str] = "pgbouncer"

    def __init__(self, directory: Path, server_url: str, passwords: dict[str, str]) -> None:
        super().__init__(directory)
        self._server = urlsplit(server_url)
        self._passwords = passwords
        self.authority = Authority(directory / "authority")

    @property
    def url(self) -> str:
        return f"postgresql://{HOST}:{self.port}"

    def through(self, url: str, sslmode: str = "verify-full") -> str:
        """`url` of the server, through this pooler."""
        parts = urlsplit(url)
        return f"postgresql://{parts.username}:{parts.password}@localhost:{self.port}{parts.path}?sslmode={sslmode}"

    def prepare(self) -> None:
        super().prepare()
        certificate, key = self.authority.issue("pgbouncer")
        users = "".join(f'"{role}" "{password}"\n' for role, password in self._passwords.items())
        write_private(self.directory / "users.txt", users)
        write_private(self.directory / "pgbouncer.ini", self._configuration(certificate, key))
        if owner := self.owner():
            for path in (self.directory, *self.directory.rglob("*")):
                os.chown(path, *owner)
            for parent in self.directory.parents[:2]:
                parent.chmod(parent.stat().st_mode | 0o011)

    def _configuration(self, certificate: Path, key: Path) -> str:
        return f"""[databases]
* = host={self._server.hostname} port={self._server.port}
[pgbouncer]
listen_addr = 127.0.0.1,127.0.0.2
listen_port = {self.port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = {SERVER_CONNECTIONS}
max_client_conn = 200
{ROUND_ROBIN}
auth_type = scram-sha-256
auth_file = {self.directory / "users.txt"}
client_tls_sslmode = require
client_tls_cert_file = {certificate}
client_tls_key_file = {key}
"""

    def command(self) -> list[str]:
        assert PROGRAM is not None
        return [PROGRAM, str(self.directory / "pgbouncer.ini")]

    def is_ready(self, pid: int) -> bool:
        # The answer to a request for TLS.
        return self._ask(bytes.fromhex("0000000804d2162f"), 1) == b"S"

    def owner(self) -> tuple[int, int] | None:
        """PgBouncer refuses to run as root."""
        if os.geteuid() != 0:
            return None
        entry = pwd.getpwnam("nobody")
        return entry.pw_uid, entry.pw_gid
