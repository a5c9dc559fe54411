"""Allocation never oversells; words are found with and without accents and case."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shop.product.domain import Request, Shortage, allocate, merged, search_words, sort_name

PRODUCTS = [UUID(int=number) for number in range(4)]
LINES = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(1, 6), min_size=1)
STOCK = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(0, 15))


@given(st.lists(LINES, max_size=12), STOCK)
def test_remaining_and_allocated_stock_add_up(wanted: list[dict[UUID, int]], stock: dict[UUID, int]) -> None:
    requests = [Request(UUID(int=100 + number), lines) for number, lines in enumerate(wanted)]
    left = dict(stock)
    answers = allocate(requests, left)
    allocated = dict.fromkeys(stock, 0)
    for request, answer in zip(requests, answers, strict=True):
        if answer is None:
            for product, quantity in request.lines.items():
                allocated[product] += quantity
    assert all(quantity >= 0 for quantity in left.values())
    assert {product: left[product] + allocated[product] for product in stock} == stock


@given(LINES, STOCK)
def test_a_shortage_is_real_and_takes_nothing(lines: dict[UUID, int], stock: dict[UUID, int]) -> None:
    left = dict(stock)
    [answer] = allocate([Request(UUID(int=1), lines)], left)
    enough = all(stock.get(product, -1) >= quantity for product, quantity in lines.items())
    assert (answer is None) == enough
    if isinstance(answer, Shortage):
        assert left == stock
        assert answer.available == stock.get(answer.product_id)
        assert answer.available is None or answer.available < lines[answer.product_id]


@given(st.lists(LINES, min_size=1, max_size=6))
def test_a_refused_order_does_not_affect_the_next(wanted: list[dict[UUID, int]]) -> None:
    too_much = Request(UUID(int=1), dict.fromkeys(PRODUCTS, 1_000))
    requests = [Request(UUID(int=number + 2), lines) for number, lines in enumerate(wanted)]
    stock = dict.fromkeys(PRODUCTS, 100)
    assert allocate([too_much, *requests], stock)[1:] == [None] * len(requests)


def test_quantities_of_a_product_named_twice_are_added() -> None:
    first, second, *_ = PRODUCTS
    assert merged([(first, 1), (second, 2), (first, 3)]) == {first: 4, second: 2}


def test_words_are_found_without_accents_and_signs() -> None:
    assert search_words("Émile Zola's  “L'Œuvre” & Brontë!") == ["emile", "zola", "s", "l", "oeuvre", "bronte"]
    assert search_words("':* | & <-> \\") == []


def test_titles_are_sorted_without_accents_and_articles() -> None:
    assert [sort_name(name) for name in ("The Idiot", "A Room", "An Essay", "Theresa", "The ", "Émile")] == [
        "idiot",
        "room",
        "essay",
        "theresa",
        "the",
        "emile",
    ]
