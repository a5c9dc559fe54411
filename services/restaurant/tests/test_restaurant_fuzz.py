"""Requests made up from the service's own OpenAPI document are answered as it says, and never with a 5xx."""

from __future__ import annotations

import asyncio

from services.restaurant.tests.conftest import Start
from shop.devkit.testing import INTERNAL_TOKEN
from tests.contracts import fuzz


async def test_made_up_requests_are_answered_as_the_document_says(start: Start) -> None:
    async with start(on_port=True) as service:
        kitchen = await service.restaurant(kitchen_capacity=1_000)
        order = await kitchen.paid()
        choice = kitchen.line("Pizza", choices=["small"])["choices"][0]
        known = {
            "restaurant_id": str(kitchen.id), "order_id": str(order), "item_id": kitchen.items["Soup"]["id"],
            "user_id": str(kitchen.staff_id), "choices": [choice], "currency": "EUR", "time_zone": "Europe/London",
        }  # fmt: skip
        base_url, admin = str(service.client.base_url), service.admin

        def headers(path: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {INTERNAL_TOKEN}"} if path.startswith("/internal/") else admin

        def found() -> list[str]:
            document = fuzz.document(base_url)
            assert document is not None
            return fuzz.failures(document, base_url, headers, known, max_examples=4)

        assert await asyncio.to_thread(found) == []
        await kitchen.assert_load()
