"""What the model ranks, on cases small enough to compute by hand, and what spoils other recommenders."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from services.recommendation.tests.purchases_by_hand import NOW, Row, order, product, purchases, trained
from shop.recommendation import training
from shop.recommendation.model import MAX_HISTORY_PRODUCTS, MAX_RANKED, Model, Scored
from shop.recommendation.purchases import DAY_S, Purchases
from shop.recommendation.training import (
    MAX_NEIGHBOURS,
    MAX_ORDERS_PER_CUSTOMER,
    MAX_PAIRS,
    MAX_PRODUCTS_PER_CUSTOMER,
    MAX_PRODUCTS_PER_ORDER,
)

A, B, C, D = (product(number) for number in range(4))
A_WITH_B_TWICE = [*order(1, 1, [0, 1]), *order(2, 2, [0, 1]), *order(3, 3, [0, 2])]
"""Three customers: two have A and B, one A and C."""


def ids(ranked: list[Scored]) -> list[int]:
    return [one.product_id.int - 1 for one in ranked]


def scores(ranked: list[Scored]) -> list[float]:
    return [one.score for one in ranked]


def test_popularity_is_the_share_of_recent_purchases() -> None:
    half_life = training.DEFAULT.popularity_half_life_days
    model = trained([Row(0, 1, 1), Row(0, 2, 2), Row(1, 3, 3), Row(2, 4, 4, half_life)])
    assert {one.because for one in model.popular()} == {None}
    assert scores(model.popular()) == pytest.approx([2 / 3.5, 1 / 3.5, 0.5 / 3.5])
    assert ids(model.popular()) == [0, 1, 2]


def test_similar_products_have_more_customers_in_common_than_by_chance() -> None:
    """Each customer has two products, so a purchase weighs 2**-0.25, in steps of 1/4096: 3444/4096, squared 0.70698.

    A and B share 2 x 0.70698 = 1.41396. By chance: 3/6 x 2/6 x 6 x 0.70698 = 0.70698. So they exceed chance by
    (1.41396 - 0.70698) / (0.70698 + 2) = 0.26117, times the root of B's popularity of 2/6. A and C: 0.15020, and 1/6.
    """
    similar = trained(A_WITH_B_TWICE).similar_to(A)
    assert [(one.product_id, one.because) for one in similar] == [(B, A), (C, A)]
    assert scores(similar) == pytest.approx([0.26117 * 0.57735, 0.15020 * 0.40825], rel=1e-4)


def test_a_history_adds_what_is_similar_to_its_products_and_a_little_popularity() -> None:
    """0.26117 and 0.15020 as above, 0.06 for all, times the popularity."""
    ranked = trained(A_WITH_B_TWICE).for_history([A])
    assert [(one.product_id, one.because) for one in ranked] == [(B, A), (C, A)]
    assert scores(ranked) == pytest.approx([(0.26117 + 0.06) * 2 / 6, (0.15020 + 0.06) / 6], rel=1e-4)


def test_bought_together_counts_orders_not_customers() -> None:
    """A and B share 2 orders, by chance 3/6 x 2/6 x 6 = 1: (2 - 1) / (1 + 8). A and C share 1, by chance 0.5."""
    rows = [*order(1, 1, [0, 1]), *order(2, 1, [0, 1]), *order(3, 2, [0, 2]), *order(4, 2, [3])]
    together = trained(rows).bought_together([A])
    assert [(one.product_id, one.because) for one in together] == [(B, A), (C, A)]
    assert scores(together) == pytest.approx([(1 / 9 + 0.06) * 1 / 5, (0.5 / 8.5 + 0.06) * 1 / 5])
    assert trained([Row(0, 1, 1), Row(1, 1, 2)]).bought_together([A]) == []


def test_similar_counts_all_orders_of_a_customer() -> None:
    apart = [row for user in range(5) for row in (Row(0, user, 2 * user), Row(1, user, 2 * user + 1))]
    model = trained([*apart, Row(2, 9, 90), Row(3, 9, 91)])
    assert ids(model.similar_to(A)) == [1]
    assert model.bought_together([A]) == []


def test_a_cart_is_completed_by_what_goes_with_most_of_it() -> None:
    rows = [*order(1, 1, [0, 2]), *order(2, 2, [1, 2]), *order(3, 3, [0, 3]), *order(4, 4, [0, 1])]
    together = trained(rows).bought_together([A, B])
    assert ids(together) == [2, 3]
    assert together[1].because == A


def test_the_reason_is_the_product_that_adds_most() -> None:
    strong = [row for user in range(6) for row in order(user, user, [0, 2])]
    weak = [row for user in range(6, 8) for row in order(user, user, [1, 2])]
    rest = [row for user in range(8, 20) for row in order(user, user, [3, 4])]
    ranked = trained([*strong, *weak, *rest]).for_history([B, A])
    assert ranked[0] == Scored(C, ranked[0].score, A)
    assert {one.product_id: one.because for one in ranked[1:]} == {D: None, product(4): None}


def test_what_is_there_for_its_popularity_gives_no_other_reason() -> None:
    """All customers have 0 and 1, so that having 0 says next to nothing about having 1."""
    rows = [row for user in range(50) for row in order(user, user, [0, 1, *(2 + user + one for one in range(20))])]
    first = trained(rows).for_history([A])[0]
    assert (first.product_id, first.because) == (B, None)


def test_newer_purchases_weigh_more() -> None:
    rows = [row for user in range(6) for row in order(user, user, [0, 2] if user % 2 else [1, 3])]
    model = trained(rows)
    assert ids(model.for_history([A, B])) == [2, 3]
    assert ids(model.for_history([B, A])) == [3, 2]


def test_different_customers_get_different_products() -> None:
    """Not the same bestsellers for everybody."""
    rows = [row for user in range(40) for row in order(user, user, [10, 11 + user % 3] if user % 2 else [20, 21])]
    model = trained([*rows, *(Row(30, user, user) for user in range(50, 80))])
    assert ids(model.popular())[0] == 30
    for_odd, for_even = ids(model.for_history([product(10)])), ids(model.for_history([product(20)]))
    assert for_even[0] == 21
    assert for_odd[0] in {11, 12, 13}
    assert set(for_odd[:3]) & set(for_even[:1]) == set()


def test_everything_that_was_bought_is_in_a_ranking() -> None:
    """So that there are never fewer results than asked for while there is something to show."""
    model = trained([*A_WITH_B_TWICE, Row(7, 8, 8, days=2000)])
    assert sorted(ids(model.for_history([A]))) == [1, 2, 7]
    assert sorted(ids(model.popular())) == [0, 1, 2, 7]


@pytest.mark.parametrize("history", [[], [product(99)]])
def test_without_a_known_purchase_there_is_what_is_popular(history: list[object]) -> None:
    model = trained(A_WITH_B_TWICE)
    assert model.for_history(history) == model.popular()  # type: ignore[arg-type]


def test_an_empty_model_ranks_nothing() -> None:
    model = trained([])
    assert (model.popular(), model.for_history([A]), model.similar_to(A), model.pairs(9)) == ([], [], [], [])
    assert model.bought_together([A, B]) == []
    assert (model.order_count, model.pair_count) == (0, 0)


def test_without_purchases_no_training_is_needed() -> None:
    none = np.array([], np.int32)
    nothing = Purchases(none, none, none, np.array([], np.float64))
    assert training.untrained().to_bytes() == training.train(nothing, [], 0.0).to_bytes()


def test_a_training_loads_no_library() -> None:
    """Nor another part of numpy: what a process loads it keeps."""
    code = """
