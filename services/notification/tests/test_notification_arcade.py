"""Mails to players: achievements and levels, where they want it, once."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from services.notification.tests.conftest import NOW, RunningService, StartService
from services.notification.tests.test_notification_deleted_users import rows_about
from services.notification.tests.test_notification_mail import EVIL, SHOP
from shop.contracts.events import AchievementUnlocked, PlayerLevelReached
from shop.kit import events
from shop.kit.formatting import formats
from shop.notification.domain import ARCADE_TEMPLATES, TEMPLATES, notices
from shop.notification.render import Rendered, Renderer

CODE = "LEVEL5-7KQ2M9XA"


def unlocked(samples: Any, **changed: Any) -> AchievementUnlocked:
    about = {"player_id": samples.user_id, "occurred_at": NOW, "code": "first-order", "name": "Opening move"}
    base = about | {"description": "Place your first order.", "xp": 50, "mail_to": samples.email}
    return AchievementUnlocked(**base | changed)


def reached(samples: Any, **changed: Any) -> PlayerLevelReached:
    about = {"player_id": samples.user_id, "occurred_at": NOW, "level": 5, "name": "Quiet Otter 42"}
    reward = {"coupon": CODE, "percent": 10, "expires_at": NOW + timedelta(days=90)}
    return PlayerLevelReached(**about | reward | {"mail_to": samples.email} | changed)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(TEMPLATES, SHOP, formats("DE"))


def rendered(renderer: Renderer, event: Any, name: str | None = "Ada Lovelace") -> Rendered:
    (notice,) = notices(event, "")
    return renderer.render(notice.template, event.model_dump(mode="json") | dict(notice.extra), name)


def test_a_mail_greets_the_customer_and_not_the_achievement(renderer: Renderer, samples: Any) -> None:
    for event in (unlocked(samples), reached(samples)):
        mail = rendered(renderer, event)
        for content in (mail.text, str(mail.html)):
            assert "Hello Ada Lovelace," in content
            assert "https://shop.example/account/player" in content
        assert f"https://shop.example/players/{samples.user_id}" in mail.text
        assert rendered(renderer, event, None).text.startswith("Hello,")


def test_an_achievement_says_what_it_is_for(renderer: Renderer, samples: Any) -> None:
    mail = rendered(renderer, unlocked(samples))
    assert mail.subject == "Achievement unlocked: Opening move"
    for content in (mail.text, str(mail.html)):
        assert "Place your first order." in content
        assert "50 XP" in content


def test_a_level_names_its_coupon_and_how_long_it_lasts(renderer: Renderer, samples: Any) -> None:
    mail = rendered(renderer, reached(samples))
    assert mail.subject == "You reached level 5: 10% off your next order"
    for content in (mail.text, str(mail.html)):
        assert CODE in content
        assert "10% off one order, until 30 July 2026, 12:00 UTC" in content


def test_a_level_without_a_reward_promises_none(renderer: Renderer, samples: Any) -> None:
    mail = rendered(renderer, reached(samples, coupon=None, percent=None, expires_at=None))
    assert mail.subject == "You reached level 5"
    assert "coupon" not in mail.text + str(mail.html)
    assert "until" not in rendered(renderer, reached(samples, expires_at=None)).text


def test_names_are_escaped(renderer: Renderer, samples: Any) -> None:
    mail = rendered(renderer, unlocked(samples, name=EVIL, description=EVIL), EVIL)
    assert "<script" not in str(mail.html)
    assert "{{ 7*7 }}" in str(mail.html)


def test_no_address_means_no_mail(samples: Any) -> None:
    assert notices(unlocked(samples, mail_to=None), "") == ()
    assert notices(reached(samples, mail_to=None), "") == ()


@pytest.fixture
def arcade(start_service: StartService, smtp: Any) -> Any:
    return start_service(smtp_url=smtp.url, arcade=True)


async def templates(service: RunningService) -> list[str]:
    return [row["template"] for row in await service.database.fetch("SELECT template FROM notifications ORDER BY id")]


async def test_each_event_is_one_mail_to_players_who_want_it(arcade: Any, smtp: Any, samples: Any) -> None:
    rows = [events.row(event) for event in (unlocked(samples), reached(samples))]
    async with arcade as service:
        await service.wait_until_taken(await service.publish(samples.registered()))
        await service.publish_rows(rows * 2)
        await service.wait_until_taken(rows)
        await service.wait_until_sent()
        await service.database.execute("DELETE FROM inbox")
        more = [*rows, events.row(unlocked(samples, mail_to=None))]
        await service.publish_rows(more)
        await service.wait_until_taken(more)
        await service.wait_until_sent()
        assert sorted(await templates(service)) == ["achievement", "level-reached", "welcome"]
    assert sorted(smtp.subjects()) == [
        "Achievement unlocked: Opening move",
        "Welcome to Shopkeeper",
        "You reached level 5: 10% off your next order",
    ]
    assert {str(mail["To"]) for mail in smtp.mails} == {samples.email}


async def test_a_shop_without_the_arcade_does_not_read_its_events(service: Any, samples: Any) -> None:
    row = events.row(unlocked(samples))
    await service.publish_rows([row])
    await service.wait_until_taken(await service.publish(samples.confirmed()))
    assert await service.database.fetchval("SELECT count(*) FROM inbox WHERE event_id = $1", row.event_id) == 0


MAKERS = {"unlocked": unlocked, "reached": reached, "deleted": lambda samples: samples.deleted()}


@pytest.mark.parametrize("order", list(itertools.permutations(MAKERS)), ids=" ".join)
async def test_nothing_stays_of_a_deleted_player(arcade: Any, smtp: Any, samples: Any, order: tuple[str, ...]) -> None:
    async with arcade as service:
        for kind in order:
            await service.wait_until_taken(await service.publish(MAKERS[kind](samples)))
        await service.wait_until_sent()
        assert await rows_about(service.database, samples) == []
    assert len(smtp.mails) <= order.index("deleted")


async def test_what_waits_to_be_sent_goes_with_its_player(start_service: StartService, smtp: Any, samples: Any) -> None:
    await smtp.stop()
    async with start_service(smtp_url=smtp.url, arcade=True) as service:
        await service.wait_until_taken(await service.publish(unlocked(samples), reached(samples), samples.confirmed()))
        await service.wait_until_taken(await service.publish(samples.deleted()))
        assert not set(await templates(service)) & set(ARCADE_TEMPLATES.values())
        await smtp.start()
        await service.wait_until_sent()
        assert await rows_about(service.database, samples) == []
    assert len(smtp.mails) == 2
