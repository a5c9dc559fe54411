"""The SQL of models: what they are trained on, who trains, and the trained ones."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from shop.kit.db import Database, errors_as_unavailable
from shop.recommendation.purchases import Purchases

STATE = """
SELECT value AS revision, version, trained_revision, trained_at, training_seconds
FROM revision LEFT JOIN (
    SELECT version, revision AS trained_revision, trained_at, training_seconds FROM models ORDER BY version DESC LIMIT 1
) AS newest ON true"""
CONTENT = "SELECT version, orders, trained_at, content FROM models ORDER BY version DESC LIMIT 1"
LEASE = """
UPDATE training SET owner = $1, leased_until = now() + make_interval(secs => $2), fence = fence + 1
WHERE leased_until < now() RETURNING fence"""
RENEW = "UPDATE training SET leased_until = now() + make_interval(secs => $2) WHERE fence = $1 RETURNING fence"
RELEASE = "UPDATE training SET leased_until = now() WHERE fence = $1"
PRODUCTS = "SELECT number, product_id FROM products ORDER BY number"
PURCHASES = "SELECT product, customer, order_number, extract(epoch FROM ordered_at)::float8 FROM purchases"
STORE = """
INSERT INTO models (revision, trained_at, training_seconds, orders, content)
SELECT $2, $3, $4, $5, $6 FROM training WHERE fence = $1 FOR SHARE RETURNING version"""
DELETE_OLD = "DELETE FROM models WHERE version < $1"

READ_TIMEOUT_S = 120.0
HEADER_BYTES = 19
TRAILER_BYTES = 2
COPIED = np.dtype(
    [("fields", ">i2")]
    + [part for name in ("product", "user", "order") for part in ((f"{name}_bytes", ">i4"), (name, ">i4"))]
    + [("time_bytes", ">i4"), ("time", ">f8")]
)
"""A row of PURCHASES in PostgreSQL's binary COPY format: each field after its length."""
KEPT_MODELS = 2
"""The newest, and the one before it, which a replica may be reading."""


class State(NamedTuple):
    """``revision`` of the purchases; the others are of the newest model, None if there is none."""

    revision: int
    version: int | None
    trained_revision: int | None
    trained_at: datetime | None
    training_seconds: float | None


class NewModel(NamedTuple):
    """``revision`` of the purchases that it was trained on, at least; ``training_seconds`` it took."""

    revision: int
    trained_at: datetime
    training_seconds: float
    orders: int
    content: bytes


class StoredModel(NamedTuple):
    version: int
    orders: int
    trained_at: datetime
    content: bytes


class ModelRepository:
    """Methods may raise Unavailable("database")."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def state(self) -> State:
        row = await self._database.quick.fetchrow(STATE)
        assert row is not None  # noqa: S101 - the migration inserts it
        return State(**row)

    async def newest(self) -> StoredModel | None:
        row = await self._database.fetchrow(CONTENT)
        return StoredModel(**row) if row else None

    async def lease(self, owner: UUID, lease_s: float) -> int | None:
        """The fence of a new lease of ``lease_s`` seconds; None while another replica has one."""
        fence: int | None = await self._database.fetchval(LEASE, owner, lease_s)
        return fence

    async def renew(self, fence: int, lease_s: float) -> bool:
        """Extend the lease to ``lease_s`` seconds from now; False when another one was given meanwhile."""
        return await self._database.fetchval(RENEW, fence, lease_s) is not None

    async def release(self, fence: int) -> None:
        await self._database.execute(RELEASE, fence)

    async def purchases(self) -> tuple[Purchases, list[UUID]]:
        """Everything that was bought, and the ids of the products."""
        copied = bytearray()

        async def receive(data: bytes) -> None:
            copied.extend(data)

        async with self._database.session() as raw:
            with errors_as_unavailable:
                await raw.copy_from_query(PURCHASES, output=receive, format="binary", timeout=READ_TIMEOUT_S)
        rows = await self._database.fetch(PRODUCTS)
        numbers = np.array([row["number"] for row in rows], dtype=np.int32)
        return _purchases(copied, numbers), [row["product_id"] for row in rows]

    async def store(self, fence: int, model: NewModel) -> bool:
        """Store the model; False when the lease passed to another replica."""
        version = await self._database.fetchval(STORE, fence, *model)
        if version is None:
            return False
        await self._database.execute(DELETE_OLD, version - KEPT_MODELS + 1)
        return True


def _purchases(copied: bytearray, numbers: NDArray[np.int32]) -> Purchases:
    count = (len(copied) - HEADER_BYTES - TRAILER_BYTES) // COPIED.itemsize
    rows = np.frombuffer(copied, dtype=COPIED, count=count, offset=HEADER_BYTES)
    return Purchases(
        products=np.searchsorted(numbers, rows["product"].astype(np.int32)).astype(np.int32),
        users=rows["user"].astype(np.int32),
        orders=rows["order"].astype(np.int32),
        times=rows["time"].astype(np.float64),
    )
