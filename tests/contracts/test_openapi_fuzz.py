"""Every service answers requests made up from its own OpenAPI document as that document says, and never with a 5xx."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from shop.devkit.embedded import free_port
from tests.architecture.source import service_nouns
from tests.contracts import fuzz
from tests.load import local_shop
from tests.load.local_shop import LocalShop
from tests.load.shoppers import ADDRESS, CARD

pytestmark = pytest.mark.shop

HTML_ONLY = {"storefront"}
"""Its pages are for browsers; it has no OpenAPI document."""
CALL_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Target:
    """A separate shop, for invalid data; ``bearer`` is the administrator's token.

    ``known`` has an id of everything that requests name, and a card that pays.
    """

    local: LocalShop
    url: str
    bearer: str
    internal_token: str
    known: dict[str, str]

    def base_url(self, noun: str) -> str:
        if noun == "gateway":
            return self.url
        parts = self.local.status()["components"]
        return next(f"http://127.0.0.1:{part['port']}" for part in parts if part["name"].partition("-")[0] == noun)

    def headers(self, path: str) -> dict[str, str]:
        token = self.internal_token if path.startswith("/internal/") else self.bearer
        return {"Authorization": f"Bearer {token}"}


def call(url: str, method: str, path: str, token: str = "", key: str = "known-order", **options: Any) -> Any:
    """The JSON answer of the shop's public API, which must be 2xx; None for an empty one."""
    headers = {"Idempotency-Key": key, **({"Authorization": f"Bearer {token}"} if token else {})}
    answer = requests.request(method, f"{url}/api/v1{path}", headers=headers, timeout=CALL_TIMEOUT_S, **options)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def something_of_everything(url: str, token: str) -> dict[str, str]:
    """Ids of a product, an order with its payment, and an address, by the names that requests have for them."""
    product_id = call(url, "GET", "/products?limit=1")["items"][0]["id"]
    items = [{"product_id": product_id, "quantity": 1}]
    body = {"items": items, "address": ADDRESS, "payment": {"token": CARD}}
    order_id = call(url, "POST", "/orders", token, json=body)["id"]
    payment_id = call(url, "GET", f"/payments?order_id={order_id}", token)["items"][0]["id"]
    address_id = call(url, "POST", "/users/me/addresses", token, json=ADDRESS)["id"]
    ids = {"product_id": product_id, "order_id": order_id, "payment_id": payment_id, "address_id": address_id}
    return {**ids, "token": CARD, "country": ADDRESS["country"]}


@pytest.fixture(scope="module")
def target(servers_folder: Path) -> Iterator[Target]:
    local = local_shop.start(servers_folder / "fuzz", free_port(), modules={"food": True})
    try:
        url, (email, password) = local.status()["url"], local.admin_login()
        token = call(url, "POST", "/tokens", json={"email": email, "password": password})["access_token"]
        secrets = json.loads((local.data_dir / "passwords.json").read_text(encoding="utf-8"))
        yield Target(local, url, token, secrets["internal_token"], something_of_everything(url, token))
    finally:
        local.down()


AS_NEW_CUSTOMER = ("POST /users", "POST /tokens", "PATCH /users/me", "POST /tokens/refresh", "DELETE /users/me")
"""Examples that belong together, in the order in which they can be sent."""
PROMOTION = "PUT /promotions/{code}"


def examples(url: str) -> dict[str, Any]:
    """The example of each operation with a body, by method and path below /api/v1; of a body that has several kinds
    that of the first, which every shop has."""
    document = fuzz.document(url)
    assert document
    found = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content:
                body = content["schema"].get("anyOf", [content["schema"]])[0]
                schema = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
                found[f"{method.upper()} {path.removeprefix('/api/v1')}"] = schema["examples"][0]
    return found


def test_the_examples_of_the_documentation_are_accepted(target: Target) -> None:
    """Sent as they are shown, apart from ids and a refresh token, which only this shop knows."""
    wanted, token = examples(target.url), ""
    known = {**target.known, "code": wanted["POST /quotes"]["coupon"]}
    rest = sorted(set(wanted) - set(AS_NEW_CUSTOMER), key=lambda operation: (operation != PROMOTION, operation))
    for operation in (*AS_NEW_CUSTOMER, *rest):
        method, path = operation.split()
        text = re.sub(r'"product_id": "[^"]+"', f'"product_id": "{known["product_id"]}"', json.dumps(wanted[operation]))
        body = json.loads(text) | ({"refresh_token": known["refresh_token"]} if operation.endswith("refresh") else {})
        bearer = token if operation in AS_NEW_CUSTOMER else target.bearer
        answer = call(target.url, method, path.format_map(known), bearer, "example", json=body)
        if operation == "POST /tokens":
            token, known["refresh_token"] = answer["access_token"], answer["refresh_token"]


@pytest.mark.parametrize("noun", sorted(set(service_nouns()) - HTML_ONLY))
def test_service_answers_as_its_document_says(target: Target, noun: str) -> None:
    base_url = target.base_url(noun)
    openapi = fuzz.document(base_url)
    assert openapi, f"{noun} has no OpenAPI document"
    assert fuzz.failures(openapi, base_url, target.headers, target.known) == []


def test_every_path_names_its_methods_through_the_gateway_without_a_token(target: Target) -> None:
    document = fuzz.document(target.url)
    assert document
    for path, operations in document["paths"].items():
        url = target.url + re.sub(r"\{\w+\}", "x", path)
        methods = {method.upper() for method in operations} & {"GET", "POST", "PUT", "PATCH", "DELETE"}
        expected = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        answer = requests.options(url, timeout=CALL_TIMEOUT_S)
        assert (answer.status_code, path) == (204, path)
        assert set(answer.headers["Allow"].split(", ")) >= expected, path


@pytest.mark.parametrize("path", ["/", "/cart", "/docs", "/openapi.json", "/health", "/metrics", "/api/v1/products"])
def test_head_through_the_gateway_is_get_without_a_body(target: Target, path: str) -> None:
    head, get = (requests.request(method, target.url + path, timeout=CALL_TIMEOUT_S) for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


def test_every_service_is_healthy_after_invalid_requests(target: Target) -> None:
    parts = target.local.status()["components"]
    assert [part["name"] for part in parts if not part["healthy"] or part["restarts"]] == []
