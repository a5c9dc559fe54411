"""What the scripted services know at the start of a test."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from fastapi import Request

NAMESPACE = UUID("5b0f1c58-95bb-4f0f-9d52-3f6c7d0a7a11")
NOW = datetime(2026, 3, 5, 14, 7, tzinfo=UTC).isoformat()


def money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def product_id(sku: str) -> str:
    return str(uuid5(NAMESPACE, sku))


def product(sku: str, name: str, price: int, stock: int, **more: Any) -> dict[str, Any]:
    return {
        "id": product_id(sku),
        "sku": sku,
        "name": name,
        "description": f"About {name}.",
        "category": "fiction",
        "price": money(price),
        "stock": stock,
        "image_url": "",
        "attributes": {"author": "Jane Austen", "year": 1813, "pages": 432},
        **more,
    }


def open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


@dataclass
class Person:
    name: str
    email: str
    password: str
    role: str = "customer"
    addresses: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(uuid5(NAMESPACE, self.email))


def books() -> dict[str, dict[str, Any]]:
    shelf = [
        product("pride", "Pride and Prejudice", 1299, 12),
        product("last", "The Last Copy", 900, 1),
        product("gone", "The Sold One", 700, 0),
        product("rocks", "On Rocks", 2500, 40, category="science & nature", attributes={}),
    ]
    return {book["id"]: book for book in shelf}


def page_of(items: list[Any], request: Request) -> dict[str, Any]:
    start, limit = int(request.query_params.get("cursor") or 0), int(request.query_params.get("limit", 20))
    more = len(items) > start + limit
    return {"items": items[start : start + limit], "next_cursor": str(start + limit) if more else None}
