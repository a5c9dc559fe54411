"""The use cases of product: the catalogue for readers, stock for administrators, reservations for orders."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import orjson

from shop.contracts.money import Price
from shop.contracts.product import ReservationRejected, ReservationRequest, Reserved, ReservedLine
from shop.covers import picture_svg
from shop.kit.app import Context
from shop.kit.batch import Batcher
from shop.kit.clock import Clock
from shop.kit.db import Record
from shop.kit.errors import Problem, Unavailable
from shop.kit.logging import decision
from shop.kit.pages import cut_page, decode_cursor
from shop.product import errors, metrics
from shop.product.domain import Request, Shortage, merged
from shop.product.reads import Answer as Read
from shop.product.reads import Found, OtherInstances, ReadCache, answer_of
from shop.product.repository import SORTS, ProductRepository
from shop.product.reservations import Answer, ReservationRepository
from shop.product.schemas import NewProduct, ProductChange, product_document
from shop.product.settings import Settings

log = logging.getLogger(__name__)

MAX_CALLS_PER_BATCH = 32
BATCHES_INFLIGHT = 1
"""One batch at a time per process: batches for the same product would only wait for each other's locks."""
REST = 300


class StockCount:
    """Measures what is sold out and whether the stock is right, every ``pause_s`` seconds.

    It reads all that was ever sold, so it pauses REST times as long as it takes.
    """

    def __init__(self, products: ProductRepository, pause_s: float) -> None:
        self._products = products
        self._pause_s = pause_s

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            await self._count()
            await asyncio.sleep(self.pause_after_s(time.monotonic() - began))

    def pause_after_s(self, took_s: float) -> float:
        """How long to pause after a count that took so long."""
        return max(self._pause_s, took_s * REST)

    async def _count(self) -> None:
        try:
            sold_out, drift = await self._products.count_stock()
        except Unavailable:
            return
        metrics.SOLD_OUT.set(sold_out)
        metrics.DRIFT.set(drift)
        if drift:
            message = "the stock of %d products is not what movements and reservations leave"
            log.error(message, drift, extra={"event": "stock_drift", "products": drift})


