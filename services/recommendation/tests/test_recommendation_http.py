"""Recommendations over HTTP: the same as over gRPC, and what administrators see."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from services.recommendation.tests.recommending import HTTP, Shop, confirmed, ids
from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.kit.ids import new_id


async def some_orders(shop: Shop, user: UUID) -> list[UUID]:
    """Products of which the user bought the first."""
    books = await shop.products.add_many(12)
    await shop.catalogue_is_read()
    await shop.learn(*(confirmed(new_id(), *books[:4]) for _ in range(3)), confirmed(user, books[0]))
    return books


def same(item: dict[str, Any], message: messages.Recommendation) -> bool:
    return (item["id"], item["name"], item["score"], item["reason"], item["reason_product_id"] or "") == (
        message.id,
        message.title,
        message.score,
        message.reason,
        message.reason_product_id,
    )


async def test_http_gives_the_same_as_grpc(shop: Shop, user: UUID) -> None:
    books = await some_orders(shop, user)
    token = shop.tokens.headers(user_id=user)
    pairs = [
        (await shop.replica.get(token), await shop.replica.recommend(user)),
        (await shop.replica.get(), await shop.replica.recommend()),
        (await shop.replica.get(token, max_results=3), await shop.replica.recommend(user, 3)),
        (await shop.replica.get(category="novel"), await shop.replica.recommend(category="novel")),
        (await shop.replica.get(product_id=str(books[1])), await shop.replica.similar(books[1])),
        (await shop.replica.get(token, product_id=str(books[1])), await shop.replica.similar(books[1], user=user)),
    ]
    for document, found in pairs:
        assert len(document["items"]) == len(found) > 0
        assert all(same(item, message) for item, message in zip(document["items"], found, strict=True))


async def test_item_is_the_product_with_its_reason(shop: Shop, user: UUID) -> None:
    books = await some_orders(shop, user)
    item = (await shop.replica.get(max_results=1))["items"][0]
    assert shop.products.client is not None
    product = (await shop.products.client.get(f"/api/v1/products/{item['id']}")).json()
    reason = {"reason": "Popular now", "reason_kind": "popular", "reason_product_id": None, "score": item["score"]}
    assert item == product | reason
    assert UUID(item["id"]) in books[:4]


async def test_personal_answers_are_not_cached_by_others(shop: Shop, user: UUID) -> None:
    anonymous = await shop.replica.http.get(HTTP)
    personal = await shop.replica.http.get(HTTP, headers=shop.tokens.headers(user_id=user))
    assert anonymous.headers["cache-control"] == "public, no-cache"
    assert personal.headers["cache-control"] == "private, no-store"


async def test_wrong_token_is_refused_although_none_is_needed(shop: Shop) -> None:
    for token, code in ((shop.tokens.expired(), "token_expired"), (shop.tokens.forged(), "invalid_token")):
        answer = await shop.replica.http.get(HTTP, headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (401, code)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"max_results": -1}, "max_results"),
        ({"max_results": 101}, "max_results"),
        ({"max_results": "many"}, "max_results"),
        ({"product_id": "x"}, "product_id"),
        ({"category": "x" * 61}, "category"),
    ],
)
async def test_invalid_parameter_is_named(shop: Shop, parameters: dict[str, Any], field: str) -> None:
    answer = await shop.replica.http.get(HTTP, params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_model_is_shown_to_administrators(shop: Shop, user: UUID) -> None:
    books = await some_orders(shop, user)
    seen = await shop.replica.get(shop.tokens.headers("admin"), "/model")
    assert (seen["orders"], seen["products"], seen["pairs"]) == (4, 4, 6)
    assert seen["coverage"] == pytest.approx(4 / 12)
    assert seen["version"] == shop.replica.service.loaded.version
    assert 0 <= seen["age_s"] < 60
    pairs = seen["strongest_pairs"]
    assert [pair["orders"] for pair in pairs] == [3] * 6
    assert {UUID(pair["product_id"]) for pair in pairs} | {UUID(pair["other_product_id"]) for pair in pairs} == {
        *books[:4]
    }
    assert all(pair["title"].startswith("Book") and pair["other_title"].startswith("Book") for pair in pairs)
    assert len(seen["customers"]) == 4
    assert str(user) not in str(seen)


async def test_model_of_a_new_shop(shop: Shop) -> None:
    seen = await shop.replica.get(shop.tokens.headers("admin"), "/model")
    assert (seen["version"], seen["trained_at"], seen["age_s"], seen["orders"]) == (0, None, None, 0)


async def test_preview_is_what_the_customer_sees(shop: Shop, user: UUID) -> None:
    books = await some_orders(shop, user)
    admin = shop.tokens.headers("admin")
    own = (await shop.replica.get(shop.tokens.headers(user_id=user)))["items"]
    customers = (await shop.replica.get(admin, "/model"))["customers"]
    previews = [await shop.replica.get(admin, "/preview", customer=customer) for customer in customers]
    [preview] = [one for one in previews if one["purchases"] == [{"product_id": str(books[0]), "title": "Book 00"}]]
    assert preview["items"] == own
    assert str(user) not in str(previews)


async def test_only_administrators_see_the_model_and_customers(shop: Shop, user: UUID) -> None:
    for path in ("/model", f"/preview?customer={uuid4()}"):
        answer = await shop.replica.http.get(HTTP + path, headers=shop.tokens.headers(user_id=user))
        assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")
        assert (await shop.replica.http.get(HTTP + path)).status_code == 401


async def test_user_id_is_not_an_anonymised_id(shop: Shop, user: UUID) -> None:
    await some_orders(shop, user)
    admin = shop.tokens.headers("admin")
    answer = await shop.replica.http.get(f"{HTTP}/preview", params={"customer": str(user)}, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_customer")


async def test_service_is_ready(shop: Shop) -> None:
    answer = await shop.replica.http.get("/health/ready")
    assert (answer.status_code, answer.json()["status"], answer.json()["checks"]["catalogue"]) == (200, "ok", "ok")


async def test_what_was_recommended_and_left_out_is_counted(shop: Shop, user: UUID) -> None:
    books = await some_orders(shop, user)
    sold_out = await shop.products.add("Sold out", stock=0)
    await shop.learn(*(confirmed(new_id(), sold_out) for _ in range(9)))
    before = await metrics(shop)
    found = await shop.replica.recommend(user, without=[books[5]])
    after = await metrics(shop)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    shown = sum(grown.get(f'shop_recommendation_results_total{{kind="{kind}"}}', 0) for kind in KINDS)
    assert shown == len(ids(found)) == 10
    assert grown['shop_recommendation_filtered_total{reason="bought_or_excluded"}'] >= 1
    assert grown['shop_recommendation_filtered_total{reason="sold_out_or_withdrawn"}'] >= 1
    assert after["shop_recommendation_model_orders"] == 13
    assert after["shop_recommendation_training_seconds_count"] >= 1
    assert 0 <= after["shop_recommendation_model_age_seconds"] < 60


KINDS = ("because_you_bought", "popular", "in_catalogue")


async def metrics(shop: Shop) -> dict[str, float]:
    lines = (await shop.replica.http.get("/metrics")).text.splitlines()
    samples = (line.rpartition(" ") for line in lines if line.startswith("shop_recommendation_"))
    return {name: float(value) for name, _, value in samples}
