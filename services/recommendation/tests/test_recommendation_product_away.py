"""What is recommended while the product service cannot be reached."""

from __future__ import annotations

from uuid import UUID

import pytest

from services.recommendation.tests.recommending import HTTP, Shop, confirmed, ids
from shop.devkit.testing import wait_until
from shop.kit.errors import OutcomeUnknown
from shop.kit.ids import new_id
from shop.recommendation import catalogue


async def test_last_known_state_is_used_for_a_minute_and_then_nothing(
    shop: Shop, user: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = await shop.products.add_many(5)
    await shop.products.stock(books[0], -10)
    known = shop.replica.service.catalogue
    away_since = known._now()
    monkeypatch.setattr(known, "_now", lambda: away_since)
    await shop.catalogue_is_read()
    await shop.learn(confirmed(new_id(), books[1], new_id()))
    expected = await shop.replica.recommend(user)
    assert len(expected) == 4
    await shop.products.stop()
    for after_s in (0.0, catalogue.FRESH_S + 1, catalogue.LAST_KNOWN_S - 1):
        monkeypatch.setattr(known, "_now", lambda now=away_since + after_s: now)
        assert await shop.replica.recommend(user) == expected
        assert [one["id"] for one in (await shop.replica.get())["items"]] == [one.id for one in expected]
    monkeypatch.setattr(known, "_now", lambda: away_since + catalogue.LAST_KNOWN_S + 3)
    with pytest.raises(OutcomeUnknown, match="UNAVAILABLE"):
        await shop.replica.recommend(user)
    answer = await shop.replica.http.get(HTTP)
    assert (answer.status_code, answer.json()["code"]) == (503, "product_unavailable")


async def test_state_is_read_again_when_the_product_service_is_back(shop: Shop, user: UUID) -> None:
    books = await shop.products.add_many(3)
    await shop.catalogue_is_read()
    await shop.products.stop()
    assert len(await shop.replica.recommend(user)) == 3
    await shop.products.start()
    await shop.products.stock(books[1], -10)

    async def sold_out_is_known() -> bool:
        return sorted(ids(await shop.replica.recommend(user))) == sorted([books[0], books[2]])

    await wait_until(sold_out_is_known)


async def test_service_that_never_read_the_catalogue_is_not_ready(stopped_shop: Shop) -> None:
    await stopped_shop.products.stop()
    replica = await stopped_shop.start(ready=False)
    answer = await replica.http.get("/health/ready")
    assert answer.status_code == 503
    assert "the catalogue was not read yet" in answer.json()["checks"]["catalogue"]
    await stopped_shop.products.start()
    await wait_until(lambda: replica.service.catalogue.loaded)
    assert (await replica.http.get("/health/ready")).status_code == 200


async def test_service_that_has_read_the_catalogue_stays_ready(shop: Shop) -> None:
    await shop.products.stop()
    assert (await shop.replica.http.get("/health/ready")).status_code == 200
