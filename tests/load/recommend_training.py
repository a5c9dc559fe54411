"""What training the recommender costs: time and memory by the number of orders, each in a process of its own.

Times are processor time of one core: what else the machine does changes them little.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

from shop.recommendation.model import Model
from shop.recommendation.purchases import Purchases
from shop.recommendation.training import train
from tests.load.recommend_rankers import product_ids
from tests.load.recommend_simulator import DAY_S, START_S

PRODUCTS = 10_000
ORDERS_PER_CUSTOMER = 5
TOPICS = 50
DAYS = 365.0
MEAN_BASKET = 2.2
HISTORY = 12
READS = 300
TRAINING_TIMEOUT_S = 600
KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Cost:
    orders: int
    purchases: int
    seconds: float
    peak_mib: float
    """Of the process, with Python, the libraries and the purchases."""
    input_mib: float
    """Of the process before training: the same without the training."""
    model_mib: float
    """Stored, and about the same in each replica."""
    load_ms: float
    recommend_us: float
    """`Model.for_history` with a history of HISTORY products."""


def measure(orders: int) -> Cost:
    """In a fresh process, whose peak memory is then that of this training."""
    command = [sys.executable, "-m", "tests.load.recommend_training", str(orders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TRAINING_TIMEOUT_S, check=True)
    return Cost(**json.loads(done.stdout))


def made_up(orders: int, rng: np.random.Generator) -> Purchases:
    """Zipf distributed products, each with one topic; half of a customer's purchases are of their topic."""
    sizes = 1 + rng.poisson(MEAN_BASKET - 1, orders)
    order = np.repeat(np.arange(orders), sizes)
    # Some customers order much more than others.
    customers = max(1, orders // ORDERS_PER_CUSTOMER)
    rate = rng.lognormal(0.0, 1.0, customers)
    user = rng.choice(customers, orders, p=rate / rate.sum())
    attraction = 1 / (1.0 + np.arange(PRODUCTS)) ** 0.9
    products = rng.choice(PRODUCTS, len(order), p=attraction / attraction.sum())
    # The product of the customer's topic that is nearest to the drawn one in rank.
    own = rng.random(len(order)) < 0.5
    products = np.where(own, products - products % TOPICS + user[order] % TOPICS, products)
    times = START_S + rng.uniform(0, DAYS, orders) * DAY_S
    return Purchases(products.astype(np.int32), user[order].astype(np.int32), order.astype(np.int32), times[order])


def _measure_here(orders: int) -> Cost:
    rng = np.random.default_rng(orders)
    purchases, ids = made_up(orders, rng), product_ids(PRODUCTS)
    before = _peak_mib()
    start = time.process_time()
    trained = train(purchases, ids, START_S + DAYS * DAY_S)
    seconds = time.process_time() - start
    peak = _peak_mib()
    stored = trained.to_bytes()
    start = time.process_time()
    loaded = Model.from_bytes(stored)
    load_s = time.process_time() - start
    histories = [[ids[position] for position in rng.choice(500, HISTORY, replace=False)] for _ in range(READS)]
    loaded.for_history(histories[0])
    start = time.process_time()
    for history in histories:
        loaded.for_history(history)
    reads_s = time.process_time() - start
    return Cost(
        orders=orders,
        purchases=len(purchases.products),
        seconds=round(seconds, 2),
        peak_mib=round(peak, 0),
        input_mib=round(before, 0),
        model_mib=round(len(stored) / KIB_PER_MIB / KIB_PER_MIB, 1),
        load_ms=round(load_s * 1000, 1),
        recommend_us=round(reads_s / READS * 1_000_000, 0),
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB


if __name__ == "__main__":
    print(json.dumps(asdict(_measure_here(int(sys.argv[1])))))
