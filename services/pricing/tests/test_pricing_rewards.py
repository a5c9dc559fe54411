"""Coupons for levels: made once by an event, for one player alone, and gone with that player."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.pricing.tests.test_pricing_api import BOOK, INTERNAL, STORE, cart, order, price_orders, products
from shop.contracts.events import Event, PlayerLevelReached, UserDeleted
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Running, Tokens, wait_until
from shop.kit import events
from shop.kit.app import create_app
from shop.kit.bus import Bus
from shop.kit.clock import FixedClock
from shop.kit.db import Connection, Database
from shop.kit.events import Received
from shop.kit.ids import new_id
from shop.kit.inbox import Inbox
from shop.kit.tasks import Tasks
from shop.pricing import api
from shop.pricing.consumers import Rewards, consumers
from shop.pricing.domain import Discount, Promotion
from shop.pricing.repository import PricingRepository, Redemption, StoredPromotion
from shop.pricing.service import PricingService
from shop.pricing.settings import Settings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CODE = "LEVEL5-7KQ2M9XA"
TEN_PERCENT = Discount("percentage", 10)


def reached(player_id: UUID, code: str | None = CODE, **changed: Any) -> PlayerLevelReached:
    reward = {"coupon": code, "percent": 10, "expires_at": datetime.now(UTC) + timedelta(days=90)} if code else {}
    about = {"player_id": player_id, "occurred_at": NOW, "level": 5, "name": "Quiet Otter 42"}
    return PlayerLevelReached(**about | reward | changed)


def deleted(user_id: UUID) -> UserDeleted:
    return UserDeleted(user_id=user_id, occurred_at=NOW)


@dataclass
class Ledger:
    """Pricing's database, with the consumers as the inbox runs them."""

    database: Database
    repository: PricingRepository
    rewards: Rewards

    def consumer(self, event: Event) -> Any:
        return self.rewards.deletions if isinstance(event, UserDeleted) else self.rewards.levels

    async def take(self, *taken: Event, event_id: UUID | None = None) -> None:
        for event in taken:
            received = Received(event_id or new_id(), event.TYPE, NOW, "", "", event)
            await Inbox("pricing", self.database, Bus("", "test")).process(self.consumer(event), [received])

    async def codes(self) -> list[str]:
        return [promotion.code for promotion in await self.repository.promotions("", 100)]

    async def redeem(self, user_id: UUID, code: str = CODE, now: datetime = NOW) -> Any:
        (verdict,) = await self.repository.redeem([Redemption(new_id(), user_id, code, 5_000)], now)
        return verdict


@pytest.fixture
async def ledger(database_for: DatabaseFor) -> AsyncIterator[Ledger]:
    database = await Database.connect(await database_for("pricing"), pool_size=8, application="test")
    yield Ledger(database, PricingRepository(database), Rewards(FixedClock(NOW)))
    await database.close()


async def test_a_level_brings_a_coupon_of_its_player(ledger: Ledger) -> None:
    player = new_id()
    event = reached(player)
    await ledger.take(event)
    assert await ledger.repository.promotion(CODE) == StoredPromotion(
        CODE,
        TEN_PERCENT,
        expires_at=event.expires_at,
        usage_limit=1,
        only_for=player,
        created_at=NOW,
        updated_at=NOW,
    )


async def test_a_level_without_a_coupon_brings_none(ledger: Ledger) -> None:
    await ledger.take(reached(new_id(), None))
    assert await ledger.codes() == []


async def test_a_repeated_event_changes_nothing(ledger: Ledger) -> None:
    """Neither as the same delivery nor as another event of the same coupon, whatever became of it meanwhile."""
    player, event_id = new_id(), new_id()
    for again in (event_id, event_id, new_id()):
        await ledger.take(reached(player), event_id=again)
    assert await ledger.redeem(player) == TEN_PERCENT
    await ledger.take(reached(player, percent=90), reached(new_id()))
    assert await ledger.codes() == [CODE]
    assert await ledger.redeem(player) == "coupon_exhausted"


async def test_two_events_of_one_coupon_at_once_make_one(ledger: Ledger) -> None:
    player = new_id()
    await asyncio.gather(*(ledger.take(reached(player)) for _ in range(6)))
    assert await ledger.codes() == [CODE]


async def test_a_coupon_replaces_no_promotion_of_its_code(ledger: Ledger) -> None:
    await ledger.repository.put(Promotion(CODE, Discount("fixed", 500)), NOW)
    await ledger.take(reached(new_id()))
    kept = await ledger.repository.promotion(CODE)
    assert kept is not None
    assert (kept.discount, kept.only_for) == (Discount("fixed", 500), None)


