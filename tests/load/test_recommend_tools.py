"""The evaluation of the recommender is split by time, compares the same customers, and computes what it says."""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.load import recommend_evaluation as program
from tests.load import recommend_rankers as rankers
from tests.load.recommend_metrics import Evaluation, baskets, figures, next_purchases
from tests.load.recommend_picture import picture
from tests.load.recommend_rankers import RESULTS, Ints, Past, Rank
from tests.load.recommend_simulator import DAY_S, START_S, Scenario, World, simulate
from tests.load.recommend_training import PRODUCTS, made_up

SMALL = Scenario("small", products=120, customers=300, topics=8, days=200, days_between_orders=20)
MOMENT = 150


@pytest.fixture(scope="module")
def world() -> World:
    return simulate(SMALL, 1, [MOMENT])


def by_hand(lines: list[tuple[int, int, float]]) -> World:
    """A world of these purchases: product, customer, day."""
    products, users, days = (np.array(column) for column in zip(*lines, strict=True))
    return World(replace(SMALL, products=20), products, users, np.arange(len(lines)), days, np.zeros(20))


def test_the_same_seed_gives_the_same_world(world: World) -> None:
    again, other = simulate(SMALL, 1, [MOMENT]), simulate(SMALL, 2)
    assert np.array_equal(again.products, world.products)
    assert np.array_equal(again.chances[MOMENT], world.chances[MOMENT])
    assert not np.array_equal(other.products[:100], world.products[:100])


def test_purchases_are_in_the_order_of_time_and_of_products_on_sale(world: World) -> None:
    assert (np.diff(world.days) >= 0).all()
    assert (np.floor(world.days) >= world.launched[world.products]).all()
    assert (world.days >= 0).all()
    assert (world.days < SMALL.days).all()


def test_an_order_has_one_customer_and_a_product_once(world: World) -> None:
    lines = set(zip(world.orders.tolist(), world.products.tolist(), strict=True))
    customers = set(zip(world.orders.tolist(), world.users.tolist(), strict=True))
    assert len(lines) == len(world.orders)
    assert len(customers) == len(set(world.orders.tolist()))


def test_what_is_for_sale_differs_in_attraction_and_customers_in_taste(world: World) -> None:
    sold = np.sort(np.bincount(world.products, minlength=SMALL.products))[::-1]
    assert sold[:10].mean() > 2 * sold.mean()
    tastes = world.chances[MOMENT] / world.chances[MOMENT].sum(axis=1, keepdims=True)
    assert np.allclose(simulate(replace(SMALL, taste=0.0), 1, [MOMENT]).chances[MOMENT].std(axis=0), 0)
    assert tastes.std(axis=0).max() > 0.01


def test_a_ranker_sees_nothing_of_the_future(world: World) -> None:
    past = Past(world, MOMENT)
    assert past.end > 0
    assert (past.age_days > 0).all()
    assert world.days[past.end] >= MOMENT
    later = rankers.purchases_of(past).times - START_S - MOMENT * DAY_S
    assert len(later) == past.end
    assert (later < 0).all()


@pytest.mark.parametrize("name", program.RANKERS)
def test_rankings_are_short_distinct_and_new_to_the_customer(world: World, name: str) -> None:
    past = Past(world, MOMENT)
    rank = program.RANKERS[name](past)
    for user, history in rankers.histories(past, range(30)).items():
        if len(history):
            ranked = rank(user, history)
            assert len(set(ranked.tolist())) == len(ranked) <= RESULTS
            assert not set(ranked.tolist()) & set(history.tolist())
            assert (world.launched[ranked] <= MOMENT).all()


def test_histories_are_newest_first_without_repetition() -> None:
    world = by_hand([(3, 1, 1.0), (4, 1, 2.0), (3, 1, 3.0), (5, 2, 4.0), (9, 1, 60.0)])
    assert rankers.histories(Past(world, 50), [1])[1].tolist() == [3, 4]


def test_metrics_by_hand() -> None:
    """Customer 1 buys 5 and 6 after the moment, customer 2 buys 7 (and 1 again, which does not count)."""
    before = [(1, 1, 1.0), (1, 2, 2.0)]
    after = [(5, 1, 101.0), (6, 1, 102.0), (7, 2, 103.0), (1, 2, 104.0), (8, 3, 105.0), (9, 1, 131.0)]
    world = by_hand([*before, *after])

    def fixed(_past: Past) -> Rank:
        def rank(user: int, _history: Ints) -> Ints:
            return np.array([2, 5, 3] if user == 1 else [2, 3, 4])

        return rank

    evaluation = Evaluation.of(["fixed"])
    evaluation.add(world, [100], next_purchases, {"fixed": fixed})
    judged = evaluation.judged["fixed"]
    assert evaluation.customers == [1, 2]
    assert judged.hits == [1.0, 0.0]
    assert judged.gains == pytest.approx([(1 / math.log2(3)) / (1 + 1 / math.log2(3)), 0.0])
    assert judged.coverage == [pytest.approx(4 / 20)]
    assert judged.novelty == pytest.approx([-math.log2(1 / 3)] * 2)


def test_baskets_are_orders_of_several_products() -> None:
    world = by_hand([(1, 1, 1.0), (2, 1, 101.0), (3, 1, 101.0), (4, 1, 101.0), (5, 2, 102.0)])
    world.orders[:] = [0, 1, 1, 1, 2]
    (question,) = baskets(Past(world, 100))
    assert (question.customer, question.given.tolist(), question.wanted) == (1, [2], {3, 4})


def test_intervals_hold_the_mean_and_compare_the_same_customers(world: World) -> None:
    compared = {name: program.RANKERS[name] for name in (program.REFERENCE, "random", program.CEILING)}
    evaluation = Evaluation.of(compared)
    evaluation.add(world, [MOMENT], next_purchases, compared)
    found = figures(evaluation, program.REFERENCE)
    for one in found.values():
        for value, low, high in (one.hit_rate, one.ndcg):
            assert low <= value <= high
            assert low < high
    assert found[program.REFERENCE].ndcg_gain == (0.0, 0.0, 0.0)
    assert found["random"].ndcg_gain[2] < 0 < found[program.CEILING].ndcg_gain[1]


def test_the_program_prints_a_table_and_draws_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "SCENARIOS", (SMALL,))
    monkeypatch.setattr(program, "MOMENTS", (MOMENT,))
    result = program.run(program.arguments(["--seeds", "1", "--no-costs"]))
    scenario, of_baskets = result["scenarios"]
    assert of_baskets["name"] == "baskets, small"
    rows = [line for line in program.table(scenario) if line.startswith(f"| {program.MODEL} ")]
    assert len(rows) == 1
    assert f"{scenario['rankers'][program.MODEL]['ndcg'][0]:.3f}" in rows[0]
    drawing = ElementTree.fromstring(picture(result))
    texts = [element.text for element in drawing.iter() if element.tag.endswith("text")]
    assert set(program.RANKERS) <= set(texts)


def test_tuning_uses_worlds_that_the_evaluation_does_not() -> None:
    reported = set(range(program.FIRST_SEED, program.FIRST_SEED + program.MAX_SEEDS))
    assert not reported & set(range(program.FIRST_TUNING_SEED, program.FIRST_TUNING_SEED + program.MAX_TUNING_SEEDS))


def test_made_up_purchases_have_the_size_that_is_asked_for() -> None:
    purchases = made_up(1000, np.random.default_rng(1))
    assert len(np.unique(purchases.orders)) == 1000
    assert purchases.products.max() < PRODUCTS
