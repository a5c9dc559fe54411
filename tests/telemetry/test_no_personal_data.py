"""What people enter is in no span, no log line of a service and no metric: markers in every field of the API."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from shop.contracts.grpc import recommendation_v1_pb2
from shop.devkit.testing import wait_until
from shop.operator.local.data_dir import DataDir
from tests.integration.buyers import ENDS_WITHIN_S, IN_FLIGHT, new_product
from tests.load.shoppers import ADDRESS, Shop
from tests.telemetry import leaks, markers
from tests.telemetry.conftest import TracedShop
from tests.telemetry.log_lines import strange
from tests.telemetry.markers import MARKER, Operation, operations

pytestmark = pytest.mark.shop

CARD_NUMBER = "4242424242424242"
CLIENT_ADDRESS = "203.0.113.77"
PASSWORD = f"{MARKER}-{secrets.token_urlsafe(12)}"
EXPORTED_WITHIN_S = 60.0
CALL_TIMEOUT_S = 10.0
LOOK_EVERY_S = 0.25
"""At the spans, which are all decoded for each look."""
AT_ONCE = 4
EXPECTED = {200, 201, 202, 204, 303, 400, 401, 402, 403, 404, 405, 409, 410, 413, 415, 422, 428, 429}
"""Any answer but that the shop failed."""
BEFORE_THE_HANDLER = {"admin_only", "internal_only", "invalid_request", "invalid_token", "token_missing"}
"""Codes of problems that are found before a service's own function for the request is called."""
EXPECTED_CODES = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED"}
STORES = ("postgres", "nats", "valkey")
INTERNAL = "/internal/"
FORMS = {
    "/sign-in": ("email", "password", "next"),
    "/sign-up": ("email", "password", "name", "next"),
    "/search": ("query",),
}
"""Of the shop's pages, which have no document, with what people write there."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Sent:
    """One request and its answer; ``code`` is that of a problem, else empty."""

    operation: Operation
    status: int
    code: str

    @property
    def handled(self) -> bool:
        return self.code not in BEFORE_THE_HANDLER and self.status not in (405, 415, 429)


async def send(api: Shop, base_url: str, operation: Operation, token: str) -> Sent:
    headers = {
        "Authorization": f"Bearer {token}",
        "Idempotency-Key": f"{MARKER}-{uuid.uuid4()}",
        "User-Agent": MARKER,
        "Referer": f"https://example.com/{MARKER}",
        "X-Forwarded-For": CLIENT_ADDRESS,
        "Cookie": f"session={MARKER}",
        "Tracestate": f"vendor={MARKER}",
        "Baggage": f"user={MARKER}",
    }
    async with api.session.request(
        operation.method,
        base_url + operation.path,
        params=operation.query,
        json=operation.body,
        headers=operation.headers | headers,
    ) as answer:
        code = ""
        if answer.content_type == "application/problem+json":
            code = (await answer.json(content_type=None)).get("code", "")
        elif "text/event-stream" not in answer.content_type:
            await answer.read()
        return Sent(operation, answer.status, code)


async def send_all(api: Shop, base_url: str, wanted: Iterable[Operation], token: str) -> list[Sent]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(operation: Operation) -> Sent:
        async with gate:
            return await send(api, base_url, operation, token)

    return await asyncio.gather(*map(one, wanted))


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

    async def ended() -> int:
        """On a slow machine the first answer is that the order is pending."""
        async with api.session.post(f"{api.url}/api/v1/orders", json=body | more, headers=headers) as answer:
            pending = answer.status == 202 or (await answer.json(content_type=None)).get("code") == IN_FLIGHT
            return 0 if pending else answer.status

    return int(await wait_until(ended, ENDS_WITHIN_S, "the end of the order", LOOK_EVERY_S))


async def document_of(api: Shop, base_url: str) -> Json:
    async with api.session.get(f"{base_url}/openapi.json") as answer:
        return dict(await answer.json()) if answer.status == 200 else {"paths": {}}


async def use_the_api(api: Shop, customer: str, admin: str) -> list[Sent]:
    """Every operation of the gateway's document, wrong and right, as a customer and as the administrator."""
    document = await document_of(api, api.url)
    assert not unmarked(document), "fields without a marker"
    wrong, right = list(operations(document, wrong=True)), list(operations(document, wrong=False))
    return [
        *await send_all(api, api.url, wrong, customer),
        *await send_all(api, api.url, right, customer),
        *await send_all(api, api.url, right, admin),
    ]


