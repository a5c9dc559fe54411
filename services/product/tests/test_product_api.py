"""The catalogue's HTTP interface: finding, paging, changing, and refusing what is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

import shop.product
from services.product.tests.product_service import RunningService, new_product
from shop.devkit.testing import INTERNAL_TOKEN, Logged
from shop.kit import text
from shop.kit.ids import new_id

HUGE = 10**30
NOBODY = UUID(int=7)


async def names(service: RunningService, **params: Any) -> list[str]:
    answer = await service.client.get("/api/v1/products", params=params)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


async def test_a_product_has_the_documented_members(service: RunningService) -> None:
    product = await service.product(stock=3, sku="MM-1")
    answer = await service.client.get(f"/api/v1/products/{product}")
    assert answer.json() == {
        "id": str(product),
        "sku": "MM-1",
        "name": "Middlemarch",
        "description": "A study of provincial life.",
        "category": "novel",
        "price": {"amount": 1_299, "currency": "EUR"},
        "stock": 3,
        "image_url": f"/api/v1/products/{product}/cover.svg",
        "attributes": {"author": "George Eliot", "year": 1871, "language": "English", "pages": 880},
    }


async def test_pages_hold_every_product_once_in_order(service: RunningService) -> None:
    titles = ["The Idiot", "Émile", "A Room", "Dracula", "dracula", "Zadig", "Emma"]
    for position, name in enumerate(titles):
        await service.product(name=name, price={"amount": 100 * (position // 2), "currency": "EUR"})
    for sort, expected in {
        "name": ["Dracula", "dracula", "Émile", "Emma", "The Idiot", "A Room", "Zadig"],
        "newest": titles[::-1],
    }.items():
        found, cursor = [], None
        for _ in range(10):
            params = {"sort": sort, "limit": "2", **({"cursor": cursor} if cursor else {})}
            page = (await service.client.get("/api/v1/products", params=params)).json()
            found += [item["name"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == expected
    prices = [
        item["price"]["amount"] for item in (await service.client.get("/api/v1/products?sort=-price")).json()["items"]
    ]
    assert prices == sorted(prices, reverse=True)


async def test_words_find_titles_authors_and_beginnings(service: RunningService) -> None:
    await service.product(name="Jane Eyre", attributes={"author": "Charlotte Brontë"})
    await service.product(name="Shirley", attributes={"author": "Charlotte Brontë"}, category="history")
    await service.product(name="Emma", attributes={"author": "Jane Austen"})
    assert await names(service, query="bronte") == ["Jane Eyre", "Shirley"]
    assert await names(service, query="jan") == ["Emma", "Jane Eyre"]
    assert await names(service, query="CHARL eyr") == ["Jane Eyre"]
    assert await names(service, query="charlotte", category="history") == ["Shirley"]
    for nothing in ("nobody", "!!!", "' | &", "x:*y"):
        assert await names(service, query=nothing) == []


MIGRATION = Path(str(shop.product.__file__)).parent / "migrations" / "0002.search-folding.sql"
WRITTEN_BEFORE = """
INSERT INTO products (id, sku, name, sort_name, description, category, price, currency, stock, search,
                      created_at, updated_at)
