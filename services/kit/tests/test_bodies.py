"""Bodies of several kinds: each invalid field is named by its own path."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from shop.kit.bodies import RequestBody, by_kind


class Book(RequestBody):
    kind: Literal["book"] = "book"
    pages: int


class Song(RequestBody):
    kind: Literal["song"]
    seconds: int


WORKS: TypeAdapter[Any] = TypeAdapter(Annotated[Book | Song, by_kind(book=Book, song=Song)])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"pages": 3}, Book(pages=3)),
        ({"kind": "book", "pages": 3}, Book(pages=3)),
        ({"kind": "song", "seconds": 9}, Song(kind="song", seconds=9)),
    ],
)
def test_the_kind_chooses_the_model_and_the_first_is_the_default(body: dict[str, Any], expected: RequestBody) -> None:
    assert WORKS.validate_python(body) == expected


@pytest.mark.parametrize(
    ("body", "path", "kind"),
    [
        ({"pages": "many"}, ("pages",), "int_parsing"),
        ({"kind": "song"}, ("seconds",), "missing"),
        ({"kind": "song", "seconds": 1, "pages": 1}, ("pages",), "extra_forbidden"),
        ({"kind": "film", "pages": 1}, ("kind",), "literal_error"),
        ({"kind": ["book"], "pages": 1}, ("kind",), "literal_error"),
        ({"kind": None, "pages": 1}, ("kind",), "literal_error"),
        ("book", (), "model_type"),
    ],
)
def test_an_invalid_field_has_a_path_without_the_kind(body: Any, path: tuple[str, ...], kind: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WORKS.validate_python(body)
    assert [(error["loc"], error["type"]) for error in caught.value.errors()] == [(path, kind)]


def test_the_documentation_has_every_kind() -> None:
    assert {one["$ref"] for one in WORKS.json_schema()["anyOf"]} == {"#/$defs/Book", "#/$defs/Song"}