async def use_internal_apis(api: Shop, traced: TracedShop) -> list[Sent]:
    """What services call each other for, at the services themselves."""
    token = DataDir(traced.local.data_dir).internal_token()
    sent: list[Sent] = []
    for part in traced.services():
        base_url = f"http://127.0.0.1:{part['port']}"
        document = await document_of(api, base_url)
        assert not unmarked(document), "fields without a marker"
        for wrong in (True, False):
            sent += await send_all(api, base_url, operations(document, wrong=wrong, under=INTERNAL), token)
    return sent


def unmarked(document: Json) -> list[str]:
    """Fields of bodies in which no request has a marker."""
    return list(_unmarked(document))


def _unmarked(document: Json) -> Iterator[str]:
    marked: dict[str, set[str]] = {}
    for operation in operations(document, wrong=True):
        marked.setdefault(operation.name, set()).update(markers.marked_in(operation.body))
    for template, item in document["paths"].items():
        for method, described in item.items():
            schema = markers.body_of(document, described)
            fields = markers.fields_of(document, schema) if schema else set()
            for field in sorted(fields - marked[f"{method.upper()} {template}"]):
                yield f"{method.upper()} {template}: {field}"


async def use_pages(api: Shop) -> None:
    """The last request is the one whose span the test waits for."""
    for path, fields in FORMS.items():
        form = dict.fromkeys(fields, MARKER)
        async with api.session.post(api.url + path, data=form, headers={"Cookie": MARKER}) as page:
            await page.read()
        async with api.session.get(api.url + path, params=form, headers={"Cookie": MARKER}) as page:
            await page.read()
    async with api.session.get(f"{api.url}/products/{MARKER}?q={MARKER}", headers={"Cookie": MARKER}) as page:
        await page.read()


async def use_grpc(traced: TracedShop, tokens: Iterable[str]) -> set[str]:
    """Every method, wrong and right, with each of the tokens; the codes of the answers."""
    (part,) = [part for part in traced.services() if "grpc_port" in part]
    (service,) = recommendation_v1_pb2.DESCRIPTOR.services_by_name.values()
    codes = set()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{part['grpc_port']}") as channel:
        for method, token, wrong in (
            (method, token, wrong) for method in service.methods for token in tokens for wrong in (True, False)
        ):
            ask: Any = channel.unary_unary(f"/{service.full_name}/{method.name}")
            metadata = (("authorization", f"Bearer {token}"), ("tracestate", f"vendor={MARKER}"), ("cookie", MARKER))
            request = markers.call(method, wrong=wrong).SerializeToString()
            try:
                await ask(request, metadata=metadata, timeout=CALL_TIMEOUT_S)
                codes.add("OK")
            except grpc.aio.AioRpcError as error:
                codes.add(error.code().name)
    return codes


async def metrics_of(traced: TracedShop, api: Shop) -> dict[str, str]:
    found = {}
    for part in traced.services():
        async with api.session.get(f"http://127.0.0.1:{part['port']}/metrics") as answer:
            found[part["name"]] = await answer.text()
    return found


async def test_what_people_enter_is_in_no_span_log_or_metric(traced: TracedShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, stock=10)
    customer, handed_out = await customer_with_markers(api)
    assert await buy_with_markers(api, customer, product["id"], "tok_visa") == 201
    assert await buy_with_markers(api, customer, product["id"], "tok_declined") == 402
    assert await buy_with_markers(api, customer, product["id"], CARD_NUMBER) in EXPECTED
    assert await buy_with_markers(api, customer, product["id"], f"tok_{MARKER}", coupon=MARKER) in EXPECTED
    sent = [*await use_the_api(api, customer, admin), *await use_internal_apis(api, traced)]
    codes = await use_grpc(traced, (customer, admin))
    await use_pages(api)

    def exported() -> bool:
        """The last request's span is there, and with it, in order, those before it."""
        return any(span.attributes.get("http.route") == "/{page}" for span in traced.receiver.spans())

    await wait_until(exported, EXPORTED_WITHIN_S, "the span of the last request", LOOK_EVERY_S)
    wanted = leaks.pattern(MARKER, CARD_NUMBER, "tok_visa", "tok_declined", CLIENT_ADDRESS, *handed_out, admin)
    logs = {name: text for name, text in traced.logs().items() if not name.startswith(STORES)}
    found = leaks.leaks(wanted, traced.receiver.spans(), logs, await metrics_of(traced, api))
    assert not found, "\n".join(found[:20])
    assert {f"{one.operation.name}: {one.status}" for one in sent if one.status not in EXPECTED} == set()
    assert codes == EXPECTED_CODES
    every = {one.operation.name for one in sent}
    assert len(every) > 50
    assert every - {one.operation.name for one in sent if one.handled} == set()
    lines = [line for part in traced.services() for line in strange(part["name"], logs[part["name"]])]
    assert lines == [], "events that the matrix does not have"