VALUES ($1, $2, $3, lower($3), '', 'novel', 1, 'EUR', 0, to_tsvector('simple', lower($3)), now(), now())"""


async def test_accented_letters_are_found_and_sorted(service: RunningService) -> None:
    for name in ("Søren’s Œuvre", "Sort", "Łódź", "Straße"):
        await service.product(name=name)
    for words in ("soren oeuvre", "SØREN œuvre", "søren", "So\u200bren"):
        assert await names(service, query=words) == ["Søren’s Œuvre"], words
    assert await names(service, query="lodz") == ["Łódź"]
    assert await names(service, query="strasse") == await names(service, query="STRAẞE") == ["Straße"]
    assert await names(service) == ["Łódź", "Søren’s Œuvre", "Sort", "Straße"]


async def test_products_of_the_version_before_are_found_by_folded_letters(service: RunningService) -> None:
    await service.database.execute(MIGRATION.with_suffix(".rollback.sql").read_text(encoding="utf-8"))
    await service.database.execute(WRITTEN_BEFORE, new_id(), "BEFORE", "Søren Ærø")
    await service.database.execute(MIGRATION.read_text(encoding="utf-8"))
    await service.database.execute(WRITTEN_BEFORE, new_id(), "MEANWHILE", "Søren Bæk")
    assert await names(service, query="soren") == ["Søren Ærø", "Søren Bæk"]
    assert await names(service, query="aero") == ["Søren Ærø"]
    kept = "SELECT count(*) FROM products WHERE search @@ to_tsquery('simple', 'søren') AND sort_name LIKE 'soren%'"
    assert await service.database.fetchval(kept) == 2


async def test_database_and_service_fold_the_same_letters(service: RunningService) -> None:
    letters = " ".join(text.LETTERS)
    assert await service.database.fetchval("SELECT fold_letters($1)", letters) == text.folded(letters)


@pytest.mark.parametrize("field", ["name", "description"])
async def test_texts_of_products_have_no_invisible_characters(service: RunningService, field: str) -> None:
    body = new_product(**{field: "Pale\u202e Fire"})
    answer = await service.client.post("/api/v1/products", json=body, headers=service.admin)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    body = new_product(**{field: " Cafe\u0301 \n" if field == "description" else " Cafe\u0301\u00a0"})
    made = await service.client.post("/api/v1/products", json=body, headers=service.admin)
    assert made.json()[field] == "Café"


async def test_categories_are_counted(service: RunningService) -> None:
    for category in ("poetry", "novel", "poetry"):
        await service.product(category=category)
    answer = await service.client.get("/api/v1/products/categories")
    assert answer.json()["items"] == [{"name": "novel", "count": 1}, {"name": "poetry", "count": 2}]


async def test_products_by_id(service: RunningService) -> None:
    products = [await service.product() for _ in range(3)]
    ids = ",".join(str(product) for product in [*products[:2], new_id()])
    answer = await service.client.get("/api/v1/products", params={"ids": ids})
    assert {item["id"] for item in answer.json()["items"]} == {str(product) for product in products[:2]}


async def test_a_change_is_seen_at_once_and_found_by_its_new_name(service: RunningService) -> None:
    product = await service.product()
    await service.stock(product)
    change = {"name": "Silas Marner", "price": {"amount": 555, "currency": "EUR"}}
    answer = await service.client.patch(f"/api/v1/products/{product}", json=change, headers=service.admin)
    assert answer.json()["name"] == "Silas Marner"
    seen = (await service.client.get(f"/api/v1/products/{product}")).json()
    assert (seen["name"], seen["price"]["amount"], seen["description"]) == (
        "Silas Marner",
        555,
        "A study of provincial life.",
    )
    assert await names(service, query="silas") == ["Silas Marner"]
    assert await names(service, query="middlemarch") == []


async def test_stock_moves_once_per_key_and_never_below_zero(service: RunningService, logged: Logged) -> None:
    product = await service.product(stock=2)
    path, headers = f"/api/v1/products/{product}/stock", service.admin
    keyed = headers | {"Idempotency-Key": "delivery-7"}
    answers = await asyncio.gather(*(service.client.post(path, json={"delta": 5}, headers=keyed) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert await service.stock(product) == 7
    (line,) = logged(event="stock_changed", product_id=str(product))
    assert (line["delta"], line["stock"], bool(line["admin_id"])) == (5, 7, True)
    refused = await service.client.post(path, json={"delta": -8}, headers=headers)
    assert (refused.status_code, refused.json()["code"], refused.json()["available"]) == (409, "insufficient_stock", 7)
    overflow = await service.client.post(path, json={"delta": 10**9}, headers=headers)
    assert overflow.status_code == 200
    beyond = await service.client.post(path, json={"delta": 10**9}, headers=headers)
    assert beyond.status_code == 200
    beyond = await service.client.post(path, json={"delta": 10**9}, headers=headers)
    assert (beyond.status_code, beyond.json()["code"]) == (409, "stock_too_large")
    assert [error["field"] for error in beyond.json()["errors"]] == ["delta"]
    await service.assert_conserved()
    missing = await service.client.post(f"/api/v1/products/{new_id()}/stock", json={"delta": 1}, headers=headers)
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_product")


async def test_a_sku_is_used_once(service: RunningService) -> None:
    answers = await asyncio.gather(
        *(service.client.post("/api/v1/products", json=new_product(sku="ONE"), headers=service.admin) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    assert {answer.json().get("code") for answer in answers} == {None, "sku_taken"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": {"amount": -1, "currency": "EUR"}},
        {"price": {"amount": HUGE, "currency": "EUR"}},
        {"price": {"amount": 1.5, "currency": "EUR"}},
        {"price": {"amount": 1, "currency": "USD"}},
        {"price": {"amount": 1, "currency": "eur"}},
        {"stock": -1},
        {"stock": HUGE},
        {"stock": True},
        {"name": "   "},
        {"name": "x" * 301},
        {"sku": "no spaces"},
        {"category": "No Such Form"},
        {"attributes": {"Bad Name": 1}},
        {"attributes": {"nested": {"a": 1}}},
        {"attributes": {f"a{number}": number for number in range(31)}},
        {"surprise": 1},
    ],
)
async def test_wrong_products_are_refused(service: RunningService, wrong: dict[str, Any]) -> None:
    answer = await service.client.post("/api/v1/products", json=new_product() | wrong, headers=service.admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"]
    assert await service.database.fetchval("SELECT count(*) FROM products") == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/products/seven", 422),
        (f"/api/v1/products/{NOBODY}", 404),
        (f"/api/v1/products/{NOBODY}/cover.svg", 404),
        ("/api/v1/products?limit=0", 422),
        ("/api/v1/products?limit=101", 422),
        ("/api/v1/products?sort=weight", 422),
        ("/api/v1/products?cursor=nonsense", 400),
        ("/api/v1/products?cursor=WyJuYW1lIiwxLDJd", 400),
        ("/api/v1/products?ids=seven", 422),
        (f"/api/v1/products?ids={','.join([str(NOBODY)] * 101)}", 422),
        ("/api/v1/products?query=%00", 400),
        (f"/api/v1/products?query={'x' * 201}", 422),
        (f"/api/v1/products?query={quote('𝔘' * 50)}", 200),
    ],
)
async def test_invalid_queries_are_4xx(service: RunningService, path: str, status: int) -> None:
    answer = await service.client.get(path)
    assert answer.status_code == status, answer.text


async def test_a_cursor_belongs_to_its_sort_order(service: RunningService) -> None:
    for _ in range(3):
        await service.product()
    cursor = (await service.client.get("/api/v1/products?limit=1&sort=price")).json()["next_cursor"]
    answer = await service.client.get("/api/v1/products", params={"cursor": cursor, "sort": "newest"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{"order_id": "x", "lines": []}],
        [{"order_id": str(NOBODY), "lines": []}],
        [{"order_id": str(NOBODY), "lines": [{"product_id": str(NOBODY), "quantity": 0}]}],
        [{"order_id": str(NOBODY), "lines": [{"product_id": str(NOBODY), "quantity": HUGE}]}],
        [{"order_id": str(NOBODY), "lines": [{"product_id": str(NOBODY), "quantity": 1}]}] * 257,
    ],
)
async def test_wrong_batches_are_refused(service: RunningService, items: list[Any]) -> None:
    headers = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}
    answer = await service.client.post("/internal/reservations", json={"items": items}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_only_services_reserve_and_only_administrators_change(service: RunningService) -> None:
    customer = service.tokens.headers()
    product = await service.product()
    for method, path, body in [
        ("POST", "/internal/reservations", {"items": []}),
        ("POST", "/internal/reservations/release", {"items": []}),
        ("POST", "/api/v1/products", new_product()),
        ("PATCH", f"/api/v1/products/{product}", {}),
        ("POST", f"/api/v1/products/{product}/stock", {"delta": 1}),
    ]:
        assert (await service.client.request(method, path, json=body, headers=customer)).status_code == 403
        assert (await service.client.request(method, path, json=body)).status_code == 401


async def test_a_cover_is_drawn_and_kept_by_the_browser(service: RunningService) -> None:
    product = await service.product(name='<script>"&', attributes={"author": "O'Brien & <b>"})
    answer = await service.client.get(f"/api/v1/products/{product}/cover.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "<script" not in answer.text
    assert "max-age" in answer.headers["cache-control"]
    again = await service.client.get(
        f"/api/v1/products/{product}/cover.svg", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


async def test_the_catalogue_is_compressed(service: RunningService) -> None:
    for number in range(10):
        await service.product(sku=f"MM-{number}")
    answer = await service.client.get("/api/v1/products", headers={"Accept-Encoding": "gzip"})
    assert (answer.headers["Content-Encoding"], len(answer.json()["items"])) == ("gzip", 10)
