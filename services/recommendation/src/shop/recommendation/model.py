"""What is known about the products that were bought, and the rankings that follow. Pure: no input or output.

Rankings follow from the model's bytes alone, so all replicas that hold the same model give the same ones. Equal scores
are ordered by product id. A ranking does not depend on how many results a caller wants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from shop.recommendation import model_format

MAX_HISTORY_PRODUCTS = 50
"""Of a customer's purchases or a cart only the first ones count; all are left out of the result."""
MAX_RANKED = 500
"""Length of a personal ranking; what is beyond it is filled up with `Model.popular`."""
ID_BYTES = 16

Floats = NDArray[np.float64]
Positions = NDArray[np.int32]


class Scored(NamedTuple):
    """A product, its score (comparable within one ranking), and the given product that added most to it, if any."""

    product_id: UUID
    score: float
    because: UUID | None


@dataclass(frozen=True)
class Neighbours:
    """Of product p: ``products[starts[p]:starts[p + 1]]`` and their ``scores``, best first."""

    starts: NDArray[np.int64]
    products: Positions
    scores: NDArray[np.float32]

    def of(self, product: int) -> tuple[Positions, Floats]:
        part = slice(int(self.starts[product]), int(self.starts[product + 1]))
        return self.products[part], self.scores[part].astype(np.float64)


@dataclass(frozen=True)
class Rules:
    """How rankings are made of the model's numbers; stored with them, so that old and new code agree."""

    popular_share: float
    """What every product has besides its affinity, which is 1 for twice as many common customers as by chance."""
    similar_popularity: float
    """Exponent of the popularity by which similar products are ranked: 1 favours popular ones, 0 rare ones.

    Other values than 0, 0.5 and 1 may differ in the last bit from processor to processor.
    """


