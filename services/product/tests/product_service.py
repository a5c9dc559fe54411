"""A running product service and the requests of its tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI

from shop.devkit.testing import INTERNAL_TOKEN, Tokens
from shop.kit.app import create_app
from shop.kit.db import Database
from shop.kit.ids import new_id
from shop.product import api
from shop.product.consumers import consumers
from shop.product.service import ProductService
from shop.product.settings import Settings

CONSERVED = """
SELECT p.id FROM products p
WHERE p.stock + (SELECT coalesce(sum(quantity), 0) FROM reservation_lines l JOIN reservations r USING (order_id)
                 WHERE l.product_id = p.id AND r.state <> 'released')
   <> (SELECT coalesce(sum(delta), 0) FROM stock_movements m WHERE m.product_id = p.id)"""


@dataclass
class RunningService:
    """The service as its callers see it, and its database."""

    client: httpx.AsyncClient
    database: Database
    tokens: Tokens
    settings: Settings

    @property
    def admin(self) -> dict[str, str]:
        return self.tokens.headers("admin")

    async def product(self, stock: int = 10, **changed: Any) -> UUID:
        """A new product's id."""
        answer = await self.client.post("/api/v1/products", json=new_product(stock=stock) | changed, headers=self.admin)
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()["id"])

    async def stock(self, product_id: UUID) -> int:
        return int((await self.client.get(f"/api/v1/products/{product_id}")).json()["stock"])

    async def reserve(self, *orders: tuple[UUID, dict[UUID, int]]) -> list[dict[str, Any]]:
        """The results of one batch of reservations."""
        items = [
            {"order_id": str(order), "lines": [{"product_id": str(p), "quantity": q} for p, q in lines.items()]}
            for order, lines in orders
        ]
        return await self._internal("/internal/reservations", items)

    async def reserve_one(self, product_id: UUID, quantity: int = 1, order_id: UUID | None = None) -> dict[str, Any]:
        return (await self.reserve((order_id or new_id(), {product_id: quantity})))[0]

    async def release(self, *orders: UUID) -> list[dict[str, Any]]:
        return await self._internal("/internal/reservations/release", [{"order_id": str(order)} for order in orders])

    async def _internal(self, path: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}
        answer = await self.client.post(path, json={"items": items}, headers=headers)
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    async def assert_conserved(self) -> None:
        """Received stock is either left, or reserved or sold."""
        assert await self.database.fetch(CONSERVED) == []


def new_product(**changed: Any) -> dict[str, Any]:
    return {
        "sku": f"SKU-{uuid4().hex[:12]}",
        "name": "Middlemarch",
        "description": "A study of provincial life.",
        "category": "novel",
        "price": {"amount": 1_299, "currency": "EUR"},
        "stock": 10,
        "attributes": {"author": "George Eliot", "year": 1871, "language": "English", "pages": 880},
    } | changed


def product_app(settings: Settings) -> FastAPI:
    return create_app(
        settings,
        title="Products",
        routers=[api.router, api.internal],
        build=ProductService.build,
        consumers=consumers,
    )
