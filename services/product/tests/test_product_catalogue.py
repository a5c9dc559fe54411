"""The sample catalogue is real data in good order, and its covers can be drawn."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.product.tests.product_service import RunningService
from shop.covers.books import LAYOUTS, cover_svg
from shop.covers.placeholder import placeholder_svg
from shop.product.load_catalogue import SAMPLES, BadCatalogue, load, main, read

BOOKS = read(SAMPLES / "books.json")
DRAWINGS_SHA256 = "9cf0a0516526aa37545e06c8b7764dd38a5701daf56af4fff2c478998cc07f10"
"""Of all covers and placeholders of the sample catalogue: browsers cache them, so they change only on purpose."""
LAST_YEAR_OUT_OF_COPYRIGHT = 1929
MAX_COVER_BYTES = 12_000


def test_there_are_enough_books_in_every_category() -> None:
    assert len(BOOKS) >= 200
    categories = Counter(book["category"] for book in BOOKS)
    assert min(categories.values()) >= 5
    assert set(categories) <= set(LAYOUTS)


@pytest.mark.parametrize("field", ["sku", "description"])
def test_no_two_books_share(field: str) -> None:
    assert [value for value, times in Counter(book[field] for book in BOOKS).items() if times > 1] == []


def test_titles_are_distinct_per_author() -> None:
    assert max(Counter((book["title"], book["author"]) for book in BOOKS).values()) == 1


def test_every_book_is_complete_and_plausible() -> None:
    for book in BOOKS:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,100}", book["sku"]), book
        assert book["title"].strip(), book
        assert book["author"].strip(), book
        assert -900 <= book["year"] <= LAST_YEAR_OUT_OF_COPYRIGHT, book
        assert 8 <= book["pages"] <= 4_500, book
        assert 100 <= book["price"] <= 10_000, book
        assert 0 <= book["stock"] <= 1_000, book
        assert 30 <= len(book["description"]) <= 400, book


def test_every_cover_is_well_formed_small_and_says_what_it_is() -> None:
    for book in BOOKS:
        picture = cover_svg(book["title"], book["author"], book["year"], book["category"])
        assert len(picture.encode()) < MAX_COVER_BYTES, book["title"]
        root = ElementTree.fromstring(picture)
        title = root.find("{http://www.w3.org/2000/svg}title")
        assert title is not None
        assert title.text == f"{book['title']}, by {book['author']}"


async def test_only_a_book_has_a_cover(service: RunningService) -> None:
    rake = await service.product(name="Rake", category="tools", attributes={"weight": "2 kg"})
    book = await service.product(name="Rake", category="tools", attributes={"author": "A. Gardener"})
    pictures = [(await service.client.get(f"/api/v1/products/{one}/cover.svg")).text for one in (rake, book)]
    assert pictures[0] == placeholder_svg("Rake")
    assert "by A. Gardener" in pictures[1]


def test_covers_are_reproducible_and_distinct() -> None:
    covers = {cover_svg(book["title"], book["author"], book["year"], book["category"]) for book in BOOKS}
    assert len(covers) == len(BOOKS)
    cover_svg.cache_clear()
    assert cover_svg(BOOKS[0]["title"], BOOKS[0]["author"], BOOKS[0]["year"], BOOKS[0]["category"]) in covers


def test_drawings_do_not_change() -> None:
    digest = hashlib.sha256()
    for book in BOOKS:
        digest.update(cover_svg(book["title"], book["author"], book["year"], book["category"]).encode())
    for book in BOOKS:
        digest.update(placeholder_svg(book["title"]).encode())
    assert digest.hexdigest() == DRAWINGS_SHA256


async def test_loading_twice_adds_once_and_keeps_what_was_sold(service: RunningService) -> None:
    url = service.settings.database_url
    assert await load(url, BOOKS, "EUR") == len(BOOKS)
    await service.database.execute("UPDATE products SET stock = 0, price = 1")
    assert await load(url, BOOKS, "EUR") == 0
    assert await service.database.fetchval("SELECT sum(stock) + max(price) FROM products") == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[", "unexpected end"),
        ("{}", "a list of at most"),
        ('[{"title": "x"}]', "entry 0 has no sku"),
        ('[{"sku": "x", "title": "x", "category": "x", "price": -1, "stock": 1}]', "price must be a whole number"),
        ('[{"sku": "x", "title": "x", "category": "x", "price": 1, "stock": 1.5}]', "stock must be a whole number"),
        ("[1]", "entry 0 has no sku"),
    ],
)
def test_a_wrong_file_is_named_with_its_entry(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(BadCatalogue, match=re.escape(says)):
        read(path)


def test_the_command_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_DATABASE_URL", raising=False)
    monkeypatch.setattr(sys, "argv", ["load_catalogue", "books"])
    with pytest.raises(SystemExit, match="SHOP_DATABASE_URL is not set"):
        main()
    monkeypatch.setenv("SHOP_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setattr(sys, "argv", ["load_catalogue"])
    with pytest.raises(SystemExit, match="Name a sample or a --file"):
        main()


def test_the_sample_is_plain_json_a_person_can_edit() -> None:
    assert json.loads((SAMPLES / "books.json").read_text(encoding="utf-8")) == BOOKS


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"title": "Pale\u202e Fire"}, "title: There is a character in it that cannot be seen: U+202E"),
        ({"author": "A\nB"}, "author: There is a character"),
        ({"title": 5}, "title: "),
        ({"description": "\x1b[2J"}, "description: There is a character"),
    ],
)
def test_texts_of_a_catalogue_have_no_invisible_characters(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    entry = {"sku": "ONE", "title": "One", "category": "novel", "price": 1, "stock": 1} | changed
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([entry]), encoding="utf-8")
    with pytest.raises(BadCatalogue, match=re.escape(f"entry 0 (ONE): {said}")):
        read(path)