async def test_another_users_coupon_is_unknown(ledger: Ledger) -> None:
    """Whatever state it is in: the answer shows neither its existence nor its use."""
    player = new_id()
    await ledger.take(reached(player, expires_at=NOW + timedelta(days=1)))
    for now in (NOW, NOW + timedelta(days=2)):
        assert await ledger.redeem(new_id(), now=now) == "unknown_coupon"
        assert await ledger.repository.check_coupon(CODE, 5_000, now, new_id()) is None
        assert await ledger.repository.check_coupon(CODE, 5_000, now) is None
    assert await ledger.redeem(player) == TEN_PERCENT
    assert await ledger.redeem(new_id()) == "unknown_coupon"


async def test_a_coupon_ends_when_it_says(ledger: Ledger) -> None:
    player, end = new_id(), NOW + timedelta(days=90)
    await ledger.take(reached(player, expires_at=end))
    assert await ledger.redeem(player, now=end) == "coupon_expired"
    assert await ledger.redeem(player, now=end - timedelta(seconds=1)) == TEN_PERCENT


async def test_orders_that_compete_for_a_coupon_use_it_once(ledger: Ledger) -> None:
    player = new_id()
    await ledger.take(reached(player))
    verdicts = await asyncio.gather(*(ledger.redeem(player) for _ in range(8)))
    assert sorted(str(verdict) for verdict in verdicts)[1:] == ["coupon_exhausted"] * 7
    assert verdicts.count(TEN_PERCENT) == 1


async def test_a_rejected_order_gives_its_coupon_back(ledger: Ledger) -> None:
    player, order_id = new_id(), new_id()
    await ledger.take(reached(player))
    await ledger.repository.redeem([Redemption(order_id, player, CODE, 5_000)], NOW)
    await ledger.repository.release([order_id], NOW)
    assert await ledger.redeem(new_id()) == "unknown_coupon"
    assert await ledger.redeem(player) == TEN_PERCENT


async def test_an_administrators_change_leaves_a_coupon_to_its_player(ledger: Ledger) -> None:
    player = new_id()
    await ledger.take(reached(player))
    await ledger.repository.put(Promotion(CODE, Discount("fixed", 700), usage_limit=2), NOW)
    assert await ledger.redeem(new_id()) == "unknown_coupon"
    assert await ledger.redeem(player) == Discount("fixed", 700)


@pytest.mark.parametrize("reached_first", [True, False], ids=["before", "after"])
async def test_a_deleted_user_has_no_coupon_whatever_comes_first(ledger: Ledger, reached_first: bool) -> None:
    player, other = new_id(), new_id()
    events = [reached(player), deleted(player)] if reached_first else [deleted(player), reached(player)]
    await ledger.take(*events, reached(other, "LEVEL5-OTHER"))
    assert await ledger.codes() == ["LEVEL5-OTHER"]


async def test_a_coupon_that_an_order_redeemed_stays_and_is_closed(ledger: Ledger) -> None:
    """The order keeps its discount, and the code gives nobody anything, also when the order releases it."""
    player = new_id()
    spent = Redemption(new_id(), player, CODE, 5_000)
    await ledger.take(reached(player), reached(player, "LEVEL10-UNUSED"))
    await ledger.repository.redeem([spent], NOW)
    await ledger.take(deleted(player))
    assert await ledger.codes() == [CODE]
    assert await ledger.repository.redeem([spent], NOW) == [TEN_PERCENT]
    await ledger.repository.release([spent.order_id], NOW)
    assert await ledger.redeem(player) == "coupon_inactive"


async def run_while_open(
    database: Database, first: Callable[[Connection], Any], second: Callable[[], Any], waiting: str
) -> None:
    """`second` begins while the transaction of `first` is open, which is committed once `second` waits for it."""
    async with database.transaction() as connection:
        await first(connection)
        task = asyncio.ensure_future(second())

        async def waits_or_is_done() -> bool:
            return task.done() or bool(await database.fetchval(waiting))

        await wait_until(waits_or_is_done)
    await task


