"""The embedded servers keep port, secret and data between starts, and say in one sentence why they cannot start."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import nats
import psycopg
import pytest

from shop.devkit.embedded import (
    POSTGRES_BIN,
    POSTGRES_MAJOR,
    DataOfOtherVersion,
    DataUnusable,
    PortInUse,
    PostgresStore,
    Server,
    free_port,
    port_is_free,
    start_nats,
    start_postgres,
    start_valkey,
)
from shop.devkit.processes import package_file

GONE_TIMEOUT_S = 15.0
NAP_S = 0.05
ABANDON_A_SERVER = """
import os, sys
from shop.devkit.embedded import start_valkey
print(start_valkey(sys.argv[1]).port, flush=True)
os.kill(os.getpid(), 9)
"""


def _query(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def _redis(server: Server, command: str) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(f"AUTH {server.store.secret}\r\n{command}\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 2:
            answer += connection.recv(4096)
        return answer.split(b"\r\n", 1)[1]


def test_postgres_keeps_data_port_and_password_over_stop_and_crash(tmp_path: Path) -> None:
    server = start_postgres(tmp_path, durable=False)
    try:
        first = server.url
        _query(first, "CREATE TABLE kept (n int)")
        server.stop()
        assert port_is_free(server.port)
        server.start()
        assert server.url == first
        _query(first, "INSERT INTO kept VALUES (7)")
        server.kill()
        server.start()
        assert _query(first, "SELECT n FROM kept") == [(7,)]
    finally:
        server.stop()


def test_postgres_is_durable_unless_asked_otherwise(tmp_path: Path) -> None:
    server = start_postgres(tmp_path)
    try:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert _query(server.url, f"SHOW {setting}") == [("on",)]
        assert isinstance(server.store, PostgresStore)
        assert server.store.flush is not None
        assert server.store.flush.wait(GONE_TIMEOUT_S) == 0
    finally:
        server.stop()


def test_postgres_refuses_a_wrong_password(tmp_path: Path) -> None:
    server = start_postgres(tmp_path, durable=False)
    try:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            _query(server.url.replace(server.store.secret, "wrong"), "SELECT 1")
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change user")
def test_postgres_runs_below_a_private_folder_as_another_user(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = start_postgres(private / "data", durable=False)
    try:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        uid_line = next(line for line in status.splitlines() if line.startswith("Uid:"))
        assert "0" not in uid_line.split()[1:]
        assert _query(server.url, "SELECT 1") == [(1,)]
    finally:
        server.stop()


def test_a_folder_with_other_contents_is_named(tmp_path: Path) -> None:
    (tmp_path / "pgdata").mkdir()
    with pytest.raises(DataUnusable, match="pgdata is not a PostgreSQL data folder"):
        PostgresStore(tmp_path).prepare()


@pytest.mark.parametrize("gone", ["PG_VERSION", "global/pg_control"])
def test_a_file_that_the_data_lacks_is_named(tmp_path: Path, gone: str) -> None:
    _data_folder(tmp_path, POSTGRES_MAJOR)
    (tmp_path / "pgdata" / gone).unlink()
    with pytest.raises(DataUnusable, match=f"pgdata is not a PostgreSQL data folder: it has no {gone}$"):
        PostgresStore(tmp_path).prepare()


def test_data_of_another_major_version_is_refused_and_kept(tmp_path: Path) -> None:
    _data_folder(tmp_path, 17)
    before = {path: path.read_bytes() for path in (tmp_path / "pgdata").rglob("*") if path.is_file()}
    with pytest.raises(DataOfOtherVersion, match=f"pgdata was made by PostgreSQL 17 .* by {POSTGRES_MAJOR}; nothing"):
        PostgresStore(tmp_path).prepare()
    assert {path: path.read_bytes() for path in (tmp_path / "pgdata").rglob("*") if path.is_file()} == before


def _data_folder(folder: Path, major: int) -> None:
    (folder / "pgdata" / "global").mkdir(parents=True)
    (folder / "pgdata" / "PG_VERSION").write_text(f"{major}\n")
    (folder / "pgdata" / "global" / "pg_control").write_text("kept")


def test_the_installed_postgres_is_of_the_major_version_that_is_named() -> None:
    program = package_file(*POSTGRES_BIN, "postgres")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"postgres (PostgreSQL) {POSTGRES_MAJOR}.")


@pytest.mark.parametrize("place", ["data", "data/below"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "data").write_text("years of work")
    with pytest.raises(DataUnusable, match="/data is not a folder, and one is needed there: move it away"):
        start_valkey(tmp_path / place)
    assert (tmp_path / "data").read_text() == "years of work"


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUse, match=str(port)):
            start_valkey(tmp_path, port=port)


async def test_nats_keeps_its_streams(tmp_path: Path) -> None:
    server = await asyncio.to_thread(start_nats, tmp_path)
    try:
        for _ in range(2):
            connection = await nats.connect(server.url)
            stream = connection.jetstream()
            if _ == 0:
                await stream.add_stream(name="kept", subjects=["kept.>"])
                await stream.publish("kept.one", b"x")
                await connection.close()
                server.stop()
                server.start()
        info = await stream.stream_info("kept")
        assert info.state.messages == 1
        await connection.close()
    finally:
        server.stop()


@pytest.mark.parametrize("name", ['a "quoted" folder', "a\\backslash", "zwei\nZeilen", "Müller's $HOME %s #1 {x}"])
def test_a_path_may_have_special_characters(tmp_path: Path, name: str) -> None:
    for start in (start_nats, start_valkey):
        server = start(tmp_path / name / start.__name__)
        server.stop()
    assert (tmp_path / name / "start_nats" / "jetstream").is_dir()
    assert (tmp_path / name / "start_valkey" / "appendonlydir").is_dir()


def test_postgres_takes_any_path(tmp_path: Path) -> None:
    server = start_postgres(tmp_path / 'a "b" c\\d\nMüller\'s', durable=False)
    try:
        assert _query(server.url, "SELECT 1") == [(1,)]
    finally:
        server.stop()


def test_valkey_opens_what_redis_has_written(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_bytes(b"*3\r\n$3\r\nSET\r\n$4\r\nbook\r\n$1\r\n1\r\n")
    server = start_valkey(tmp_path)
    try:
        assert _redis(server, "GET book").startswith(b"$1\r\n")
    finally:
        server.stop()


def test_valkey_keeps_its_keys(tmp_path: Path) -> None:
    server = start_valkey(tmp_path)
    try:
        assert _redis(server, "SET book 1") == b"+OK\r\n"
        server.stop()
        server.start()
        assert _redis(server, "GET book").startswith(b"$1\r\n")
    finally:
        server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="parent death signals are Linux's")
def test_a_server_is_killed_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", ABANDON_A_SERVER, str(tmp_path)], capture_output=True, text=True, check=False
    )
    deadline = time.monotonic() + GONE_TIMEOUT_S
    while not port_is_free(int(parent.stdout)):
        assert time.monotonic() < deadline, "the server outlived its parent"
        time.sleep(NAP_S)


async def test_asyncpg_reaches_the_server(tmp_path: Path) -> None:
    server = start_postgres(tmp_path, durable=False)
    try:
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    finally:
        server.stop()
