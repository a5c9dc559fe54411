"""Load a catalogue into SHOP_DATABASE_URL: ``python -m shop.product.load_catalogue books``, or ``--file mine.json``.

A product whose SKU is there already is left as it is, so loading twice, or after a sale, changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic_core import PydanticCustomError

from shop.kit.db import Database
from shop.kit.errors import Unavailable
from shop.kit.text import one_line, paragraphs
from shop.product.repository import ProductRepository
from shop.product.settings import Settings

SAMPLES = Path(__file__).parent / "catalogue"
BATCH_PRODUCTS = 500
MAX_PRODUCTS = 100_000
PRODUCT_FIELDS = ("sku", "name", "description", "category", "price", "stock")
TEXTS: Mapping[str, Callable[[str], str]] = {"title": one_line, "author": one_line, "description": paragraphs}
REQUIRED = ("sku", "title", "category", "price", "stock")


class BadCatalogue(ValueError):
    """The file is not a catalogue; the message names the entry and the field."""


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of a catalogue file; BadCatalogue when one lacks a field or has an impossible number."""
    try:
        entries = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadCatalogue(f"{path}: {error}") from None
    if not isinstance(entries, list) or len(entries) > MAX_PRODUCTS:
        raise BadCatalogue(f"{path}: a list of at most {MAX_PRODUCTS} products is expected")
    for number, entry in enumerate(entries):
        _check(path, number, entry)
    return entries


def _check(path: Path, number: int, entry: Any) -> None:
    for name in REQUIRED:
        if not isinstance(entry, dict) or name not in entry:
            raise BadCatalogue(f"{path}: entry {number} has no {name}")
    for name in ("price", "stock"):
        if type(entry[name]) is not int or entry[name] < 0:
            raise BadCatalogue(f"{path}: entry {number} ({entry['sku']}): {name} must be a whole number of at least 0")
    for name, rule in TEXTS.items():
        try:
            rule(entry.get(name, ""))
        except (PydanticCustomError, TypeError, AttributeError) as error:
            raise BadCatalogue(f"{path}: entry {number} ({entry['sku']}): {name}: {error}") from None


def product(entry: Mapping[str, Any], currency: str) -> dict[str, Any]:
    """An entry as the repository takes it; what is not a field of products is an attribute."""
    attributes = {name: value for name, value in entry.items() if name not in (*PRODUCT_FIELDS, "title")}
    return {
        "name": one_line(entry["title"]),
        "description": paragraphs(entry.get("description", "")),
        "currency": currency,
        "attributes": attributes,
        **{name: entry[name] for name in ("sku", "category", "price", "stock")},
    }


async def load(url: str, entries: Sequence[Mapping[str, Any]], currency: str) -> int:
    """Add what is new and return how many that were."""
    database = await Database.connect(url, pool_size=2, application="load_catalogue")
    try:
        repository, added = ProductRepository(database), 0
        for start in range(0, len(entries), BATCH_PRODUCTS):
            batch = [product(entry, currency) for entry in entries[start : start + BATCH_PRODUCTS]]
            added += len(await repository.insert(batch, datetime.now(UTC), "catalogue"))
        return added
    finally:
        await database.close()


def main() -> None:
    """Load a sample, or a file of the same form, into SHOP_DATABASE_URL."""
    parser = argparse.ArgumentParser(prog="shop.product.load_catalogue", description=main.__doc__)
    parser.add_argument("sample", nargs="?", choices=sorted(path.stem for path in SAMPLES.glob("*.json")))
    parser.add_argument("--file", type=Path, help="a JSON list of products instead of a sample")
    arguments = parser.parse_args()
    settings = Settings()
    if not settings.database_url:
        sys.exit("SHOP_DATABASE_URL is not set: it names the database to load into.")
    if (arguments.sample is None) == (arguments.file is None):
        sys.exit("Name a sample or a --file.")
    try:
        entries = read(arguments.file or SAMPLES / f"{arguments.sample}.json")
        added = asyncio.run(load(settings.database_url, entries, settings.store.currency))
    except (BadCatalogue, Unavailable) as error:
        sys.exit(str(error))
    sys.stdout.write(f"{added} products added, {len(entries) - added} were there\n")


if __name__ == "__main__":
    main()
