"""What people enter is in no span, no log line of a service and no metric: markers in every field of the API."""

from __future__ import annotations

import asyncio
import re
import secrets
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from shop.devkit.testing import wait_until
from tests.integration.buyers import new_product
from tests.load.shoppers import ADDRESS, Shop
from tests.telemetry.conftest import TracedShop
from tests.telemetry.markers import MARKER, Operation, operations

pytestmark = pytest.mark.shop

CARD_NUMBER = "4242424242424242"
PASSWORD = f"{MARKER}-{secrets.token_urlsafe(12)}"
EXPORTED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.25
"""At the spans, which are all decoded for each look."""
AT_ONCE = 4
EXPECTED = {200, 201, 202, 204, 303, 400, 401, 402, 403, 404, 405, 409, 410, 413, 415, 422, 428, 429}
"""Any answer but that the shop failed."""
STORES = ("postgres", "nats", "valkey")
Json = dict[str, Any]


async def send(api: Shop, operation: Operation, token: str) -> tuple[Operation, int]:
    headers = {
        "Authorization": f"Bearer {token}",
        "Idempotency-Key": f"{MARKER}-{uuid.uuid4()}",
        "User-Agent": MARKER,
        "Referer": f"https://example.com/{MARKER}",
        "X-Forwarded-For": "203.0.113.77",
        "Cookie": f"session={MARKER}",
        "Tracestate": f"vendor={MARKER}",
        "Baggage": f"user={MARKER}",
    }
    url = api.url + operation.path
    async with api.session.request(
        operation.method, url, params=operation.query, json=operation.body, headers=headers
    ) as answer:
        if "text/event-stream" not in answer.content_type:
            await answer.read()
        return operation, answer.status


async def send_all(api: Shop, document: Json, token: str, *, wrong: bool) -> list[tuple[Operation, int]]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(operation: Operation) -> tuple[Operation, int]:
        async with gate:
            return await send(api, operation, token)

    return await asyncio.gather(*(one(operation) for operation in operations(document, wrong=wrong)))


async def customer_with_markers(api: Shop) -> tuple[str, list[str]]:
    """The access token of a customer whose every detail is a marker, and the secrets that were handed out."""
    email = f"{MARKER}-{uuid.uuid4().hex[:8]}@example.com"
    await api.call("POST", "/users", json={"email": email, "password": PASSWORD, "name": f"{MARKER} Person"})
    tokens = await api.call("POST", "/tokens", json={"email": email, "password": PASSWORD})
    return tokens["access_token"], [tokens["access_token"], tokens["refresh_token"]]


async def buy_with_markers(api: Shop, token: str, product_id: str, card: str, **more: Any) -> int:
    address = {**ADDRESS, "name": f"{MARKER} Person", "street": f"1 {MARKER} Lane", "city": MARKER}
    body = {"items": [{"product_id": product_id, "quantity": 1}], "address": address, "payment": {"token": card}}
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"{MARKER}-{uuid.uuid4()}"}
    async with api.session.post(f"{api.url}/api/v1/orders", json=body | more, headers=headers) as answer:
        await answer.read()
        return answer.status


def found_in(where: str, text: str, wanted: re.Pattern[str]) -> Iterator[str]:
    for line in text.splitlines():
        if match := wanted.search(line):
            yield f"{where}: ...{line[max(0, match.start() - 200) : match.end() + 60]}..."


async def metrics_of(traced: TracedShop, api: Shop) -> dict[str, str]:
    parts = [part for part in traced.local.status()["components"] if part["kind"] == "service"]
    found = {}
    for part in parts:
        async with api.session.get(f"http://127.0.0.1:{part['port']}/metrics") as answer:
            found[part["name"]] = await answer.text()
    return found


async def test_what_people_enter_is_in_no_span_log_or_metric(traced: TracedShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, stock=10)
    customer, handed_out = await customer_with_markers(api)
    assert await buy_with_markers(api, customer, product["id"], "tok_visa") in (201, 202)
    assert await buy_with_markers(api, customer, product["id"], "tok_declined") == 402
    assert await buy_with_markers(api, customer, product["id"], CARD_NUMBER) in EXPECTED
    assert await buy_with_markers(api, customer, product["id"], f"tok_{MARKER}", coupon=MARKER) in EXPECTED
    async with api.session.get(f"{api.url}/openapi.json") as answer:
        document = await answer.json()
    sent = [
        *await send_all(api, document, customer, wrong=True),
        *await send_all(api, document, customer, wrong=False),
        *await send_all(api, document, admin, wrong=False),
    ]
    assert len({(one.method, one.template) for one, _ in sent}) > 50
    failed = {f"{one.method} {one.template}": status for one, status in sent if status not in EXPECTED}
    async with api.session.get(f"{api.url}/products/{MARKER}?q={MARKER}", headers={"Cookie": MARKER}) as page:
        await page.read()

    def exported() -> bool:
        """The last request's span is there, and with it, in order, those before it."""
        return any(span.attributes.get("http.route") == "/{page}" for span in traced.receiver.spans())

    await wait_until(exported, EXPORTED_WITHIN_S, "the span of the last request", LOOK_EVERY_S)
    values = [re.escape(one) for one in (MARKER, CARD_NUMBER, "tok_visa", "tok_declined", "203.0.113.77", *handed_out)]
    wanted = re.compile("|".join([*values, re.escape(admin)]), re.IGNORECASE)
    leaks = [
        leak
        for where, text in [
            *(("span", repr(span)) for span in traced.receiver.spans()),
            *((f"log of {name}", text) for name, text in traced.logs().items() if not name.startswith(STORES)),
            *((f"metrics of {name}", text) for name, text in (await metrics_of(traced, api)).items()),
        ]
        for leak in found_in(where, text, wanted)
    ]
    assert not leaks, "\n".join(leaks[:20])
    assert not failed
    assert any("zqx" not in text and '"event"' in text for text in traced.logs().values())
