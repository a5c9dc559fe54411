"""The least application that reads a product: FastAPI, asyncpg, nothing else. The floor for catalogue reads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import FastAPI, HTTPException, Query, Request
from pydantic import BaseModel

POOL_SIZE = 8
MAX_LIMIT = 100
SEARCH = """
SELECT * FROM products WHERE to_tsvector('simple', name || ' ' || category) @@ to_tsquery('simple', $1)
ORDER BY name, id LIMIT $2"""


class Money(BaseModel):
    amount: int
    currency: str


class Product(BaseModel):
    id: int
    sku: str
    name: str
    description: str
    category: str
    price: Money
    stock: int
    image_url: str
    attributes: dict[str, Any]


class Page(BaseModel):
    items: list[Product]


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["BARE_DATABASE_URL"], min_size=1, max_size=POOL_SIZE) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/products/{product_id}")
async def product(product_id: int, request: Request) -> Product:
    row = await request.app.state.pool.fetchrow("SELECT * FROM products WHERE id = $1", product_id)
    if row is None:
        raise HTTPException(404)
    return _product(row)


@app.get("/products")
async def search(
    query: Annotated[str, Query(pattern="^[a-z]+$")], request: Request, limit: Annotated[int, Query(le=MAX_LIMIT)] = 20
) -> Page:
    rows = await request.app.state.pool.fetch(SEARCH, f"{query}:*", limit)
    return Page(items=[_product(row) for row in rows])


def _product(row: asyncpg.Record) -> Product:
    price = Money(amount=row["amount"], currency=row["currency"])
    return Product(**{**row, "price": price, "attributes": orjson.loads(row["attributes"])})
