"""Offline evaluation of the recommender, and what its training costs: `make bench-recommend`.

    make bench-recommend ARGS="--seeds 3 --json"
    make bench-recommend ARGS="--picture docs/recommendations.svg"
    make bench-recommend ARGS="--tune"

Simulated shoppers (tests/load/recommend_simulator.py) buy for 15 months. At two moments each ranker is trained on
all that was bought before, lists ten products for every customer who has a history and buys something new in the
month that follows, and is judged by that: a split by time, as a shop has it, so nothing of the future is known. Baskets
are judged the same way: given one product of an order, which are the others? Numbers are means over lists; intervals
come from resampling customers. ``--tune`` tries other similarities and other values of `training.Tuning`, on worlds
that the evaluation does not use: those in which tastes drift, unless another scenario is named.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from shop.recommendation.training import DEFAULT, Tuning
from tests.load import recommend_rankers as rankers
from tests.load.recommend_metrics import Ask, Evaluation, baskets, figures, next_purchases
from tests.load.recommend_picture import picture
from tests.load.recommend_simulator import Scenario, simulate
from tests.load.recommend_training import measure

Json = dict[str, Any]

MODEL, REFERENCE, CEILING = "recommender", "popular of late", "the simulator's own chances"
SCENARIOS = (
    Scenario("tastes that drift"),
    Scenario("tastes that drift fast", drift_per_day=3 / 180),
    Scenario("fixed tastes, no fashions", drift_per_day=0.0, fashion=0.0, launched_later=0.2),
    Scenario("weak tastes", taste=0.4),
    Scenario("no tastes", taste=0.0),
)
MOMENTS = (330, 420)
SEEDS = 3
MAX_SEEDS = 50
FIRST_SEED, FIRST_TUNING_SEED = 1, 1001
MAX_TUNING_SEEDS = 3
ORDER_COUNTS = (10_000, 100_000, 1_000_000)
Rankers = Mapping[str, rankers.Ranker]
RANKERS: Rankers = {
    MODEL: rankers.model(),
    REFERENCE: rankers.popularity(half_life_days=7),
    "popular of all time": rankers.popularity(half_life_days=1e9),
    "item-to-item (cosine)": rankers.cosine(),
    "random": rankers.random,
    CEILING: rankers.truth,
}
BASKET_RANKERS: Rankers = {
    MODEL: rankers.together(),
    REFERENCE: RANKERS[REFERENCE],
    "popular of all time": RANKERS["popular of all time"],
    "item-to-item (cosine)": RANKERS["item-to-item (cosine)"],
    "random": rankers.random,
}

FOR_CUSTOMERS = (
    "popularity_half_life_days",
    "customer_half_life_days",
    "customer_exponent",
    "shrinkage",
    "history_half_life",
    "popular_share",
)
FOR_BASKETS = ("popularity_half_life_days", "order_half_life_days", "order_shrinkage", "popular_share")
"""The values of `training.Tuning` on which the lists depend that are judged; similar_popularity is in neither."""


def evaluate(name: str, scenario: Scenario, seeds: Iterable[int], ask: Ask, compared: Rankers) -> Json:
    evaluation = Evaluation.of(compared)
    for seed in seeds:
        evaluation.add(simulate(scenario, seed, MOMENTS), MOMENTS, ask, compared)
    found = figures(evaluation, REFERENCE)
    return {
        "name": name,
        "lists": len(evaluation.customers),
        "customers": len(set(evaluation.customers)),
        "rankers": {name: asdict(one) for name, one in found.items()},
    }


def tuned(ranker: Callable[[Tuning], rankers.Ranker], names: Iterable[str]) -> dict[str, rankers.Ranker]:
    """The recommender with one value changed at a time."""
    return {
        f"{name} {value:g}": ranker(replace(DEFAULT, **{name: value}))
        for name in names
        for value in (getattr(DEFAULT, name) / 2, getattr(DEFAULT, name) * 2)
    }


def other_similarities() -> dict[str, rankers.Ranker]:
    """What the recommender might have been instead."""
    half_lives = {f"popular, half-life {days} days": rankers.popularity(days) for days in (3, 14, 30)}
    cosines = {
        "cosine, 90 days": rankers.cosine(half_life_days=90),
        "cosine, BM25": rankers.cosine(bm25=True),
        "cosine, BM25, 90 days": rankers.cosine(bm25=True, half_life_days=90),
        "cosine, BM25, popularity": rankers.cosine(bm25=True, popular=0.3),
        "conditional probability": rankers.conditional(shrinkage=5.0),
        "conditional probability, 90 days": rankers.conditional(shrinkage=5.0, half_life_days=90),
    }
    return {**half_lives, **cosines}


def table(scenario: Json) -> Iterable[str]:
    """Markdown."""
    yield f"**{scenario['name']}**: {scenario['lists']:,} lists for {scenario['customers']:,} customers"
    yield ""
    yield "| ranker | hit rate@10 | nDCG@10 | nDCG@10 against popular of late | coverage | novelty, bits |"
    yield "|---|---|---|---|---|---|"
    for name, one in scenario["rankers"].items():
        gain = "" if name == REFERENCE else _interval(one["ndcg_gain"], "+")
        yield (
            f"| {name} | {_interval(one['hit_rate'])} | {_interval(one['ndcg'])} | {gain} "
            f"| {one['coverage']:.1%} | {one['novelty_bits']:.1f} |"
        )
    yield ""


def _interval(interval: Sequence[float], sign: str = "") -> str:
    value, low, high = (f"{part:{sign}.3f}" for part in interval)
    return f"{value} ({low} to {high})"


def costs_table(costs: Sequence[Json]) -> Iterable[str]:
    yield "| orders | purchases | training | peak memory | before training | model | load | one ranking |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in costs:
        load, read = f"{one['load_ms']} ms", f"{one['recommend_us']:.0f} us"
        yield (
            f"| {one['orders']:,} | {one['purchases']:,} | {one['seconds']} s | {one['peak_mib']:.0f} MiB "
            f"| {one['input_mib']:.0f} MiB | {one['model_mib']} MiB | {load} | {read} |"
        )


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-recommend", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, choices=range(1, MAX_SEEDS + 1), metavar="N")
    parser.add_argument("--tune", action="store_true", help="other values of the tuning, on other seeds")
    parser.add_argument("--no-costs", action="store_true", help="do not measure time and memory of the training")
    parser.add_argument("--scenario", action="append", choices=[one.name for one in SCENARIOS], help="only this one")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="write the picture as well")
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> Json:
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    for_customers, for_baskets = dict(RANKERS), dict(BASKET_RANKERS)
    if options.tune:
        seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + min(options.seeds, MAX_TUNING_SEEDS))
        for_customers |= other_similarities() | tuned(rankers.model, FOR_CUSTOMERS)
        for_baskets |= tuned(rankers.together, FOR_BASKETS)
    usual = SCENARIOS[:1] if options.tune else SCENARIOS
    names = options.scenario or [one.name for one in usual]
    chosen = [one for one in SCENARIOS if one.name in names]
    found = [evaluate(one.name, one, seeds, next_purchases, for_customers) for one in chosen]
    found.append(evaluate(f"baskets, {chosen[0].name}", chosen[0], seeds, baskets, for_baskets))
    costs = [] if options.no_costs or options.tune else [asdict(measure(orders)) for orders in ORDER_COUNTS]
    return {"model": MODEL, "reference": REFERENCE, "seeds": list(seeds), "scenarios": found, "costs": costs}


def main(argv: Sequence[str]) -> None:
    options = arguments(argv)
    result = run(options)
    if options.picture:
        options.picture.write_text(picture(result), encoding="utf-8")
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for scenario in result["scenarios"]:
        print("\n".join(table(scenario)))
    if result["costs"]:
        print("\n".join(costs_table(result["costs"])))


if __name__ == "__main__":
    main(sys.argv[1:])
