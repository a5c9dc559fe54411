"""Bad input: each is a 4xx with a stable code, and nothing is stored in part."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.order.tests.conftest import ADDRESS, Shop, order_body
from services.order.tests.scripted_services import BOOK
from shop.kit.ids import new_id

URL = "/api/v1/orders"
LINE = {"product_id": BOOK, "quantity": 1}


def lines(**changed: Any) -> dict[str, Any]:
    return {"items": [LINE | changed]}


def address(**changed: Any) -> dict[str, Any]:
    return {"address": ADDRESS | changed}


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"items": []}, "items"),
    ({"items": None}, "items"),
    ({"items": {}}, "items"),
    ({"items": [LINE | {"product_id": str(new_id())} for _ in range(101)]}, "items"),
    ({"items": [LINE | {"quantity": 500}, LINE | {"quantity": 500}]}, "items"),
    *((lines(quantity=quantity), "quantity") for quantity in (0, -1, 1000, 10**30, 1.0, 1.5, True, "1", None, [1])),
    *((lines(product_id=product_id), "product_id") for product_id in ("", "1", 1, None, "x" * 36, "'; DROP TABLE")),
    ({"items": [{}]}, "product_id"),
    ({"address": None}, "address"),
    *(
        (address(country=country), "country")
        for country in ("", "GBR", "G1", "United Kingdom", "ZZ", "XX", "UK", 1, None)
    ),
    *((address(name=name), "name") for name in ("", "   ", "x" * 201, "a\nb", 7, None)),
    *((address(postal_code=code), "postal_code") for code in ("1" * 21, "ABC!!", "SW1Y", "")),
    (address(city=""), "city"),
    (address(country="US", postal_code="94105", region="Bavaria"), "region"),
    ({"payment": {}}, "token"),
    *(({"payment": {"token": token}}, "token") for token in ("", "x" * 256, "two words", "tök", 1, None)),
    *(({"coupon": coupon}, "coupon") for coupon in ("x" * 65, "ünlaut", 5, ["SAVE1"])),
]


@pytest.mark.parametrize(("changed", "field"), BAD_BODIES)
async def test_a_bad_member_is_named(shop: Shop, changed: dict[str, Any], field: str) -> None:
    answer = await shop.place(**changed)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_request")
    assert any(field in error["field"] for error in problem["errors"])
    assert await shop.sql("SELECT FROM orders WHERE user_id = $1", shop.user_id) == []
    assert shop.services.calls == []


GOOD = orjson.dumps(order_body())
RAW: list[tuple[bytes, str, int, str]] = [
    (b"", "application/json", 422, "invalid_request"),
    (b"{", "application/json", 400, "malformed_body"),
    (b"[]", "application/json", 422, "invalid_request"),
    (b"null", "application/json", 422, "invalid_request"),
    (b'"' + b"[" * 30_000, "application/json", 400, "malformed_body"),
    (b"[" * 30_000, "application/json", 400, "malformed_body"),
    (b'{"items": NaN}', "application/json", 400, "malformed_body"),
    (b'{"items": [], "items": []}', "application/json", 400, "duplicate_key"),
    (GOOD.replace(b"Ada", b"\xff\xfe"), "application/json", 400, "invalid_utf8"),
    (GOOD.replace(b"Ada", b"A\\u0000a"), "application/json", 400, "nul_character"),
    (GOOD.replace(b"Ada", b"\\ud800"), "application/json", 400, "invalid_utf8"),
    (GOOD, "text/plain", 415, "unsupported_media_type"),
    (GOOD, "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    (GOOD.replace(b"Ada", b"A" * 70_000), "application/json", 413, "body_too_large"),
]


@pytest.mark.parametrize(("body", "kind", "status", "code"), RAW)
async def test_a_bad_body_is_refused(shop: Shop, body: bytes, kind: str, status: int, code: str) -> None:
    headers = shop.headers | {"Content-Type": kind, "Idempotency-Key": "key"}
    answer = await shop.client.post(URL, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await shop.sql("SELECT FROM orders WHERE user_id = $1", shop.user_id) == []


async def test_prices_from_the_client_are_refused(shop: Shop) -> None:
    answer = await shop.place(items=[LINE | {"unit_price": {"amount": 1, "currency": "EUR"}}], total={"amount": 1})
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"items.0.unit_price", "total"}


async def test_countries_and_coupons_are_written_in_capitals(shop: Shop) -> None:
    order = (await shop.place(address=ADDRESS | {"country": "gb"}, coupon=" save1 ")).json()
    assert (order["address"]["country"], order["coupon"], order["discount"]["amount"]) == ("GB", "SAVE1", 100)


@pytest.mark.parametrize(("country", "postal_code"), [("FI", "00100"), ("US", "94105"), ("HK", "")])
async def test_a_country_that_is_not_served_is_refused_before_anything_is_reserved(
    shop: Shop, country: str, postal_code: str
) -> None:
    wanted = ADDRESS | {"country": country, "postal_code": postal_code}
    answer = await shop.place(address=wanted)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "country_not_served")
    assert [wrong["field"] for wrong in problem["errors"]] == ["address.country"]
    assert await shop.sql("SELECT FROM orders WHERE user_id = $1", shop.user_id) == []
    assert shop.services.calls == []


async def test_an_order_is_answered_again_when_its_country_is_no_longer_served(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await shop.place("kept-key")
    monkeypatch.setattr(shop.service, "_served", frozenset({"FR"}))
    again = await shop.place("kept-key")
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert (await shop.place("new-key")).json()["code"] == "country_not_served"


ROUTES = [
    ("POST", URL), ("GET", URL), ("GET", f"{URL}/all"), ("GET", f"{URL}/{BOOK}"), ("GET", f"{URL}/{BOOK}/history"),
    ("POST", f"{URL}/{BOOK}/cancel"), ("POST", f"{URL}/{BOOK}/fulfil"), ("POST", f"{URL}/{BOOK}/deliver"),
    ("GET", f"{URL}/{BOOK}/events"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "url"), ROUTES)
async def test_every_route_requires_a_valid_token(shop: Shop, method: str, url: str) -> None:
    tokens = {"": "token_missing", shop.tokens.expired(): "token_expired", shop.tokens.forged(): "invalid_token"}
    for token, code in tokens.items():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body = {"json": order_body()} if method == "POST" else {}
        answer = await shop.client.request(method, url, headers=headers, **body)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["code"]) == (401, code)


@pytest.mark.parametrize(
    "query", ["?limit=0", "?limit=101", "?limit=x", "?state=unheard", "?cursor=" + "x" * 600]
)  # fmt: skip
async def test_a_bad_query_is_refused(shop: Shop, query: str) -> None:
    answer = await shop.client.get(URL + query, headers=shop.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("cursor", ["x", "W10", "WyJ4Il0", "bnVsbA", "%00", "WzFd"])
async def test_a_made_up_cursor_is_refused(shop: Shop, cursor: str) -> None:
    answer = await shop.client.get(f"{URL}?cursor={cursor}", headers=shop.headers)
    assert answer.status_code == 400
    assert answer.json()["code"] in ("invalid_cursor", "nul_character")


@pytest.mark.parametrize("order_id", ["1", "x", "all%00", "0190a000"])
async def test_a_malformed_id_is_refused(shop: Shop, order_id: str) -> None:
    answer = await shop.client.get(f"{URL}/{order_id}", headers=shop.headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("invalid_request", "nul_character")


@pytest.mark.parametrize("seen", ["x", "-1", "1e3", "99999999999999999999"])
async def test_a_malformed_last_event_id_is_refused(shop: Shop, seen: str) -> None:
    order = (await shop.place()).json()
    answer = await shop.client.get(f"{URL}/{order['id']}/events", headers=shop.headers | {"Last-Event-ID": seen})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
