"""Redemption coupons against a real database: limits under concurrency, repetition, release."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shop.devkit.testing import DatabaseFor, wait_until
from shop.kit.db import Database
from shop.kit.ids import new_id
from shop.pricing.domain import Discount, Promotion
from shop.pricing.repository import REDEEM, PricingRepository, Redemption

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TEN_PERCENT = Discount("percentage", 10)


@pytest.fixture
async def database(database_for: DatabaseFor) -> AsyncIterator[Database]:
    database = await Database.connect(await database_for("pricing"), pool_size=8, application="test")
    yield database
    await database.close()


@pytest.fixture
def repository(database: Database) -> PricingRepository:
    return PricingRepository(database)


def wanted(
    code: str = "TEN", order_id: UUID | None = None, user_id: UUID | None = None, subtotal: int = 5_000
) -> Redemption:
    return Redemption(order_id or new_id(), user_id or new_id(), code, subtotal)


async def offer(repository: PricingRepository, code: str = "TEN", **rule: Any) -> None:
    await repository.put(Promotion(code, TEN_PERCENT, **rule), NOW)


async def used(repository: PricingRepository, code: str = "TEN") -> int:
    promotion = await repository.promotion(code)
    assert promotion is not None
    return promotion.used


async def counted(database: Database, code: str = "TEN") -> int:
    sql = "SELECT count(*) FROM redemptions WHERE code = $1 AND released_at IS NULL"
    return int(await database.fetchval(sql, code))


async def test_a_batch_gets_one_verdict_per_order_in_order(repository: PricingRepository) -> None:
    await offer(repository)
    await offer(repository, "DEAR", minimum_subtotal=9_999)
    batch = [wanted(), wanted("NONE"), wanted("DEAR"), wanted("DEAR", subtotal=9_999)]
    verdicts = await repository.redeem(batch, NOW)
    assert verdicts == [TEN_PERCENT, "unknown_coupon", "coupon_minimum_not_met", TEN_PERCENT]
    assert (await used(repository), await used(repository, "DEAR")) == (1, 1)


async def test_an_order_redeems_once_and_keeps_the_rule_it_saw(repository: PricingRepository) -> None:
    await offer(repository, usage_limit=1)
    order = wanted()
    assert await repository.redeem([order], NOW) == [TEN_PERCENT]
    await repository.put(Promotion("TEN", Discount("fixed", 1), usage_limit=1, active=False), NOW)
    assert await repository.redeem([order], NOW) == [TEN_PERCENT]
    assert await used(repository) == 1


async def test_the_same_order_twice_in_one_batch_redeems_once(repository: PricingRepository) -> None:
    await offer(repository)
    order = wanted()
    assert await repository.redeem([order, order], NOW) == [TEN_PERCENT, TEN_PERCENT]
    assert await used(repository) == 1


async def test_a_batch_larger_than_what_is_left_gets_exactly_what_is_left(repository: PricingRepository) -> None:
    await offer(repository, usage_limit=3)
    verdicts = await repository.redeem([wanted() for _ in range(5)], NOW)
    assert verdicts == [TEN_PERCENT] * 3 + ["coupon_exhausted"] * 2
    assert await used(repository) == 3


async def test_racing_batches_never_exceed_the_limit(repository: PricingRepository, database: Database) -> None:
    await offer(repository, usage_limit=25)
    await offer(repository, "OTHER", usage_limit=10)
    batches = [[wanted("TEN"), wanted("OTHER"), wanted("TEN")] for _ in range(20)]
    for batch in batches[::2]:
        batch.reverse()
    answers = await asyncio.gather(*(repository.redeem(batch, NOW) for batch in batches))
    verdicts = Counter(
        (item.code, verdict == TEN_PERCENT)
        for batch, answer in zip(batches, answers, strict=True)
        for item, verdict in zip(batch, answer, strict=True)
    )
    assert verdicts == {("TEN", True): 25, ("TEN", False): 15, ("OTHER", True): 10, ("OTHER", False): 10}
    assert await used(repository) == await counted(database) == 25


async def test_the_same_orders_racing_redeem_once_each(repository: PricingRepository, database: Database) -> None:
    await offer(repository, usage_limit=100)
    orders = [wanted() for _ in range(10)]
    answers = await asyncio.gather(*(repository.redeem(orders, NOW) for _ in range(8)))
    assert all(answer == [TEN_PERCENT] * 10 for answer in answers)
    assert await used(repository) == await counted(database) == 10


async def test_once_per_user_holds_in_a_batch_and_in_a_race(repository: PricingRepository, database: Database) -> None:
    await offer(repository, once_per_user=True, usage_limit=2)
    user = new_id()
    verdicts = await repository.redeem([wanted(user_id=user), wanted(user_id=user), wanted()], NOW)
    assert verdicts == [TEN_PERCENT, "coupon_already_used", TEN_PERCENT]
    await offer(repository, once_per_user=True)
    racer = new_id()
    answers = await asyncio.gather(*(repository.redeem([wanted(user_id=racer)], NOW) for _ in range(6)))
    assert Counter(str(answer[0]) for answer in answers)["coupon_already_used"] == 5
    assert await used(repository) == await counted(database) == 3


async def test_a_release_counts_once_and_prevents_redemption(repository: PricingRepository) -> None:
    await offer(repository, usage_limit=1)
    order = wanted()
    await repository.redeem([order], NOW)
    assert await repository.redeem([wanted()], NOW) == ["coupon_exhausted"]
    for _ in range(2):
        await repository.release([order.order_id, order.order_id], NOW)
    assert await used(repository) == 0
    assert await repository.redeem([order], NOW) == ["released"]
    assert await repository.redeem([wanted()], NOW) == [TEN_PERCENT]


async def test_a_release_that_comes_first_leaves_a_tombstone(repository: PricingRepository) -> None:
    await offer(repository)
    order = wanted()
    await repository.release([order.order_id], NOW)
    assert await repository.redeem([order], NOW) == ["released"]
    assert await used(repository) == 0


async def test_a_release_that_waits_for_a_redemption_counts_what_that_one_did(
    repository: PricingRepository, database: Database
) -> None:
    await offer(repository)
    order = wanted()
    async with database.transaction() as redeeming:
        await redeeming.fetch(REDEEM, [order.order_id], [order.user_id], [order.code], [order.subtotal], NOW)
        releasing = asyncio.create_task(repository.release([order.order_id], NOW))
        await wait_until(lambda: _somebody_waits(database), what="the release to wait for the redemption")
    await releasing
    assert await used(repository) == await counted(database) == 0
    assert await repository.redeem([order], NOW) == ["released"]


async def _somebody_waits(database: Database) -> bool:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await database.fetchval(sql))


async def test_releases_racing_with_redemptions_leave_the_count_right(
    repository: PricingRepository, database: Database
) -> None:
    await offer(repository)
    await offer(repository, "OTHER")
    orders = [wanted(code) for code in ("TEN", "OTHER") * 15]
    backwards = orders[::-1]
    await asyncio.gather(
        *itertools.chain.from_iterable(
            (
                repository.redeem(orders, NOW),
                repository.redeem(backwards, NOW),
                repository.release([order.order_id for order in orders[::3]], NOW),
                repository.release([order.order_id for order in backwards[::5]], NOW),
            )
            for _ in range(5)
        )
    )
    for code in ("TEN", "OTHER"):
        assert await used(repository, code) == await counted(database, code)
    released = {order.order_id for order in orders[::3]} | {order.order_id for order in backwards[::5]}
    verdicts = await repository.redeem(orders, NOW)
    assert [verdict == "released" for verdict in verdicts] == [order.order_id in released for order in orders]


moments = st.none() | st.integers(-2, 2).map(lambda days: NOW + timedelta(days=days))
rules = st.builds(
    Promotion,
    st.just("RULE"),
    st.just(TEN_PERCENT),
    st.integers(0, 3),
    moments,
    moments,
    st.none() | st.just(1),
    st.just(False),
    st.booleans(),
    st.integers(0, 1),
)


async def store(repository: PricingRepository, database: Database, promotion: Promotion) -> None:
    """Store a promotion that was used as often as it says."""
    await repository.put(promotion, NOW)
    await database.execute("UPDATE promotions SET used = $2 WHERE code = $1", promotion.code, promotion.used)


@pytest.mark.parametrize(
    ("promotion", "code"),
    [
        (Promotion("ABC", Discount("fixed", 1)), None),
        (Promotion("ABC", Discount("fixed", 1), active=False), "coupon_inactive"),
        (Promotion("ABC", Discount("fixed", 1), starts_at=NOW + timedelta(seconds=1)), "coupon_not_started"),
        (Promotion("ABC", Discount("fixed", 1), starts_at=NOW), None),
        (Promotion("ABC", Discount("fixed", 1), expires_at=NOW), "coupon_expired"),
        (Promotion("ABC", Discount("fixed", 1), expires_at=NOW + timedelta(seconds=1)), None),
        (Promotion("ABC", Discount("fixed", 1), minimum_subtotal=1_001), "coupon_minimum_not_met"),
        (Promotion("ABC", Discount("fixed", 1), minimum_subtotal=1_000), None),
        (Promotion("ABC", Discount("fixed", 1), usage_limit=3, used=3), "coupon_exhausted"),
        (Promotion("ABC", Discount("fixed", 1), usage_limit=3, used=2), None),
    ],
)
async def test_reasons_that_a_coupon_does_not_count(
    repository: PricingRepository, database: Database, promotion: Promotion, code: str | None
) -> None:
    await store(repository, database, promotion)
    checked = await repository.check_coupon("ABC", 1_000, NOW)
    assert checked
    assert (checked.refusal, checked.discount) == (code, promotion.discount)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rule=rules, subtotal=st.integers(0, 3))
async def test_redeeming_and_quoting_apply_the_same_rule(
    repository: PricingRepository, database: Database, rule: Promotion, subtotal: int
) -> None:
    await store(repository, database, rule)
    checked = await repository.check_coupon("RULE", subtotal, NOW)
    assert checked
    assert (await repository.redeem([wanted("RULE", subtotal=subtotal)], NOW))[0] == (checked.refusal or TEN_PERCENT)


async def test_an_unknown_coupon_is_not_found(repository: PricingRepository) -> None:
    assert await repository.check_coupon("NONE", 1_000, NOW) is None


async def test_replacing_a_rule_keeps_its_count(repository: PricingRepository) -> None:
    await offer(repository)
    await repository.redeem([wanted(), wanted()], NOW)
    await repository.put(Promotion("TEN", Discount("fixed", 5), usage_limit=1), NOW)
    assert await used(repository) == 2
    assert await repository.redeem([wanted()], NOW) == ["coupon_exhausted"]


async def test_a_sample_promotion_does_not_replace_one_of_its_code(repository: PricingRepository) -> None:
    await repository.seed(Promotion("TEN", TEN_PERCENT), NOW)
    await offer(repository, active=False)
    await repository.seed(Promotion("TEN", TEN_PERCENT), NOW)
    promotion = await repository.promotion("TEN")
    assert promotion is not None
    assert not promotion.active
