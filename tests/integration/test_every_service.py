"""What every service of a running shop has: health that follows its stores, metrics, and errors as problem documents.

Each is asked at its own port, because the gateway answers some of this itself.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import orjson
import pytest

from shop.devkit import manifest
from shop.devkit.testing import wait_until
from tests.architecture.source import ROOT, service_nouns
from tests.conftest import RunningShop
from tests.integration import food
from tests.integration.audit import assert_clean
from tests.load.shoppers import Shop

pytestmark = pytest.mark.shop

SERVICES = service_nouns()
MANIFESTS = manifest.read(ROOT)
BACK_WITHIN_S = 60.0
ANSWER_WITHIN_S = 10.0
PROBLEM = "application/problem+json"
MEMBERS = {"type", "title", "status", "detail", "code", "trace_id"}
RED = ("shop_http_requests_total", "shop_http_request_duration_seconds_bucket", "shop_http_requests_inflight")
NOBODY = str(uuid.UUID(int=7))
WITH_BODY = {
    "delivery": ("PATCH", "/api/v1/couriers/me"),
    "order": ("POST", "/api/v1/orders"),
    "payment": ("POST", f"/api/v1/payments/{NOBODY}/refunds"),
    "player": ("PATCH", "/api/v1/players/me"),
    "pricing": ("POST", "/api/v1/quotes"),
    "product": ("POST", "/api/v1/products"),
    "restaurant": ("PATCH", f"/api/v1/restaurants/{NOBODY}"),
    "user": ("POST", "/api/v1/users"),
}
"""A request of each service that has a JSON body."""
SECURED = {
    "achievement": "/api/v1/achievements/me",
    "delivery": "/api/v1/couriers/me",
    "notification": "/api/v1/notifications",
    "order": "/api/v1/orders",
    "payment": f"/api/v1/payments?order_id={NOBODY}",
    "player": "/api/v1/players/me",
    "restaurant": "/api/v1/restaurants/mine",
    "user": "/api/v1/users/me",
}
"""What each service with personal data shows to users alone, and reads from its database."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Service:
    """One service at its own port; ``token`` is the administrator's."""

    noun: str
    url: str
    session: aiohttp.ClientSession
    token: str

    async def request(self, method: str, path: str, **options: Any) -> tuple[int, str, bytes, str]:
        """Status, content type, body, and the Allow header of the answer."""
        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": NOBODY} | options.pop("headers", {})
        async with self.session.request(method, self.url + path, headers=headers, **options) as answer:
            return answer.status, answer.content_type, await answer.read(), answer.headers.get("Allow", "")

    async def problem(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """Status and code of the answer, which must be a whole problem document."""
        status, content_type, body, _ = await self.request(method, path, **options)
        assert content_type == PROBLEM, (self.noun, method, path, status, body[:200])
        return read_problem(status, body)

    async def health(self) -> tuple[int, Json]:
        status, _, body, _ = await self.request("GET", "/health/ready")
        return status, orjson.loads(body)


def read_problem(status: int, body: bytes) -> tuple[int, str]:
    found = orjson.loads(body)
    assert found.keys() >= MEMBERS, found
    assert found["status"] == status
    assert re.fullmatch(r"[a-z_]+", found["code"])
    return status, found["code"]


@pytest.fixture
async def services(shop: RunningShop, api: Shop, admin: str) -> dict[str, Service]:
    """All services of the shop, healthy, by their nouns."""
    parts = {part["name"].partition("-")[0]: part for part in shop.local.status()["components"]}
    found = {noun: Service(noun, f"http://127.0.0.1:{parts[noun]['port']}", api.session, admin) for noun in SERVICES}
    for service in found.values():
        await wait_until(partial(is_in, service, 200, "ok"), BACK_WITHIN_S, f"{service.noun} to be ready")
    return found


async def is_in(service: Service, status: int, word: str) -> bool:
    try:
        answered, document = await service.health()
    except (aiohttp.ClientError, TimeoutError):
        return False
    return (answered, document["status"]) == (status, word)


def test_the_tables_name_services_of_modules_that_are_off_by_default() -> None:
    assert {"delivery", "player", "restaurant"} <= set(SERVICES) & WITH_BODY.keys() & SECURED.keys()
    assert "achievement" in set(SERVICES) & SECURED.keys()


async def test_every_service_says_what_it_checks_and_measures_its_requests(services: dict[str, Service]) -> None:
    for noun, service in services.items():
        status, document = await service.health()
        assert (status, document["service"]) == (200, noun)
        assert MANIFESTS[noun].database is ("database" in document["checks"]), noun
        assert MANIFESTS[noun].broker <= ("broker" in document["checks"]), noun
        assert (await service.request("GET", "/health/live"))[0] == 200
        await service.request("GET", "/docs")
        metrics = (await service.request("GET", "/metrics"))[2].decode()
        assert [name for name in RED if f"\n{name}" not in metrics] == [], noun


async def test_errors_are_problem_documents(services: dict[str, Service]) -> None:
    """Of all services but the storefront, whose errors are pages."""
    for noun in services.keys() - {"storefront"}:
        await refuses(services[noun])


async def refuses(service: Service) -> None:
    noun = service.noun
    assert await service.problem("GET", f"/api/v1/{noun}-nothing") in {(404, "not_found"), (404, "unknown_service")}
    status, _, _, allow = await service.request("DELETE", "/health")
    assert (status, allow) == (405, "GET, HEAD, OPTIONS")
    assert await service.problem("DELETE", "/health") == (405, "method_not_allowed")
    if noun in WITH_BODY:
        method, path = WITH_BODY[noun]
        json = {"Content-Type": "application/json"}
        assert await service.problem(method, path, data=b"{", headers=json) == (400, "malformed_body")
        assert await service.problem(method, path, json={"nonsense": 1}) == (422, "invalid_request")
        text = {"Content-Type": "text/plain"}
        assert await service.problem(method, path, data=b"{}", headers=text) == (415, "unsupported_media_type")
        assert await too_large(service, method, path) == (413, "body_too_large")
    if noun in SECURED:
        without = {"Authorization": ""}
        assert await service.problem("GET", SECURED[noun], headers=without) == (401, "token_missing")
        wrong = {"Authorization": "Bearer nonsense"}
        assert await service.problem("GET", SECURED[noun], headers=wrong) == (401, "invalid_token")


async def too_large(service: Service, method: str, path: str) -> tuple[int, str]:
    """The answer to the head of a request whose body would be 10 GB."""
    port = int(service.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(f"{head}Authorization: Bearer {service.token}\r\nContent-Length: 10000000000\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), ANSWER_WITHIN_S)
    writer.close()
    start, _, body = answer.partition(b"\r\n\r\n")
    assert f"content-type: {PROBLEM}".encode() in start.lower()
    return read_problem(int(start.split()[1]), body)


async def test_services_are_not_ready_without_their_database_and_again_with_it(
    shop: RunningShop, services: dict[str, Service]
) -> None:
    stored = [service for noun, service in services.items() if MANIFESTS[noun].database]
    async with shop.stopped("postgres"):
        for service in stored:
            await wait_until(partial(is_in, service, 503, "unavailable"), BACK_WITHIN_S, f"{service.noun} to notice")
            assert (await service.request("GET", "/health/live"))[0] == 200
        for noun, path in SECURED.items():
            assert await services[noun].problem("GET", path) == (503, "database_unavailable"), noun
    for service in stored:
        await wait_until(partial(is_in, service, 200, "ok"), BACK_WITHIN_S, f"{service.noun} to be ready again")
    for noun, path in SECURED.items():
        assert (await services[noun].request("GET", path))[0] != 503, noun
    await assert_clean(shop)


async def test_services_go_on_without_the_broker_and_say_so(shop: RunningShop, services: dict[str, Service]) -> None:
    """Events wait in the outbox: taking every pod out of service would not help."""
    publishing = [service for noun, service in services.items() if MANIFESTS[noun].broker]
    async with shop.stopped("nats"):
        for service in publishing:
            await wait_until(partial(is_in, service, 200, "degraded"), BACK_WITHIN_S, f"{service.noun} to notice")
    for service in publishing:
        await wait_until(partial(is_in, service, 200, "ok"), BACK_WITHIN_S, f"{service.noun} to be connected again")
    await assert_clean(shop)


FOR_ALL = {"GET /restaurants/mine", "GET /restaurants", "GET /restaurants/{restaurant_id}"}
"""What any customer may read of food; the menu as well, which the restaurant shows to everybody."""
MENU = "GET /restaurants/{restaurant_id}/menu"
OPERATIONS = ("/api/v1/couriers", "/api/v1/deliveries", "/api/v1/restaurants")


async def test_another_customer_has_no_part_in_deliveries_and_kitchens(
    shop: RunningShop, api: Shop, admin: str
) -> None:
    """Every operation of food with a right body and the ids of what exists: 403 or 404, and nothing is changed."""
    place = await food.kitchen(api, admin)
    crew = await food.couriers(api, admin, 1, place.position)
    customer, other = await api.sign_up_many(2)
    answer = await food.send(api, customer, food.meal(place))
    order = await food.comes_to(api, answer, "confirmed", "fulfilled")
    before = await api.call("GET", f"/deliveries/{order['id']}", admin)
    ids = {"restaurant_id": place.id, "order_id": order["id"], "item_id": place.dish, "user_id": crew[0].user_id}
    ids |= {"day": "2026-12-24", "action": "cancel"}
    tried = 0
    for name, body in (await operations(api)).items():
        method, path = name.split()
        headers = {"Authorization": f"Bearer {other}", "If-Match": "*"}
        url = f"{api.url}/api/v1{path.format_map(ids)}"
        async with api.session.request(method, url, json=body, headers=headers) as response:
            assert (name, response.status) in {(name, 403), (name, 404)}, await response.text()
            assert response.content_type == PROBLEM, name
            read_problem(response.status, await response.read())
        tried += 1
    assert tried >= 25
    after = await api.call("GET", f"/deliveries/{order['id']}", admin)
    assert (after["version"], after["courier"]) == (before["version"], before["courier"])
    await api.call("POST", f"/orders/{order['id']}/cancel", admin)
    await food.end_shift(api, crew[0])
    await assert_clean(shop)


async def operations(api: Shop) -> dict[str, Json | None]:
    """The operations of food that not everybody may use, and an example of the body of each."""
    document = await wait_until(partial(whole_document, api), BACK_WITHIN_S, "the documents of all services")
    found: dict[str, Json | None] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            name = f"{method.upper()} {path.removeprefix('/api/v1')}"
            if path.startswith(OPERATIONS) and name not in FOR_ALL | {MENU}:
                found[name] = _example(document, operation)
    return found


async def whole_document(api: Shop) -> Json | None:
    """The shop's OpenAPI document, once no service is missing."""
    async with api.session.get(f"{api.url}/openapi.json") as response:
        document: Json = await response.json()
    return None if "Not available" in document["info"]["description"] else document


def _example(document: Json, operation: Json) -> Json | None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if not content:
        return None
    schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    example: Json = schema["examples"][0]
    return example