WAITS_FOR_DIGESTS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'deleted_user_digest'::regclass"
WAITS_FOR_A_ROW = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"""


@pytest.mark.parametrize("reached_first", [True, False], ids=["before", "after"])
async def test_a_level_that_is_stored_during_a_deletion_leaves_nothing(ledger: Ledger, reached_first: bool) -> None:
    player = new_id()
    both: list[Event] = [reached(player), deleted(player)]
    first, second = both if reached_first else both[::-1]
    received = [Received(new_id(), first.TYPE, NOW, "", "", first)]
    await run_while_open(
        ledger.database,
        lambda connection: ledger.consumer(first).handle(connection, received),
        lambda: ledger.take(second),
        WAITS_FOR_DIGESTS,
    )
    assert await ledger.codes() == []


async def test_a_deletion_that_waits_for_a_redemption_keeps_its_coupon(ledger: Ledger) -> None:
    player = new_id()
    await ledger.take(reached(player))
    lock = "SELECT code FROM promotions WHERE code = $1 FOR UPDATE"
    redeemed = """
    INSERT INTO redemptions (order_id, code, user_id, kind, value, redeemed_at)
    VALUES ($1, $2, $3, 'percentage', 10, $4)"""

    async def redeem(connection: Connection) -> None:
        await connection.execute(lock, CODE)
        await connection.execute(redeemed, new_id(), CODE, player, NOW)

    await run_while_open(ledger.database, redeem, lambda: ledger.take(deleted(player)), WAITS_FOR_A_ROW)
    closed = await ledger.repository.promotion(CODE)
    assert closed is not None
    assert not closed.active


Start = Callable[..., AbstractAsyncContextManager[tuple[httpx.AsyncClient, Bus]]]


@pytest.fixture
def start(
    database_for: DatabaseFor, tokens: Tokens, running: Running, served: Callable[..., Any], nats_url: str
) -> Start:
    """The service with a product service and the broker."""

    @asynccontextmanager
    async def run(*, arcade: bool = True) -> AsyncIterator[tuple[httpx.AsyncClient, Bus]]:
        bus, tasks = Bus(nats_url, "test"), Tasks()
        bus.start(tasks)
        async with served(products) as upstream:
            settings = Settings(
                database_url=await database_for("pricing"),
                nats_url=nats_url,
                jwks_url=tokens.jwks_url,
                internal_token=INTERNAL_TOKEN,
                product_url=str(upstream.base_url),
                store=STORE,
                arcade=arcade,
            )
            routers = [api.router, api.internal]
            app = create_app(
                settings, title="Pricing", routers=routers, build=PricingService.build, consumers=consumers
            )
            async with running(app) as client:
                await wait_until(lambda: bus.connected, what="the broker")
                yield client, bus
        await tasks.stop()
        await bus.close()

    return run


async def publish(bus: Bus, event: Event) -> None:
    row = events.row(event)
    await bus.ensure_stream("player")
    await (await bus.publish(row.type, row.payload.encode(), str(row.event_id)))


async def test_a_coupon_counts_for_its_player_alone_in_quotes_and_orders(start: Start, tokens: Tokens) -> None:
    player = new_id()
    body, admin = cart((BOOK, 2), coupon=CODE.lower()), tokens.headers("admin")
    async with start() as (client, bus):
        await publish(bus, reached(player))

        async def made() -> bool:
            return (await client.get(f"/api/v1/promotions/{CODE}", headers=admin)).status_code == 200

        await wait_until(made, what="the coupon")
        assert (await client.get(f"/api/v1/promotions/{CODE}", headers=admin)).json()["only_for"] == str(player)
        own = await client.post("/api/v1/quotes", json=body, headers=tokens.headers(user_id=player))
        assert (own.status_code, own.json()["discount"]["amount"]) == (200, 260)
        for headers in ({}, tokens.headers(), admin):
            answer = await client.post("/api/v1/quotes", json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (422, "unknown_coupon")
        results = await price_orders(client, order(CODE), order(CODE, user_id=str(player)))
        assert [result.get("code") for result in results] == ["unknown_coupon", None]
        again = await client.post("/api/v1/quotes", json=body, headers=tokens.headers(user_id=player))
        assert (again.status_code, again.json()["code"]) == (422, "coupon_exhausted")


async def test_a_quote_refuses_a_token_that_is_wrong(start: Start, tokens: Tokens) -> None:
    async with start(arcade=False) as (client, _):
        for token in (tokens.expired(), tokens.forged()):
            headers = {"Authorization": f"Bearer {token}"}
            assert (await client.post("/api/v1/quotes", json=cart((BOOK, 1)), headers=headers)).status_code == 401
        assert (await client.post("/api/v1/quotes", json=cart((BOOK, 1)), headers=INTERNAL)).status_code == 401


async def test_a_shop_without_the_arcade_reads_no_levels(ledger: Ledger) -> None:
    class Service:
        clock = FixedClock(NOW)
        arcade = False

    found = consumers(Service())  # type: ignore[arg-type]
    assert [consumer.types for consumer in found] == [[UserDeleted]]
