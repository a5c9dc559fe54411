"""Purchases as arrays, in the one form from which `shop.recommendation.training` counts. Pure: no input or output.

Weights are multiples of 1/STEPS between 0 and 1. So sums of them and of their products are exact, and do not depend on
the order of summation: the same purchases give the same numbers, however they are listed and customers are numbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from shop.recommendation.model import Floats, Positions

DAY_S = 86_400.0
STEPS = 4096
"""Sums stay exact up to 2**53 / STEPS**2: more than 500 million purchases of one product."""


@dataclass(frozen=True)
class Purchases:
    """Arrays of equal length with one element per product of an order that counts."""

    products: Positions
    """Positions in the product ids that `train` gets."""
    users: NDArray[np.int32]
    """Any number that stands for one customer."""
    orders: NDArray[np.int32]
    """Any number that stands for one order."""
    times: Floats
    """Seconds since 1970, UTC."""


def check(purchases: Purchases, product_count: int) -> None:
    lengths = {len(part) for part in (purchases.products, purchases.users, purchases.orders, purchases.times)}
    if len(lengths) != 1:
        raise ValueError("the arrays of purchases have different lengths")
    if not np.isfinite(purchases.times).all():
        raise ValueError("a purchase's time is not a number")
    if lengths != {0} and not 0 <= purchases.products.min() <= purchases.products.max() < product_count:
        raise ValueError(f"a purchase names a product outside of the {product_count} that are given")


def canonical(purchases: Purchases, product_ids: Sequence[UUID]) -> tuple[tuple[UUID, ...], Purchases]:
    """The ids of the products that were bought, sorted, and the purchases with positions in these."""
    # np.unique for values alone loads numpy.ma, which takes 5 MiB.
    used = np.flatnonzero(np.bincount(purchases.products)).tolist()
    ids = tuple(sorted({product_ids[position] for position in used}))
    positions = {product_id: position for position, product_id in enumerate(ids)}
    new = np.zeros(len(product_ids), np.int32)
    new[used] = [positions[product_ids[position]] for position in used]
    return ids, Purchases(new[purchases.products], purchases.users, purchases.orders, purchases.times)


@dataclass(frozen=True)
class Bought:
    """Each product once per group (customer or order), with the newest time; sorted by group, then product."""

    groups: NDArray[np.int64]
    """From 0 without gaps."""
    sizes: NDArray[np.int64]
    """Of each group: how many products."""
    products: Positions
    users: NDArray[np.int32]
    times: Floats

    def kept(self, chosen: NDArray[np.bool_]) -> Bought:
        groups = self.groups[chosen]
        sizes = np.bincount(groups, minlength=len(self.sizes))
        return Bought(groups, sizes, self.products[chosen], self.users[chosen], self.times[chosen])


def newest(rows: Purchases, numbers: NDArray[np.int32], product_count: int) -> Bought:
    _, groups = np.unique(numbers, return_inverse=True)
    keys = groups * product_count + rows.products
    order = np.lexsort((rows.times, keys))
    keys = keys[order]
    last = order[np.append(keys[1:] != keys[:-1], np.ones(min(len(keys), 1), bool))]
    groups = groups[last]
    return Bought(groups, np.bincount(groups), rows.products[last], rows.users[last], rows.times[last])


def only_newest(bought: Bought, limit: int) -> Bought:
    """At most `limit` products of each group, the newest, equally old ones by position."""
    if not len(bought.sizes) or bought.sizes.max() <= limit:
        return bought
    order = np.lexsort((bought.products, -bought.times, bought.groups))
    ends = np.cumsum(bought.sizes)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(ends - bought.sizes, bought.sizes)
    return bought.kept(rank < limit)


def steps(weights: Floats) -> Floats:
    """Multiples of 1/STEPS, never 0: what was bought long ago or among a great many stays known."""
    return np.maximum(np.rint(weights * STEPS), 1.0) / STEPS


def decay(bought: Bought, now: float, half_life_days: float) -> Floats:
    return steps(0.5 ** (np.maximum(now - bought.times, 0.0) / (half_life_days * DAY_S)))
