"""Experience points: once by cause, whatever is repeated, raced, or comes in another order."""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime, timedelta

import pytest

from services.player.tests.player_service import (
    NOON,
    RunningService,
    Someone,
    cancelled,
    confirmed,
    registered,
    unlocked,
)
from shop.contracts.events import PlayerChanged, PlayerGained, PlayerLevelReached
from shop.devkit.testing import wait_until
from shop.kit.events import EventData
from shop.player.domain import MAX_RESULT_XP_PER_DAY, REWARD_LIFETIME, REWARDS, level_of, level_xp

TOP_LEVEL = 20


async def test_an_order_gives_points_once(service: RunningService) -> None:
    who = service.someone()
    order = confirmed(who, 4_250)
    await service.take(order, order)
    await service.take(order)
    await service.take(confirmed(who, 99_999_900), confirmed(who, 0), confirmed(who, 700, currency="JPY"))
    assert sorted((await service.ledger(who)).values()) == [20, 62, 520, 520]
    me = await service.me(who)
    assert (me["xp"], me["level"], me["statistics"]["orders"]) == (1_122, level_of(1_122), 4)
    gained = await service.published(PlayerGained)
    assert [one.version for one in gained] == [1, 2, 3, 4]
    assert list(itertools.accumulate(one.xp for one in gained)) == [one.total_xp for one in gained]


async def test_gains_at_once_add_up(service: RunningService) -> None:
    who = await service.player()
    orders = [confirmed(who, 1_000) for _ in range(8)]
    others = [unlocked(who, f"a{number}", 10) for number in range(8)]
    await asyncio.gather(*(service.take(event) for event in [*orders, *others]), service.take(*orders))
    assert sum((await service.ledger(who)).values()) == 8 * 30 + 8 * 10
    gained = await service.published(PlayerGained)
    assert sorted(one.version for one in gained) == list(range(1, 17))
    by_version = sorted(gained, key=lambda one: one.version)
    assert list(itertools.accumulate(one.xp for one in by_version)) == [one.total_xp for one in by_version]


@pytest.mark.parametrize("together", [True, False])
async def test_a_cancelled_order_gives_nothing_whichever_is_first(service: RunningService, together: bool) -> None:
    for order_of in itertools.permutations(["confirmed", "cancelled", "cancelled"]):
        who = service.someone()
        order = confirmed(who)
        events: list[EventData] = [order if one == "confirmed" else cancelled(order) for one in order_of]
        if together:
            await service.take(*events)
        else:
            for event in events:
                await service.take(event)
        ledger = await service.ledger(who)
        assert set(ledger) == {f"order:{order.order_id}", f"order_cancelled:{order.order_id}"}
        me = await service.me(who)
        assert (sum(ledger.values()), me["statistics"]["orders"], me["streak"]) == (0, 0, 1)


async def test_an_achievement_gives_points_once_and_never_takes_any(service: RunningService) -> None:
    who = service.someone()
    await service.take(unlocked(who, "first", 50))
    await service.take(unlocked(who, "first", 80), unlocked(who, "bad", -10), unlocked(who, "huge", 2**40))
    assert await service.ledger(who) == {"achievement:first": 50, "achievement:bad": 0, "achievement:huge": 10_000}


async def test_levels_are_announced_once_and_reward_some(service: RunningService) -> None:
    who = await service.player()
    await service.change(who, mails=True)
    orders = [confirmed(who, 50_000) for _ in range(37)]
    await asyncio.gather(*(service.take(order) for order in orders), *(service.take(order) for order in orders))
    reached = await service.published(PlayerLevelReached)
    assert sorted(one.level for one in reached) == list(range(2, TOP_LEVEL + 1))
    coupons = {one.level: one for one in reached if one.coupon}
    assert {level: one.percent for level, one in coupons.items()} == REWARDS
    assert {one.expires_at for one in coupons.values()} == {NOON + REWARD_LIFETIME}
    assert {one.mail_to for one in reached} == {who.principal.email}
    shown = (await service.me(who))["coupons"]
    assert [(one["level"], one["code"], one["percent"]) for one in shown] == [
        (level, coupons[level].coupon, REWARDS[level]) for level in sorted(REWARDS)
    ]
    assert len({one["code"] for one in shown}) == len(REWARDS)


async def test_a_level_that_is_lost_and_reached_again_is_no_news(service: RunningService) -> None:
    who = service.someone()
    first, *others = (confirmed(who, 48_000) for _ in range(3))
    await service.take(first, *others)
    assert (await service.me(who))["level"] == 6
    [coupon] = (await service.me(who))["coupons"]
    await service.take(cancelled(first), cancelled(others[0]))
    me = await service.me(who)
    assert (me["level"], me["coupons"]) == (level_of(500), [coupon])
    await service.take(confirmed(who, 48_000), confirmed(who, 48_000))
    me = await service.me(who)
    assert (me["level"], me["coupons"]) == (6, [coupon])
    assert [one.level for one in await service.published(PlayerLevelReached)] == [2, 3, 4, 5, 6]


async def test_a_coupon_is_in_the_answer_of_its_round_also_again(service: RunningService) -> None:
    who = await service.player()
    await service.take(unlocked(who, "many", level_xp(5) - 5))
    answer = await service.play(who, 8)
    assert (answer["level"], answer["coupon"]["percent"], answer["coupon"]["level"]) == (5, 10, 5)
    assert (await service.play(who, 8))["coupon"] is None
    assert (await service.me(who))["coupons"] == [answer["coupon"]]


