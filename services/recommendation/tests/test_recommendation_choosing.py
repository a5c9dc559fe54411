"""Which products are recommended, with a real product service, database and broker."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from services.recommendation.tests.recommending import Shop, confirmed, ids
from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.devkit.testing import wait_until
from shop.kit.errors import Problem
from shop.kit.ids import new_id
from shop.recommendation import catalogue


async def bought_together_often(shop: Shop, *products: UUID, times: int = 5) -> None:
    await shop.learn(*(confirmed(new_id(), *products) for _ in range(times)))


async def test_what_others_bought_as_well_comes_first_with_its_reason(shop: Shop, user: UUID) -> None:
    dune, emma = await shop.products.add("Dune"), await shop.products.add("Emma")
    await shop.products.add_many(5)
    await bought_together_often(shop, dune, emma)
    await shop.buy(user, dune)
    first = (await shop.replica.recommend(user))[0]
    assert (UUID(first.id), first.title, first.reason) == (emma, "Emma", "Because you bought Dune")
    assert (first.reason_kind, first.reason_product_id, first.reason_product_title) == (
        messages.REASON_KIND_BECAUSE_YOU_BOUGHT,
        str(dune),
        "Dune",
    )


async def test_similar_and_bought_together_say_why(shop: Shop) -> None:
    dune, emma = await shop.products.add("Dune"), await shop.products.add("Emma")
    await shop.products.add_many(5)
    await bought_together_often(shop, dune, emma)
    similar = (await shop.replica.similar(dune))[0]
    assert (UUID(similar.id), similar.reason) == (emma, "Customers who bought Dune also bought this")
    together = (await shop.replica.together([dune]))[0]
    assert (UUID(together.id), together.reason) == (emma, "Often bought together with Dune")
    kinds = (similar.reason_kind, together.reason_kind)
    assert kinds == (messages.REASON_KIND_OTHERS_ALSO_BOUGHT, messages.REASON_KIND_BOUGHT_TOGETHER)


async def test_without_orders_the_catalogue_is_shown_the_newest_first(shop: Shop, user: UUID) -> None:
    books = await shop.products.add_many(12)
    await shop.catalogue_is_read()
    for found in (await shop.replica.recommend(user), await shop.replica.recommend()):
        assert ids(found) == books[::-1][:10]
        assert {(one.reason, one.score) for one in found} == {("More from our shop", 0.0)}
        assert {one.reason_kind for one in found} == {messages.REASON_KIND_IN_CATALOGUE}


async def test_without_a_history_favourites_come_first(shop: Shop, user: UUID) -> None:
    books = await shop.products.add_many(6)
    await shop.catalogue_is_read()
    await shop.learn(*(confirmed(new_id(), books[2]) for _ in range(3)), confirmed(new_id(), books[4]))
    found = await shop.replica.recommend(user)
    assert ids(found)[:2] == [books[2], books[4]]
    assert [one.reason for one in found[:3]] == ["Popular now", "Popular now", "More from our shop"]
    assert sorted(ids(found)) == sorted(books)


async def test_favourites_of_the_products_category_fill_up_first(shop: Shop) -> None:
    novel, poem, other_poem = (
        await shop.products.add("A novel"),
        await shop.products.add("A poem", category="poetry"),
        await shop.products.add("Another poem", category="poetry"),
    )
    await shop.catalogue_is_read()
    await shop.learn(*(confirmed(new_id(), novel) for _ in range(5)), confirmed(new_id(), other_poem))
    found = await shop.replica.similar(poem)
    assert ids(found) == [other_poem, novel]
    assert [one.reason for one in found] == ["Popular in poetry", "Popular now"]


async def every_way(shop: Shop, user: UUID, product: UUID, without: Sequence[UUID] = ()) -> list[list[UUID]]:
    """What each method recommends to the user: three calls over gRPC, two over HTTP, which knows no exclusion."""
    replica, headers = shop.replica, shop.tokens.headers(user_id=user)
    over_http = [
        (await replica.get(headers, max_results=100))["items"],
        (await replica.get(headers, product_id=str(product), max_results=100))["items"],
    ]
    return [
        ids(await replica.recommend(user, 100, without=without)),
        ids(await replica.similar(product, 100, user=user, without=without)),
        ids(await replica.together([product], 100, user=user, without=without)),
        *([UUID(one["id"]) for one in items] for items in over_http),
    ]


async def test_bought_excluded_and_named_products_are_never_shown(shop: Shop, user: UUID) -> None:
    books = await shop.products.add_many(8)
    await shop.catalogue_is_read()
    await bought_together_often(shop, *books)
    await shop.buy(user, books[0], books[1])
    excluded, named = books[2:4], books[4]
    found = [sorted(part) for part in await every_way(shop, user, named, excluded)]
    assert found[:3] == [sorted(books[4:]), sorted(books[5:]), sorted(books[5:])]
    assert found[3:] == [sorted(books[2:]), sorted([*books[2:4], *books[5:]])]


async def test_sold_out_products_go_within_the_second_and_return(shop: Shop, user: UUID) -> None:
    books = await shop.products.add_many(4, stock=1)
    await shop.catalogue_is_read()
    await bought_together_often(shop, *books)
    assert len(await shop.replica.recommend(user)) == 4
    await shop.products.stock(books[1], -1)
    rest = sorted([books[0], *books[2:]])

    other = await shop.products.add("Bought by nobody")

    async def shows(expected: list[UUID]) -> bool:
        return all(sorted({*part} - {other}) == expected for part in await every_way(shop, user, other))

    await wait_until(lambda: shows(rest))
    await shop.catalogue_is_read()
    assert await shows(rest)
    await shop.products.stock(books[1], 1)
    await wait_until(lambda: shows(sorted(books)))


async def test_products_that_the_catalogue_does_not_have_are_never_shown(shop: Shop, user: UUID) -> None:
    book, unknown = await shop.products.add(), new_id()
    await bought_together_often(shop, book, unknown)
    assert ids(await shop.replica.recommend(user)) == [book]
    assert ids(await shop.replica.together([unknown])) == [book]
    await shop.buy(user, book)
    assert ids(await shop.replica.recommend(user)) == []


async def test_reason_about_a_product_that_is_gone_does_not_name_it(shop: Shop, user: UUID) -> None:
    book, unknown = await shop.products.add(), new_id()
    await bought_together_often(shop, book, unknown)
    await shop.buy(user, unknown)
    [found] = await shop.replica.recommend(user)
    assert (found.reason, found.reason_product_title) == ("Because of what you bought", "")


async def test_there_are_as_many_as_asked_for_while_the_catalogue_has_them(shop: Shop, user: UUID) -> None:
    books = await shop.products.add_many(25)
    sold_out = await shop.products.add_many(25, stock=0)
    await shop.catalogue_is_read()
    await bought_together_often(shop, *books[:5], *sold_out[:5])
    await shop.buy(user, books[0])
    assert len(await shop.replica.recommend(user, 24)) == 24
    assert sorted(ids(await shop.replica.recommend(user, 100))) == sorted(books[1:])
    assert len(await shop.replica.similar(books[3], 24)) == 24
    assert len(await shop.replica.together([books[3], books[4]], 23)) == 23


async def test_first_results_do_not_depend_on_their_number(shop: Shop, user: UUID) -> None:
    books = await shop.products.add_many(30)
    poems = await shop.products.add_many(5, category="poetry")
    await shop.products.stock(books[3], -10)
    await shop.catalogue_is_read()
    for start in range(0, 20, 2):
        await bought_together_often(shop, *books[start : start + 6], poems[0], times=2)
    await shop.buy(user, books[0], books[7])
    replica = shop.replica

    async def answers(count: int) -> list[list[messages.Recommendation]]:
        return [
            await replica.recommend(user, count, without=[books[2]]),
            await replica.recommend(None, count),
            await replica.recommend(user, count, category="poetry"),
            await replica.similar(books[5], count, user=user, without=[books[2]]),
            await replica.together([books[5], poems[0]], count, without=[books[2]]),
        ]

    all_of_them = await answers(100)
    assert [len(found) for found in all_of_them] == [31, 34, 5, 30, 31]
    for count in range(1, 35):
        assert await answers(count) == [found[:count] for found in all_of_them]
    for found in all_of_them:
        scores = [one.score for one in found]
        assert scores == sorted(scores, reverse=True)


async def test_category_is_kept_and_an_unknown_one_is_empty(shop: Shop, user: UUID) -> None:
    novels = await shop.products.add_many(3)
    poems = await shop.products.add_many(3, category="poetry")
    await shop.catalogue_is_read()
    await bought_together_often(shop, *novels, *poems[:2])
    await shop.buy(user, novels[0])
    found = await shop.replica.recommend(user, category="poetry")
    assert sorted(ids(found)) == sorted(poems)
    assert ids(await shop.replica.recommend(user, category="cooking")) == []
    anonymous = await shop.replica.recommend(category="poetry")
    assert [one.reason for one in anonymous] == ["Popular in poetry", "Popular in poetry", "More from our shop"]


async def test_product_that_moved_to_another_category_is_in_that_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = await shop.products.add()
    await shop.catalogue_is_read()
    assert ids(await shop.replica.recommend(category="novel")) == [book]
    await shop.products.move(book, "poetry")
    known, now = shop.replica.service.catalogue, shop.replica.service.catalogue._now
    monkeypatch.setattr(known, "_now", lambda: now() + catalogue.FRESH_S)
    assert ids(await shop.replica.recommend(category="novel")) == []
    await shop.catalogue_is_read()
    assert ids(await shop.replica.recommend(category="poetry")) == [book]


async def test_unknown_product_is_a_problem(shop: Shop) -> None:
    unknown = new_id()
    with pytest.raises(Problem) as caught:
        await shop.replica.similar(unknown)
    assert (caught.value.status, caught.value.code) == (404, "unknown_product")
    answer = await shop.replica.http.get("/api/v1/recommendations", params={"product_id": str(unknown)})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_product")


MANY = [str(new_id()) for _ in range(101)]
INVALID = [
    ("Recommend", messages.RecommendRequest(max_results=-1), "max_results"),
    ("Recommend", messages.RecommendRequest(max_results=101), "max_results"),
    ("Recommend", messages.RecommendRequest(user_id="x"), "user_id"),
    ("Recommend", messages.RecommendRequest(category="x" * 61), "category"),
    ("Recommend", messages.RecommendRequest(excluded_product_ids=["x"]), "excluded_product_ids"),
    ("Recommend", messages.RecommendRequest(excluded_product_ids=MANY), "excluded_product_ids"),
    ("SimilarTo", messages.SimilarToRequest(), "product_id"),
    ("SimilarTo", messages.SimilarToRequest(product_id="x"), "product_id"),
    ("SimilarTo", messages.SimilarToRequest(product_id=MANY[0], max_results=101), "max_results"),
    ("BoughtTogether", messages.BoughtTogetherRequest(), "product_ids"),
    ("BoughtTogether", messages.BoughtTogetherRequest(product_ids=["x"]), "product_ids"),
    ("BoughtTogether", messages.BoughtTogetherRequest(product_ids=MANY), "product_ids"),
    ("BoughtTogether", messages.BoughtTogetherRequest(product_ids=MANY[:1], user_id="x"), "user_id"),
]


@pytest.mark.parametrize(("method", "request_", "field"), INVALID, ids=[f"{one[0]}-{one[2]}" for one in INVALID])
async def test_invalid_request_names_its_field(shop: Shop, method: str, request_: object, field: str) -> None:
    with pytest.raises(Problem) as caught:
        await shop.replica.grpc.call(getattr(shop.replica.stub, method), request_)
    assert (caught.value.status, caught.value.code) == (422, "invalid_request")
    assert [error["field"] for error in caught.value.errors] == [field]
