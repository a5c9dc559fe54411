"""The order of candidates, and when a model is trained."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.recommendation.domain import Fallback, Kind, Product, Recommended, candidates, training_is_due
from shop.recommendation.model import Scored

CATEGORIES = ("novel", "poetry")


def product(number: int, category: str) -> Product:
    product_id = UUID(int=number)
    return Product(product_id, str(product_id), f"Book {number}", category, True, b"{}")


products = st.lists(st.integers(1, 30), unique=True).map(
    lambda numbers: {UUID(int=one): product(one, CATEGORIES[one % 2]) for one in numbers}
)
scores = st.floats(0.001, 1.0)


@st.composite
def ranking(draw: st.DrawFn) -> list[Scored]:
    numbers = draw(st.lists(st.integers(1, 30), unique=True))
    found = sorted((draw(scores) for _ in numbers), reverse=True)
    return [Scored(UUID(int=one), score, UUID(int=99)) for one, score in zip(numbers, found, strict=True)]


@given(ranking(), ranking(), products, st.sampled_from(["", *CATEGORIES]), st.sets(st.sampled_from(CATEGORIES)))
def test_every_product_is_a_candidate_once_and_scores_never_rise(
    ranked: list[Scored], popular: list[Scored], known: dict[UUID, Product], category: str, categories: set[str]
) -> None:
    fallback = Fallback.of(popular, known)
    found = list(candidates(ranked, Kind.BOUGHT_TOGETHER, fallback, category, categories))
    ids = [one.product_id for one in found]
    assert len(set(ids)) == len(ids)
    assert ids[: len(ranked)] == [one.product_id for one in ranked]
    assert {one.id for one in known.values() if category in ("", one.category)} <= set(ids)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_ranking_favourites_of_the_category_favourites_of_all_and_the_catalogue_follow_each_other() -> None:
    known = {UUID(int=number): product(number, CATEGORIES[number % 2]) for number in range(1, 9)}
    popular = [Scored(UUID(int=number), 1 / number, None) for number in (1, 2, 3, 4)]
    found = candidates(
        [Scored(UUID(int=7), 0.5, uuid4())], Kind.OTHERS_ALSO_BOUGHT, Fallback.of(popular, known), "", ["novel"]
    )
    assert [(one.product_id.int, one.kind, one.about) for one in found] == [
        (7, Kind.OTHERS_ALSO_BOUGHT, ""),
        (2, Kind.POPULAR, "novel"),
        (4, Kind.POPULAR, "novel"),
        (1, Kind.POPULAR, ""),
        (3, Kind.POPULAR, ""),
        *((number, Kind.IN_CATALOGUE, "") for number in (5, 6, 8)),
    ]


def test_what_the_model_ranks_for_its_popularity_is_called_popular() -> None:
    [found] = candidates([Scored(UUID(int=1), 0.5, None)], Kind.BECAUSE_YOU_BOUGHT, Fallback.of((), {}), "")
    assert found.kind is Kind.POPULAR


@pytest.mark.parametrize(
    ("kind", "title", "about", "sentence"),
    [
        (Kind.BECAUSE_YOU_BOUGHT, "Dune", "", "Because you bought Dune"),
        (Kind.BECAUSE_YOU_BOUGHT, "{0}", "", "Because you bought {0}"),
        (Kind.OTHERS_ALSO_BOUGHT, "Dune", "", "Customers who bought Dune also bought this"),
        (Kind.BOUGHT_TOGETHER, "Dune", "", "Often bought together with Dune"),
        (Kind.POPULAR, "", "", "Popular now"),
        (Kind.POPULAR, "", "poetry", "Popular in poetry"),
        (Kind.IN_CATALOGUE, "", "", "More from our shop"),
    ],
)
def test_reason_is_a_sentence(kind: Kind, title: str, about: str, sentence: str) -> None:
    assert Recommended(product(1, "novel"), 1.0, kind, None, title, about).reason == sentence


@pytest.mark.parametrize(
    ("changed", "age_s", "training_s", "due"),
    [
        (False, None, 0.0, False),
        (True, None, 0.0, True),
        (True, 4.9, 0.1, False),
        (True, 5.0, 0.1, True),
        (True, 15.0, 10.0, False),
        (True, 20.0, 10.0, True),
        (True, 29.0, 100.0, False),
        (True, 30.0, 100.0, True),
        (False, 3_599.0, 0.1, False),
        (False, 3_600.0, 0.1, True),
    ],
)
def test_training_is_due(changed: bool, age_s: float | None, training_s: float, due: bool) -> None:
    assert training_is_due(changed, age_s, training_s, 5.0) is due
