"""Searches of a catalogue of 100,000 products, or of as many as are asked for.

    python -m tests.load.catalogue_bench [--products 100000] [--searches 2000]

Random words of titles, whole or their first letters, with and without a category, in every order: the time until the
rows are there, and the processor time of PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shop.devkit import embedded
from shop.kit import migrate
from shop.kit.db import Database
from shop.product.repository import SORTS, ProductRepository
from tests.load import speed
from tests.load.open_loop import percentile

LIMIT = 21
CATEGORIES = 20
MAX_WORDS = 3
LETTERS = (2, 3, 4, 99, 99)
"""How much of a word is typed."""
SLOWEST = 5
ROWS_AT_ONCE = 10_000
"""In one statement, which may take 10 s."""
MAX_P99_MS = 10.0
# Titles of three of 2,000 words, some of them far more frequent; "zebra" begins one title of 67, and those are the last
# ones by name. Categories and prices are spread evenly.
WORD = """
CREATE FUNCTION word(n integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN n % 3 = 0 THEN 'common' WHEN n % 97 = 0 THEN 'uncommon' ELSE substr(md5(n::text), 1, 6) END
$$"""
ROWS = """
INSERT INTO products (id, sku, name, sort_name, description, category, price, currency, stock, search, created_at,
                      updated_at)
SELECT md5(n::text)::uuid, 'sku-' || n, title, title, '', 'category-' || n % 20, 100 + n * 7919::bigint % 9000,
       'EUR', 10, to_tsvector('simple', title || ' category ' || n % 20 || ' sku ' || n),
       now() - n * interval '1 second', now()
FROM (
    SELECT n, CASE WHEN n % 67 = 0 THEN 'zebra' ELSE 'a' || word(n * 7 % 2000) END || ' '
        || word(n * 13 % 2000) || ' ' || word(n * 29 % 1999) AS title
    FROM generate_series($1::integer, $2::integer) AS n
) AS titles"""


@dataclass(frozen=True)
class Search:
    query: str
    category: str | None
    sort: str


@dataclass(frozen=True)
class Timed:
    search: Search
    taken_ms: float
    cpu_ms: float


async def fill(database: Database, products: int) -> None:
    """Products with titles of made-up words; the index of words is made afterwards, which is faster."""
    await database.execute("DROP INDEX products_search")
    await database.execute("ALTER TABLE products DISABLE TRIGGER products_folding")
    await database.execute(WORD)
    for first in range(1, products + 1, ROWS_AT_ONCE):
        await database.execute(ROWS, first, min(first + ROWS_AT_ONCE - 1, products))
    await database.execute("CREATE INDEX products_search ON products USING gin (search)")
    await database.execute("ANALYZE products")


def searches(titles: Sequence[str], count: int, chance: random.Random) -> list[Search]:
    words = [word for title in titles for word in title.split()]

    def query() -> str:
        chosen = chance.choices(words, k=chance.randint(0, MAX_WORDS))
        return " ".join(word[: chance.choice(LETTERS)] for word in chosen)

    def category() -> str | None:
        return chance.choice([None, None, f"category-{chance.randrange(CATEGORIES)}"])

    return [Search(query(), category(), chance.choice(list(SORTS))) for _ in range(count)]


async def timed(repository: ProductRepository, one: Search, pid: int) -> Timed:
    """With the processor time of the database's process ``pid``, in a catalogue with one connection."""
    cpu_ms, began = _cpu_ms(pid), time.perf_counter()
    await repository.page(query=one.query, category=one.category, sort=one.sort, after=None, limit=LIMIT)
    return Timed(one, (time.perf_counter() - began) * 1_000, _cpu_ms(pid) - cpu_ms)


def _cpu_ms(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6


async def measure(url: str, products: int, count: int) -> list[Timed]:
    database = await Database.connect(url, pool_size=2, application="bench")
    try:
        await fill(database, products)
        rows = await database.fetch("SELECT name FROM products ORDER BY id LIMIT 500")
        wanted = searches([row["name"] for row in rows], count, random.Random(1))
    finally:
        await database.close()
    database = await Database.connect(url, pool_size=2, application="bench")
    try:
        repository = ProductRepository(database)
        pid: int = await database.fetchval("SELECT pg_backend_pid()")
        return [await timed(repository, one, pid) for one in wanted]
    finally:
        await database.close()


def lines(found: Sequence[Timed]) -> list[str]:
    """The result as a table."""
    taken, cpu = sorted(one.taken_ms for one in found), sorted(one.cpu_ms for one in found)
    table = [f"{'':12}{'p50':>8}{'p90':>8}{'p99':>8}{'most':>8}"]
    for name, values in (("time, ms", taken), ("CPU, ms", cpu)):
        table.append(f"{name:12}" + "".join(f"{percentile(values, percent):8.2f}" for percent in (50, 90, 99, 100)))
    slowest = sorted(found, key=lambda one: -one.cpu_ms)[:SLOWEST]
    return [*table, *(f"{one.cpu_ms:.1f} ms CPU: {one.search}" for one in slowest)]


def main() -> int:
    """1 when one of a hundred searches takes too long."""
    parser = argparse.ArgumentParser(prog="tests.load.catalogue_bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=2_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shop-catalogue-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        sys.stdout.write(speed.line(speed.measure(folder)) + "\n")
        server = embedded.start_postgres(folder / "postgres")
        try:
            migrate.apply("product", server.url)
            found = asyncio.run(measure(server.url, options.products, options.searches))
        finally:
            server.stop()
    sys.stdout.write("\n".join(lines(found)) + "\n")
    return int(percentile(sorted(one.taken_ms for one in found), 99) > MAX_P99_MS)


if __name__ == "__main__":
    raise SystemExit(main())