@dataclass(frozen=True)
class Model:
    """Made by `shop.recommendation.training.train`. Products have positions in ``product_ids``, which are sorted.

    ``history_weights``: of the newest purchase, the one before, and so on. ``popularity``: share of recent purchases.
    ``by_customer``, ``by_order``: by how much the customers or orders that two products share exceed chance, as a share
    of chance. ``strongest``: rows of two positions and a number of orders.
    """

    trained_at: float
    order_count: int
    pair_count: int
    rules: Rules
    product_ids: tuple[UUID, ...]
    history_weights: Floats
    popularity: NDArray[np.float32]
    by_customer: Neighbours
    by_order: Neighbours
    strongest: Positions

    @cached_property
    def _positions(self) -> dict[UUID, int]:
        return {product_id: position for position, product_id in enumerate(self.product_ids)}

    @cached_property
    def _ids(self) -> NDArray[Any]:
        """The product ids, and at -1 None."""
        return np.array([*self.product_ids, None], dtype=object)

    def for_history(self, history: Sequence[UUID]) -> list[Scored]:
        """For a customer who bought `history`, newest first; `popular` when none of it is known.

        A product that is there for its popularity rather than because of the history has no ``because``.
        """
        bought = self._known(history)
        if not bought:
            excluded = set(history)
            return [one for one in self.popular() if one.product_id not in excluded][:MAX_RANKED]
        newest = bought[: len(self.history_weights)]
        weights = self.history_weights[: len(newest)]
        affinity, because = self._sum(self.by_customer, newest, weights / weights.sum())
        because[affinity < self.rules.popular_share] = -1
        scores = (affinity + self.rules.popular_share) * self.popularity
        return self._ranking(scores, because, bought)

    def similar_to(self, product: UUID) -> list[Scored]:
        """What customers of `product` bought as well; empty for a product that is not known."""
        position = self._positions.get(product)
        if position is None:
            return []
        products, excess = self.by_customer.of(position)
        scores = np.zeros(len(self.product_ids))
        scores[products] = excess * self.popularity[products].astype(np.float64) ** self.rules.similar_popularity
        return self._ranking(scores, np.full(len(scores), position), [position])

    def bought_together(self, products: Sequence[UUID]) -> list[Scored]:
        """What was bought in the same orders as `products`, without them; empty when none of them is known."""
        given = self._known(products)[:MAX_HISTORY_PRODUCTS]
        if not given:
            return []
        affinity, because = self._sum(self.by_order, given, np.full(len(given), 1 / len(given)))
        affinity[affinity > 0] += self.rules.popular_share
        scores = affinity * self.popularity
        return self._ranking(scores, because, self._known(products))

    def popular(self) -> list[Scored]:
        """All products that were bought, by the share of recent purchases."""
        return list(self._popular)

    def pairs(self, limit: int) -> list[tuple[UUID, UUID, int]]:
        """The pairs that most orders hold, with the number of these orders; at most training.MAX_PAIRS."""
        return [(self.product_ids[a], self.product_ids[b], n) for a, b, n in self.strongest[:limit].tolist()]

    @cached_property
    def _popular(self) -> list[Scored]:
        scores = self.popularity.astype(np.float64)
        return self._scored(best(scores, len(scores)), scores, np.full(len(scores), -1))

    def _known(self, products: Iterable[UUID]) -> list[int]:
        found = (self._positions.get(product) for product in products)
        return list(dict.fromkeys(position for position in found if position is not None))

    def _sum(self, neighbours: Neighbours, given: Sequence[int], weights: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """The weighted sum of the neighbours' scores, and for each product which of `given` added most (-1: none)."""
        parts = [neighbours.of(position) for position in given]
        products = np.concatenate([part for part, _ in parts])
        added = np.concatenate([weight * scores for weight, (_, scores) in zip(weights, parts, strict=True)])
        sources = np.repeat(np.asarray(given), [len(part) for part, _ in parts])
        total = np.bincount(products, added, len(self.product_ids)).astype(np.float64)
        # The earliest of equals is written last, and so is the one that stays.
        ascending = np.argsort(-added, kind="stable")[::-1]
        because = np.full(len(self.product_ids), -1)
        because[products[ascending]] = sources[ascending]
        return total, because

    def _ranking(self, scores: Floats, because: NDArray[np.int64], without: Sequence[int]) -> list[Scored]:
        scores[without] = 0
        return self._scored(best(scores, MAX_RANKED), scores, because)

    def _scored(self, ranked: Positions, scores: Floats, because: NDArray[np.int64]) -> list[Scored]:
        ids = self._ids
        return list(map(Scored._make, zip(ids[ranked], scores[ranked].tolist(), ids[because[ranked]], strict=True)))

    def to_bytes(self) -> bytes:
        scalars = {
            "trained_at": self.trained_at,
            "order_count": self.order_count,
            "pair_count": self.pair_count,
            "rules": asdict(self.rules),
        }
        ids = b"".join(product_id.bytes for product_id in self.product_ids)
        arrays: model_format.Arrays = {
            "ids": np.frombuffer(ids, dtype="<u8"),
            "history_weights": self.history_weights,
            "popularity": self.popularity,
            "customer_starts": self.by_customer.starts,
            "customer_products": self.by_customer.products,
            "customer_scores": self.by_customer.scores,
            "order_starts": self.by_order.starts,
            "order_products": self.by_order.products,
            "order_scores": self.by_order.scores,
            "pairs": self.strongest.ravel(),
        }
        return model_format.pack(scalars, arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> Model:
        """The model that `to_bytes` stored; ValueError for damaged data or another version's format."""
        scalars, arrays = model_format.unpack(data)
        ids = arrays["ids"].tobytes()
        return cls(
            trained_at=scalars["trained_at"],
            order_count=scalars["order_count"],
            pair_count=scalars["pair_count"],
            rules=Rules(**scalars["rules"]),
            product_ids=tuple(UUID(bytes=ids[at : at + ID_BYTES]) for at in range(0, len(ids), ID_BYTES)),
            history_weights=arrays["history_weights"],
            popularity=arrays["popularity"],
            by_customer=Neighbours(arrays["customer_starts"], arrays["customer_products"], arrays["customer_scores"]),
            by_order=Neighbours(arrays["order_starts"], arrays["order_products"], arrays["order_scores"]),
            strongest=arrays["pairs"].reshape(-1, 3),
        )


def best(scores: Floats, limit: int) -> Positions:
    """Where the highest scores above 0 are, highest first, equal ones by position; at most `limit`."""
    found = np.flatnonzero(scores > 0)
    if len(found) > limit:
        last = np.partition(scores[found], len(found) - limit)[len(found) - limit]
        found = found[scores[found] >= last]
    ranked: Positions = found[np.argsort(-scores[found], kind="stable")][:limit].astype(np.int32)
    return ranked
