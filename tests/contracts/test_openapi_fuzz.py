"""Every service answers requests made up from its own OpenAPI document as that document says, and never with a 5xx."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from shop.devkit.embedded import free_port
from tests.architecture.source import service_nouns
from tests.contracts import fuzz
from tests.contracts.arcade import BODY, WITH_EXTERNALS, arcade, remove_other_servers
from tests.contracts.known import CALL_TIMEOUT_S, Food, call, something_of_everything
from tests.load import local_shop
from tests.load.local_shop import LocalShop

pytestmark = pytest.mark.shop

HTML_ONLY = {"storefront"}
"""Its pages are for browsers; it has no OpenAPI document."""
FOOD = {"delivery", "restaurant"}
ARCADE = {"achievement", "leaderboard", "player"}
EXAMPLES = {"gateway": 1, "restaurant": 4}
"""Requests per operation and mode, where the usual number takes too long: the gateway has the operations of all
services, each of which is asked at its own port too, and to make a menu up takes long."""


@dataclass(frozen=True)
class Target:
    """A separate shop, for invalid data; ``bearer`` is the administrator's token.

    ``known`` has an id of everything that requests of retail name, and a card that pays; ``arcade`` what those of the
    arcade name.
    """

    local: LocalShop
    url: str
    bearer: str
    internal_token: str
    known: dict[str, Any]
    food: Food
    arcade: dict[str, Any]

    def base_url(self, noun: str) -> str:
        if noun == "gateway":
            return self.url
        parts = self.local.status()["components"]
        return next(f"http://127.0.0.1:{part['port']}" for part in parts if part["name"].partition("-")[0] == noun)

    def headers(self, path: str) -> dict[str, str]:
        token = self.internal_token if path.startswith("/internal/") else self.bearer
        return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def target(servers_folder: Path) -> Iterator[Target]:
    modules = {"food": True, "arcade": True}
    folder = servers_folder / "fuzz"
    local = local_shop.start(folder, free_port(), modules=modules, env=WITH_EXTERNALS, control_room=True)
    try:
        url, (email, password) = local.status()["url"], local.admin_login()
        token = call(url, "POST", "/tokens", json={"email": email, "password": password})["access_token"]
        secrets = json.loads((local.data_dir / "passwords.json").read_text(encoding="utf-8"))
        known = something_of_everything(url, token)
        yield Target(local, url, token, secrets["internal_token"], known, Food.of(url, token), arcade(url, token))
    finally:
        local.down()


AS_NEW_CUSTOMER = ("POST /users", "POST /tokens", "PATCH /users/me", "POST /tokens/refresh", "DELETE /users/me")
"""Examples that belong together, in the order in which they can be sent."""
PROMOTION = "PUT /promotions/{code}"
DELIVERS = "POST /deliveries/{order_id}/deliver"
PLAYED = "POST /games/{game}/sessions/{session_id}/result"


def examples(url: str) -> dict[str, list[Any]]:
    """The examples of each operation with a body, one of each kind that it has, by method and path below /api/v1."""
    document = fuzz.document(url)
    assert document
    found = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content:
                kinds = [kind["$ref"] for kind in content["schema"].get("anyOf", [content["schema"]])]
                schemas = [document["components"]["schemas"][kind.rpartition("/")[2]] for kind in kinds]
                found[f"{method.upper()} {path.removeprefix('/api/v1')}"] = [one["examples"][0] for one in schemas]
    return found


def with_ids(example: Any, known: dict[str, Any]) -> Any:
    """The example with the ids that only this shop knows."""
    pattern = r'"(product_id|restaurant_id|item_id)": "[^"]+"'
    return json.loads(re.sub(pattern, lambda found: f'"{found[1]}": "{known[found[1]]}"', json.dumps(example)))


def test_the_examples_of_the_documentation_are_accepted(target: Target) -> None:
    """Sent as they are shown, apart from ids, a refresh token and a customer's code, which only this shop knows.

    Those that change the restaurant, which is one of this test's own, come last: they close it.
    """
    own = Food.of(target.url, target.bearer)
    wanted, token = examples(target.url), ""
    known = {**target.arcade, **own.known(), **target.known, "code": wanted["POST /quotes"][0]["coupon"]}
    rest = sorted(set(wanted) - set(AS_NEW_CUSTOMER), key=lambda one: (one != PROMOTION, "/restaurants" in one, one))
    with own.orders(1) as [order_id]:
        own.bring(order_id)
        only_known = {DELIVERS: {"code": own.code(order_id)}, PLAYED: {name: target.arcade[name] for name in BODY}}
        for operation in (*AS_NEW_CUSTOMER, *rest):
            method, path = operation.split()
            named = known | ({"order_id": order_id} if operation == DELIVERS else {})
            only_known["POST /tokens/refresh"] = {"refresh_token": known.get("refresh_token")}
            bearer = token if operation in AS_NEW_CUSTOMER else target.bearer
            for example in wanted[operation]:
                body = with_ids(example, known) | only_known.get(operation, {})
                answer = call(target.url, method, path.format_map(named), bearer, headers={"If-Match": "*"}, json=body)
            if operation == "POST /tokens":
                token, known["refresh_token"] = answer["access_token"], answer["refresh_token"]


@pytest.mark.parametrize("noun", sorted(set(service_nouns()) - HTML_ONLY - FOOD - ARCADE))
def test_service_answers_as_its_document_says(target: Target, noun: str) -> None:
    base_url = target.base_url(noun)
    openapi = fuzz.document(base_url)
    assert openapi, f"{noun} has no OpenAPI document"
    examples = EXAMPLES.get(noun, fuzz.MAX_EXAMPLES)
    assert fuzz.failures(openapi, base_url, target.headers, target.known, max_examples=examples) == []


@pytest.mark.parametrize("noun", sorted(ARCADE))
def test_service_of_the_arcade_answers_as_its_document_says(target: Target, noun: str) -> None:
    base_url = target.base_url(noun)
    openapi = fuzz.document(base_url)
    assert openapi, f"{noun} has no OpenAPI document"
    remove_other_servers(target.url, target.bearer, target.arcade)
    assert fuzz.failures(openapi, base_url, target.headers, target.arcade, must_succeed=True) == []


@pytest.mark.parametrize("noun", sorted(FOOD))
def test_service_of_food_answers_as_its_document_says(target: Target, noun: str) -> None:
    """One order is delivered, one rejected and one dropped; calls between services are about an order of their own."""
    base_url, known, unknown = target.base_url(noun), target.food.known(), str(uuid.uuid4())
    openapi = fuzz.document(base_url)
    assert openapi, f"{noun} has no OpenAPI document"
    with target.food.orders(3) as [delivered, rejected, dropped]:
        code = target.food.code(delivered)

        def known_of(path: str) -> dict[str, Any]:
            if path.startswith("/internal/"):
                return known | {"order_id": unknown}
            orders = {"reject": rejected, "drop": dropped}
            return known | {"order_id": orders.get(path.rpartition("/")[2], delivered), "code": code}

        examples = EXAMPLES.get(noun, fuzz.MAX_EXAMPLES)
        found = fuzz.failures(openapi, base_url, target.headers, known_of, must_succeed=True, max_examples=examples)
        assert found == []


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