import sys, uuid, numpy, shop.recommendation.trainer
from shop.recommendation import purchases, training
pairs = numpy.arange(80, dtype=numpy.int32)
bought = purchases.Purchases(pairs % 7, pairs // 4, pairs // 2, pairs * 1e5)
before = set(sys.modules)
training.train(bought, [uuid.UUID(int=one) for one in range(7)], 1e7)
sys.exit(str(sorted(set(sys.modules) - (before - {"scipy"})) or ""))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.strip() == ""


def test_unknown_products_are_skipped() -> None:
    model = trained(A_WITH_B_TWICE)
    assert model.similar_to(product(99)) == []
    assert model.bought_together([product(99)]) == []
    assert model.bought_together([product(99), A])[0].product_id == B
    assert model.for_history([product(99), A]) == model.for_history([A])


def test_what_is_bought_now_replaces_what_was_bought_long_ago() -> None:
    before = [row for user in range(30) for row in order(user, user, [0, 1], days=1500)]
    since = [row for user in range(30, 40) for row in order(user, user, [0, 2], days=1)]
    model = trained([*before, *since])
    assert ids(model.popular()) == [0, 2, 1]
    assert ids(model.for_history([A]))[0] == 2
    assert ids(model.bought_together([A]))[0] == 2


def test_equal_products_are_ordered_by_id_also_where_the_list_is_cut() -> None:
    count = MAX_NEIGHBOURS + 40
    around = [row for other in range(1, count) for row in order(other, other, [0, other])]
    model = trained([*reversed(around), Row(count, 9999, 9999)], count + 1)
    assert ids(model.similar_to(A)) == list(range(1, MAX_NEIGHBOURS + 1))
    assert ids(model.bought_together([A])) == list(range(1, MAX_NEIGHBOURS + 1))
    many = trained([Row(number, number, number) for number in range(MAX_RANKED + 30)], MAX_RANKED + 30)
    assert ids(many.for_history([A])) == list(range(1, MAX_RANKED + 1))


def test_of_a_long_history_the_newest_count_and_all_are_left_out() -> None:
    rows = [row for number in range(60) for row in order(number, number, [number, 100 + number])]
    model = trained(rows)
    history = list(range(60))
    ranked = model.for_history([product(number) for number in history])
    assert not set(ids(ranked)) & set(history)
    floor = training.DEFAULT.popular_share / 120
    above = [one.product_id.int - 1 for one in ranked if one.score > floor * 1.0001]
    assert sorted(above) == [100 + number for number in history[:MAX_HISTORY_PRODUCTS]]


def test_one_customer_with_very_many_products_does_not_decide() -> None:
    everything = [Row(number, 999, 1000 + number, days=number) for number in range(MAX_PRODUCTS_PER_CUSTOMER + 5)]
    model = trained([*everything, *A_WITH_B_TWICE])
    assert ids(model.similar_to(A))[:2] == [1, 2]
    oldest = product(MAX_PRODUCTS_PER_CUSTOMER + 4)
    assert model.similar_to(oldest) == []
    assert oldest not in {one.product_id for one in model.popular()}


def test_a_product_counts_once_per_customer() -> None:
    rows = [*(Row(0, 1, number) for number in range(50)), Row(1, 2, 60), Row(1, 3, 61)]
    assert ids(trained(rows).popular()) == [1, 0]


def test_one_customer_with_very_many_orders_does_not_decide() -> None:
    often = [row for number in range(100) for row in order(number, 1, [0, 1])]
    others = [row for number in range(MAX_ORDERS_PER_CUSTOMER + 5) for row in order(200 + number, number + 2, [0, 2])]
    as_popular = [Row(1, 300 + number, 300 + number) for number in range(MAX_ORDERS_PER_CUSTOMER + 5)]
    model = trained([*often, *others, *as_popular])
    assert ids(model.bought_together([A])) == [2, 1]
    assert model.pairs(1) == [(A, B, 100)]


def test_a_very_large_order_says_nothing_about_what_goes_together() -> None:
    large = order(1, 1, range(MAX_PRODUCTS_PER_ORDER + 1))
    model = trained(large)
    assert (model.bought_together([A]), model.pair_count, model.order_count) == ([], 0, 1)
    assert len(trained(large[:-1]).bought_together([A])) == MAX_PRODUCTS_PER_ORDER - 1


def test_a_large_order_counts_less_for_each_of_its_pairs() -> None:
    """A and B share 1, by chance 2/5 x 1/5 x 5 = 0.4. A and C share 1/2, as do A and D, by chance 0.4 as well."""
    together = trained([*order(1, 1, [0, 1]), *order(2, 2, [0, 2, 3])]).bought_together([A])
    assert ids(together) == [1, 2, 3]
    assert scores(together) == pytest.approx([(0.6 / 8.4 + 0.06) / 5, *[(0.1 / 8.4 + 0.06) / 5] * 2])


def test_pairs_are_those_of_most_orders() -> None:
    model = trained([*order(1, 1, [1, 0]), *order(2, 1, [0, 1, 2]), *order(3, 2, [3])])
    assert model.pairs(10) == [(A, B, 2), (A, C, 1), (B, C, 1)]
    assert model.pairs(1) == [(A, B, 2)]
    assert (model.order_count, model.pair_count) == (3, 3)
    many = trained(
        [row for number in range(30) for row in order(number, 1, [number, number + 1, number + 2, number + 9])]
    )
    assert len(many.pairs(1000)) == min(many.pair_count, MAX_PAIRS)


def test_a_clock_that_is_ahead_does_no_harm() -> None:
    ahead, exact = trained([Row(0, 1, 1, days=-3), Row(1, 2, 2)]), trained([Row(0, 1, 1), Row(1, 2, 2)])
    assert ahead.popular() == exact.popular()


def test_products_that_nobody_bought_change_nothing() -> None:
    assert trained(A_WITH_B_TWICE, 3).to_bytes() == trained(A_WITH_B_TWICE, 400).to_bytes()


def test_the_order_in_which_products_are_listed_changes_nothing() -> None:
    listed = purchases(A_WITH_B_TWICE)
    reversed_ = Purchases(2 - listed.products, listed.users, listed.orders, listed.times)
    assert training.train(reversed_, [C, B, A], NOW).to_bytes() == trained(A_WITH_B_TWICE).to_bytes()


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([Row(0, 1, 1, float("nan"))], "time"),
        ([Row(0, 1, 1, float("inf"))], "time"),
        ([Row(5, 1, 1)], "outside of the 3"),
        ([Row(-1, 1, 1)], "outside of the 3"),
    ],
)
def test_wrong_purchases_are_refused(rows: list[Row], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        trained(rows, 3)


def test_arrays_of_different_lengths_are_refused() -> None:
    given = purchases([Row(0, 1, 1), Row(1, 1, 1)])
    uneven = Purchases(given.products, given.users[:1], given.orders, given.times)
    with pytest.raises(ValueError, match="different lengths"):
        training.train(uneven, [A, B], NOW)


def test_the_model_knows_when_it_was_trained() -> None:
    model = trained(A_WITH_B_TWICE)
    assert model.trained_at == NOW
    later = training.train(purchases(A_WITH_B_TWICE), [A, B, C], NOW + DAY_S)
    assert Model.from_bytes(later.to_bytes()).trained_at == NOW + DAY_S
