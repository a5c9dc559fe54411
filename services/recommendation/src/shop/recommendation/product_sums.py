"""Sums over the customers or orders that two products share. Pure: no input or output.

With weights as matrices of groups by products, they are left.T @ right without its diagonal. Each purchase of a product
is paired with all purchases of its group, and what the pairs add is summed by product, block by block. That is as fast
as scipy's sparse matrices, which take 10 MiB of a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shop.recommendation.model import Floats, Positions
from shop.recommendation.purchases import Bought

MAX_BLOCK_PAIRS = 65_536
"""Pairs that exist at once, with some 50 bytes each; more only where the group of one purchase has more."""
MAX_CELLS_PER_PAIR = 8
"""Cells of the products-by-products matrix that exist at once for each pair of a block, with 8 bytes each; more only
where the row of one product has more. A block that would need more sorts its pairs instead."""

Integers = NDArray[np.int64]


class ProductSums:
    """Of the products of `bought`; weights have one element for each of its purchases."""

    def __init__(self, bought: Bought, product_count: int) -> None:
        self._bought = bought
        self._product_count = product_count
        self._by_product = np.argsort(bought.products, kind="stable")
        self._ends = np.cumsum(np.bincount(bought.products, minlength=product_count))
        self._sizes = bought.sizes[bought.groups]
        self._starts = (np.cumsum(bought.sizes) - bought.sizes)[bought.groups]

    def totals(self, left: Floats, right: Floats) -> Floats:
        """By product: the sum of its row."""
        groups, products = self._bought.groups, self._bought.products
        others = np.bincount(groups, right, len(self._bought.sizes))[groups] - right
        return np.bincount(products, left * others, self._product_count)

    def rows(self, left: Floats, right: Floats) -> Iterator[tuple[int, Positions, Floats]]:
        """Of each product: its position, the products that share a group with it, ascending, and the sums."""
        count = self._product_count
        pairs = np.bincount(self._bought.products, self._sizes, count)
        for first, last in _parts(pairs, MAX_BLOCK_PAIRS):
            purchases = self._by_product[self._ends[first - 1] if first else 0 : self._ends[last - 1]]
            cells, sums = self._sums(purchases, first, (last - first) * count, left, right)
            ends = np.searchsorted(cells, np.arange(last - first + 1) * count).tolist()
            for row, (start, end) in enumerate(pairwise(ends)):
                products = cells[start:end] - row * count
                others = products != first + row
                yield first + row, products[others], sums[start:end][others]

    def _sums(
        self, purchases: Integers, first: int, cell_count: int, left: Floats, right: Floats
    ) -> tuple[Integers, Floats]:
        """The cells that are not 0, ascending, and what they are; product `first` has the first row."""
        sizes = self._sizes[purchases]
        if sizes.sum() * MAX_CELLS_PER_PAIR < cell_count:
            cells, values = self._pairs(purchases, first, left, right)
            found, places = np.unique(cells, return_inverse=True)
            return found, np.bincount(places, values)
        parts = (purchases[start:end] for start, end in _parts(sizes, MAX_BLOCK_PAIRS))
        counted = (np.bincount(*self._pairs(part, first, left, right), cell_count) for part in parts)
        sums = next(counted)
        for more in counted:
            sums += more
        found = np.flatnonzero(sums)
        return found, sums[found]

    def _pairs(self, purchases: Integers, first: int, left: Floats, right: Floats) -> tuple[Integers, Floats]:
        """Each of `purchases` with all of its group: the cell, and what it adds to it."""
        products, sizes = self._bought.products, self._sizes[purchases]
        before = np.cumsum(sizes) - sizes
        others = np.arange(sizes.sum()) + np.repeat(self._starts[purchases] - before, sizes)
        cells = np.repeat((products[purchases].astype(np.int64) - first) * self._product_count, sizes)
        return cells + products[others], np.repeat(left[purchases], sizes) * right[others]


def _parts(sizes: NDArray[np.number], limit: int) -> Iterator[tuple[int, int]]:
    """Where to cut, so that the sizes in each part add up to at most `limit`, or it has one only."""
    ends, start = np.cumsum(sizes), 0
    while start < len(ends):
        used = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, used + limit, side="right")))
        yield start, end
        start = end