async def test_a_player_is_created_by_any_of_the_first_events(service: RunningService) -> None:
    by_registration, by_order, by_achievement = (service.someone() for _ in range(3))
    await service.take(registered(by_registration))
    await service.take(registered(by_registration))
    await service.take(confirmed(by_order))
    await service.take(unlocked(by_achievement, "x", 1))
    await service.take(registered(by_achievement))
    changed = await service.published(PlayerChanged)
    assert [one.player_id for one in changed] == [by_registration.id, by_order.id, by_achievement.id]
    assert {(one.version, one.private, one.mail_to) for one in changed} == {(1, False, None)}
    for who in (by_registration, by_order, by_achievement):
        row = await service.database.fetchrow("SELECT email FROM players WHERE id = $1", who.id)
        assert row is not None
        assert row["email"] == who.principal.email
        assert "Ada" not in (await service.me(who))["name"]


async def test_events_arrive_by_the_broker(service: RunningService) -> None:
    who = service.someone()
    await wait_until(lambda: service.context.bus.connected)
    order, other = confirmed(who), confirmed(who)
    await service.send("user", registered(who))
    await service.send("order", order, other, cancelled(other))
    await service.send("achievement", unlocked(who, "first", 50))
    await wait_until(lambda: service.database.fetchval("SELECT count(*) = 4 FROM ledger"))
    assert sum((await service.ledger(who)).values()) == 62 + 50


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def days(service: RunningService, who: Someone, *moments: str) -> None:
    for moment in moments:
        await service.take(confirmed(who, at=at(moment)))


STREAKS: dict[str, tuple[str, list[str], str, int, int]] = {
    "midnight of the player": (
        "Asia/Tokyo",
        ["2026-06-04T14:59:00Z", "2026-06-04T15:01:00Z"],
        "2026-06-04T16:00:00Z",
        2,
        2,
    ),
    "midnight elsewhere": (
        "UTC",
        ["2026-06-04T14:59:00Z", "2026-06-04T15:01:00Z"],
        "2026-06-04T16:00Z",
        1,
        1,
    ),
    "a short day": (
        "Europe/Berlin",
        ["2026-03-28T22:59:00Z", "2026-03-28T23:01:00Z", "2026-03-29T22:01:00Z"],
        "2026-03-29T22:30:00Z",
        3,
        3,
    ),
    "a long day": (
        "Europe/Berlin",
        ["2026-10-24T22:01:00Z", "2026-10-25T22:59:00Z", "2026-10-25T23:01:00Z"],
        "2026-10-25T23:30:00Z",
        2,
        2,
    ),
    "late": (
        "UTC",
        ["2026-06-03T12:00Z", "2026-06-05T12:00Z", "2026-06-04T12:00Z"],
        "2026-06-05T13:00Z",
        3,
        3,
    ),
    "a gap": ("UTC", ["2026-06-01T12:00Z", "2026-06-02T12:00Z", "2026-06-04T12:00Z"], "2026-06-05T13:00Z", 1, 2),
    "over": ("UTC", ["2026-06-01T12:00Z", "2026-06-02T12:00Z"], "2026-06-04T00:00Z", 0, 2),
    "until the end of the next day": ("UTC", ["2026-06-01T12:00Z", "2026-06-02T12:00Z"], "2026-06-03T23:59Z", 2, 2),
}


async def test_streaks_count_days_of_the_player(service: RunningService) -> None:
    found = {}
    for case, (zone, moments, now, _, _) in STREAKS.items():
        who = await service.player()
        await service.change(who, time_zone=zone)
        await days(service, who, *moments)
        service.clock.at = at(now)
        seen = (await service.client.get(who.path)).json()
        found[case] = (seen["streak"], seen["statistics"]["best_streak"])
    assert found == {case: (streak, best) for case, (*_, streak, best) in STREAKS.items()}


async def test_another_time_zone_begins_no_day_again(service: RunningService) -> None:
    """It holds from the next day on, however often it is changed; what happened before stays in its day."""
    who = await service.player()
    await service.change(who, time_zone="Pacific/Honolulu")
    service.clock.at = at("2026-06-05T12:00Z")
    await service.play(who, 8)
    await service.database.execute("UPDATE results SET xp = $1", MAX_RESULT_XP_PER_DAY)
    for zone in ("Pacific/Kiritimati", None, "Asia/Tokyo"):
        await service.change(who, time_zone=zone)
        assert (await service.play(who, 8))["xp"] == 0
        assert (await service.me(who))["streak"] == 1
    service.clock.at = at("2026-06-06T10:30Z")
    assert (await service.play(who, 8))["xp"] > 0
    await service.take(confirmed(who, at=at("2026-06-06T09:30Z")))
    assert (await service.me(who))["streak"] == 2
    days = await service.database.fetch("SELECT day::text FROM days WHERE player_id = $1 ORDER BY day", who.id)
    assert [row["day"] for row in days] == ["2026-06-05", "2026-06-06"]


async def test_a_second_round_of_a_day_changes_no_streak(service: RunningService) -> None:
    who = await service.player()
    for day in range(3):
        service.clock.at = NOON + timedelta(days=day)
        await service.play(who)
        await service.play(who)
        assert (await service.me(who))["streak"] == day + 1
    assert [one.streak_days for one in await service.published(PlayerGained)] == [1, 1, 2, 2, 3, 3]
