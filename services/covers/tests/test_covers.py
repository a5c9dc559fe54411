"""Pictures of products of every kind; those of the sample catalogue are tested with it, in services/product."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from shop.covers import picture_svg
from shop.covers.books import MAX_TITLE_CHARACTERS, cover_svg
from shop.covers.placeholder import placeholder_svg

MAX_PICTURE_BYTES = 12_000
TITLE = "{http://www.w3.org/2000/svg}title"


def title_of(picture: str) -> str | None:
    title = ElementTree.fromstring(picture).find(TITLE)
    assert title is not None
    return title.text


@pytest.mark.parametrize("name", ["Garden hose, 25 m", '<b>Rake</b> & "hoe"', "x" * 300, "熊手", "Spade"])
def test_a_product_without_an_author_has_a_neutral_picture(name: str) -> None:
    picture = picture_svg(name, "tools", {"weight": "2 kg", "year": 1999})
    assert picture == placeholder_svg(name)
    assert len(picture.encode()) < MAX_PICTURE_BYTES
    assert title_of(picture) == name[:MAX_TITLE_CHARACTERS]


@pytest.mark.parametrize(("year", "drawn"), [(1813, 1813), (-475, -475), ("1813", None), (None, None)])
def test_a_product_with_an_author_has_a_cover_with_the_year_if_it_is_a_number(year: object, drawn: int | None) -> None:
    picture = picture_svg("Emma", "novel", {"author": "Jane Austen", "year": year})
    assert picture == cover_svg("Emma", "Jane Austen", drawn, "novel")
    assert title_of(picture) == "Emma, by Jane Austen"


@pytest.mark.parametrize("title", ["", "x" * 500, "<&\"'>", "字" * 80, "Supercalifragilistic" * 10, "\u202e reversed"])
def test_strange_titles_are_drawn(title: str) -> None:
    picture = picture_svg(title, "no such category", {"author": title or "Anonymous"})
    assert len(picture.encode()) < MAX_PICTURE_BYTES
    ElementTree.fromstring(picture)