class ProductService:
    def __init__(
        self,
        products: ProductRepository,
        reservations: ReservationRepository,
        clock: Clock,
        settings: Settings,
        cache: ReadCache,
        others: OtherInstances,
    ) -> None:
        self._products = products
        self._reservations = reservations
        self._clock = clock
        self._currency = settings.store.currency
        self._cache = cache
        self._others = others
        self._reserving = Batcher[Sequence[Request], list[Answer]](
            self._reserve_calls, max_items=MAX_CALLS_PER_BATCH, max_inflight=BATCHES_INFLIGHT
        )

    @classmethod
    def build(cls, context: Context) -> ProductService:
        products = ProductRepository(context.database)
        reservations = ReservationRepository(context.database)
        settings = cast(Settings, context.settings)
        cache = ReadCache(settings.read_cache_seconds)
        others = OtherInstances(context.bus, cache, settings.read_cache_seconds)
        context.tasks.start("stock-count", StockCount(products, settings.stock_count_seconds).run)
        context.tasks.start("changes of other instances", others.receive)
        return cls(products, reservations, context.clock, settings, cache, others)

    async def product(self, product_id: UUID) -> Read:
        """The product as JSON; Problem 404 ``unknown_product``."""
        found = await self._cache.products([product_id], self._documents)
        if not found:
            raise errors.unknown_product(product_id)
        return found[0]

    async def _documents(self, ids: Sequence[UUID]) -> dict[UUID, bytes]:
        return {row["id"]: _document(row) for row in await self._products.by_ids(ids)}

    async def picture(self, product_id: UUID) -> bytes:
        """The product's drawn picture, an SVG document; Problem 404 ``unknown_product``."""
        row = await self._row(product_id)
        return picture_svg(row["name"], row["category"], row["attributes"]).encode()

    async def _row(self, product_id: UUID) -> Record:
        row = await self._products.get(product_id)
        if row is None:
            raise errors.unknown_product(product_id)
        return row

    async def by_ids(self, ids: Sequence[UUID]) -> Read:
        """The products among ``ids`` that exist, in this order, as the only page."""
        found = await self._cache.products(list(dict.fromkeys(ids)), self._documents)
        return answer_of(_page([one.body for one in found], None))

    async def page(self, query: str, category: str | None, sort: str, cursor: str | None, limit: int) -> Read:
        """One page of the catalogue as JSON; Problem 400 ``invalid_cursor``."""

        async def read() -> Found:
            after = _after(cursor, sort)
            rows = await self._products.page(query=query, category=category, sort=sort, after=after, limit=limit + 1)
            shown, next_cursor = cut_page(rows, limit, lambda row: (sort, row[SORTS[sort][0]], row["id"]))
            return _page([_document(row) for row in shown], next_cursor), [row["id"] for row in shown]

        return await self._cache.page((query, category, sort, cursor, limit), read)

    async def categories(self) -> Read:
        async def read() -> Found:
            rows = await self._products.categories()
            return orjson.dumps({"items": [dict(row.items()) for row in rows], "next_cursor": None}), ()

        return await self._cache.page("categories", read)

    async def _changed(self, product_id: UUID) -> None:
        """No instance answers with the product as it was before."""
        self._cache.invalidate([product_id], listings=True)
        await self._others.invalidated_everywhere([product_id])

    async def _stock_changed(self, ids: Collection[UUID]) -> None:
        """This instance does not answer with the stock as it was before, the others not for long."""
        self._cache.invalidate(ids, listings=False)
        await self._others.invalidated(ids)

    async def create(self, new: NewProduct) -> dict[str, Any]:
        """Add a product; Problem 409 ``sku_taken``, 422 for a foreign currency."""
        self._check_currency(new.price.currency)
        fields = new.model_dump(exclude={"price"}) | {"price": new.price.amount, "currency": new.price.currency}
        rows = await self._products.insert([fields], self._clock.now(), "first stock")
        if not rows:
            raise errors.sku_taken(new.sku)
        await self._changed(rows[0]["id"])
        return product_document(rows[0])

    async def change(self, product_id: UUID, change: ProductChange) -> dict[str, Any]:
        """Change what is named; orders that reserved before keep the old price."""
        fields = change.model_dump(exclude_none=True, exclude={"price"})
        if change.price is not None:
            self._check_currency(change.price.currency)
            fields["price"] = change.price.amount
        row = await self._products.update(product_id, fields, self._clock.now())
        if row is None:
            raise errors.unknown_product(product_id)
        await self._changed(product_id)
        return product_document(row)

    async def move_stock(
        self, product_id: UUID, delta: int, reason: str, key: str | None, admin_id: UUID
    ) -> dict[str, Any]:
        """Add ``delta`` to the stock, once per idempotency key; Problem 409 when it would fall below zero."""
        if not delta:
            return product_document(await self._row(product_id))
        row, moved = await self._products.move_stock(product_id, delta, reason, key, self._clock.now())
        await self._changed(product_id)
        if moved:
            about = {"product_id": product_id, "delta": delta, "stock": row["stock"], "reason": reason}
            message = "the stock of %s changed by %+d to %d"
            decision(log, "stock_changed", message, row["sku"], delta, row["stock"], admin_id=admin_id, **about)
        return product_document(row)

    def _check_currency(self, currency: str) -> None:
        if currency != self._currency:
            raise errors.wrong_currency(self._currency)

    async def reserve(self, items: Sequence[ReservationRequest]) -> list[Reserved | ReservationRejected]:
        """One result per item. Concurrent calls share their statements."""
        requests = [Request(item.order_id, merged([(x.product_id, x.quantity) for x in item.lines])) for item in items]
        answers = await self._reserving.submit(requests)
        results = [_result(request.order_id, answer) for request, answer in zip(requests, answers, strict=True)]
        for result in results:
            metrics.RESERVATIONS.labels(result.code if isinstance(result, ReservationRejected) else "reserved").inc()
        return results

    async def _reserve_calls(self, calls: list[Sequence[Request]]) -> list[list[Answer]]:
        distinct: dict[UUID, Request] = {}
        for call in calls:
            for request in call:
                distinct.setdefault(request.order_id, request)
        try:
            answers = await self._reservations.reserve(list(distinct.values()), self._clock.now())
        finally:  # what has failed may have taken effect
            await self._stock_changed({product_id for request in distinct.values() for product_id in request.lines})
        return [[answers[request.order_id] for request in call] for call in calls]

    async def release(self, order_ids: Sequence[UUID]) -> None:
        """Release what the orders hold, sold or not; an order that reserved nothing yet cannot reserve afterwards."""
        products = await self._reservations.release(order_ids, self._clock.now())
        await self._stock_changed(set(products))

    async def close(self) -> None:
        await self._reserving.close()


def _after(cursor: str | None, sort: str) -> tuple[Any, UUID] | None:
    if cursor is None:
        return None
    kind = SORTS[sort][2]
    as_text = str if kind is datetime else kind
    made_for, value, last = decode_cursor(cursor, str, as_text, UUID)
    if made_for != sort:
        raise Problem(400, "invalid_cursor", "The cursor belongs to another sort order.")
    if kind is not datetime:
        return value, last
    try:
        return datetime.fromisoformat(value), last
    except ValueError:
        raise Problem(400, "invalid_cursor", "The cursor is not one of this service.") from None


def _document(row: Record) -> bytes:
    return orjson.dumps(product_document(row), default=str)


def _page(documents: Sequence[bytes], next_cursor: str | None) -> bytes:
    return b'{"items":[%b],"next_cursor":%b}' % (b",".join(documents), orjson.dumps(next_cursor))


def _result(order_id: UUID, answer: Answer) -> Reserved | ReservationRejected:
    if answer is None:
        detail = "The order was released before."
        return ReservationRejected(order_id=order_id, code="released", detail=detail)
    if not isinstance(answer, Shortage):
        return Reserved(order_id=order_id, lines=[_reserved_line(line) for line in answer])
    product_id, available = answer.product_id, answer.available
    if available is None:
        detail = "There is no such product."
        return ReservationRejected(order_id=order_id, code="unknown_product", detail=detail, product_id=product_id)
    detail = f"Only {available} left." if available else "None left."
    return ReservationRejected(
        order_id=order_id, code="insufficient_stock", detail=detail, product_id=product_id, available=available
    )


def _reserved_line(line: Mapping[str, Any]) -> ReservedLine:
    """A line with the price at which it was reserved."""
    about = {name: line[name] for name in ("product_id", "quantity", "sku", "name", "category")}
    return ReservedLine(**about, unit_price=Price(amount=line["price"], currency=line["currency"]))
