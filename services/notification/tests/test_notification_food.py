"""What customers of food are told: once, in the order of the delivery's versions, by mail and text message."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shop.contracts.events import DeliveryChanged, Event, UserDeleted
from shop.contracts.money import Money
from shop.kit import events
from shop.kit.clock import Clock, FixedClock
from shop.kit.db import Database
from shop.kit.events import Received
from shop.kit.formatting import formats
from shop.kit.ids import new_id
from shop.kit.retention import Retention
from shop.notification import retention_repository
from shop.notification.consumers import MessageQueue
from shop.notification.domain import TEMPLATES, Channel, notices
from shop.notification.food import FoodOrder
from shop.notification.mailbox import TextMailboxProvider
from shop.notification.mailbox_repository import MailboxRepository
from shop.notification.providers import Deferred, Outgoing, Refused
from shop.notification.render import Rendered, Renderer
from shop.notification.repository import NotificationRepository
from shop.notification.sender import Sender

NOW = datetime(2026, 5, 1, 18, 30, tzinfo=UTC)
PHONE = "+4915112345678"
OWNER = "+491700000000"
RESTAURANT = "Da Carlo"
COURSE = ("waiting", "assigned", "at_restaurant", "picked_up", "on_the_way", "delivered")
TOLD = ["food-courier", "food-on-the-way", "food-delivered"]


@dataclass
class Eater:
    """Events about one customer and one order of food."""

    samples: Any
    queue: MessageQueue
    database: Database

    def order(self, kind: str, **changed: Any) -> Event:
        food: dict[str, Any] = {"kind": "food", "phone": PHONE} | changed
        if kind == "confirmed":
            tip = Money(amount=150, currency="EUR")
            food |= {"restaurant_id": new_id(), "restaurant_name": RESTAURANT, "tip": tip, "eta": NOW}
        event: Event = getattr(self.samples, kind)()
        return event.model_copy(update=food)

    def delivery(self, state: str, version: int, courier: str | None = "Bo", **changed: Any) -> DeliveryChanged:
        about = {"order_id": self.samples.order_id, "user_id": self.samples.user_id, "restaurant_id": new_id()}
        more: dict[str, Any] = {"courier_name": None if state == "waiting" else courier, "vehicle": "bicycle"} | changed
        fixed = {"restaurant_name": RESTAURANT, "eta": NOW + timedelta(minutes=12), "occurred_at": NOW}
        return DeliveryChanged(**about, **fixed, state=state, version=version, **more)

    def course(self) -> list[DeliveryChanged]:
        return [self.delivery(state, version) for version, state in enumerate(COURSE, 1)]

    async def take(self, *batch: Event, event_id: Any = None) -> None:
        """As the inbox does it: one transaction per consumer."""
        received = [Received(event_id or new_id(), one.TYPE, NOW, "", "", one) for one in batch]
        for handle, some in (
            (self.queue.handle_deliveries, [one for one in received if isinstance(one.event, DeliveryChanged)]),
            (self.queue.deletions.handle, [one for one in received if isinstance(one.event, UserDeleted)]),
            (
                self.queue.handle,
                [one for one in received if not isinstance(one.event, DeliveryChanged | UserDeleted)],
            ),
        ):
            if some:
                async with self.database.transaction() as connection:
                    await handle(connection, some)

    async def told(self, channel: str = "email") -> list[str]:
        sql = "SELECT template FROM notifications WHERE channel = $1 ORDER BY id"
        return [row["template"] for row in await self.database.fetch(sql, channel)]

    async def recipients(self, channel: str) -> set[str]:
        sql = "SELECT DISTINCT recipient FROM notifications WHERE channel = $1"
        return {row["recipient"] for row in await self.database.fetch(sql, channel)}


@pytest.fixture
def eater(samples: Any, database: Database) -> Eater:
    return Eater(samples, MessageQueue("", Clock(), texts=True), database)


async def test_a_delivery_is_told_by_mail_and_text_message(eater: Eater) -> None:
    await eater.take(eater.order("confirmed"))
    for event in eater.course():
        await eater.take(event)
    assert await eater.told() == ["order-confirmed", *TOLD]
    assert await eater.told("sms") == ["sms-order-confirmed", *(f"sms-{name}" for name in TOLD)]
    assert await eater.recipients("email") == {eater.samples.email}
    assert await eater.recipients("sms") == {PHONE}


async def test_what_the_order_says_of_its_delivery_is_not_told_twice(eater: Eater) -> None:
    await eater.take(eater.order("confirmed"), *eater.course())
    await eater.take(eater.order("fulfilled"), eater.order("delivered"))
    assert (await eater.told()).count("food-delivered") == 1
    assert not {"order-fulfilled", "order-delivered"} & set(await eater.told())


async def test_events_in_any_order_tell_each_thing_once_and_nothing_old(eater: Eater, more_samples: Any) -> None:
    chance = random.Random(5)
    for order in itertools.permutations(range(4)):
        one = Eater(more_samples(), eater.queue, eater.database)
        course = [one.delivery(state, version) for version, state in enumerate(COURSE[1:2] + COURSE[3:], 2)]
        told: list[Event] = [course[at] for at in (*order, *chance.choices(order, k=3))]
        told.insert(chance.randint(0, 4), one.order("confirmed"))
        while told:
            await one.take(*[told.pop(0) for _ in range(min(len(told), chance.randint(1, 2)))])
        sql = "SELECT template FROM notifications WHERE order_id = $1 AND channel = 'email' ORDER BY id"
        found = [row["template"] for row in await eater.database.fetch(sql, one.samples.order_id)]
        assert found[0] == "order-confirmed", order
        assert found[-1] == "food-delivered", order
        assert len(set(found)) == len(found)
        assert [TOLD.index(name) for name in found[1:]] == sorted(TOLD.index(name) for name in found[1:])


async def test_an_event_that_is_consumed_again_tells_nothing_again(eater: Eater) -> None:
    await eater.take(eater.order("confirmed"))
    event_id = new_id()
    for _ in range(2):
        await eater.take(eater.delivery("assigned", 2), event_id=event_id)
    assert await eater.told() == ["order-confirmed", "food-courier"]


async def test_a_replaced_courier_is_told_again_and_the_same_one_is_not(eater: Eater) -> None:
    await eater.take(eater.order("confirmed"))
    for event in (
        eater.delivery("assigned", 2, "Bo"),
        eater.delivery("waiting", 3),
        eater.delivery("assigned", 4, "Bo"),
        eater.delivery("waiting", 5),
        eater.delivery("assigned", 6, "Cy"),
        eater.delivery("at_restaurant", 7, "Cy"),
        eater.delivery("assigned", 4, "Bo"),
    ):
        await eater.take(event)
    assert await eater.told() == ["order-confirmed", "food-courier", "food-courier"]
    rows = await eater.database.fetch("SELECT data FROM notifications WHERE template = 'food-courier' ORDER BY id")
    assert [(row["data"]["courier_name"], row["data"]["replaced"]) for row in rows] == [("Bo", False), ("Cy", True)]


async def test_nothing_is_told_before_the_confirmation(eater: Eater) -> None:
    """The events of a delivery travel in another stream and may be faster."""
    await eater.take(eater.delivery("assigned", 3), eater.delivery("waiting", 1))
    await eater.take(eater.delivery("waiting", 2))
    assert await eater.told() == []
    await eater.take(eater.order("confirmed"))
    assert await eater.told() == ["order-confirmed", "food-courier"]
    assert await eater.told("sms") == ["sms-order-confirmed", "sms-food-courier"]


@pytest.mark.parametrize("end", ["cancelled", "rejected"])
async def test_nothing_is_told_of_a_delivery_whose_order_is_over(eater: Eater, end: str) -> None:
    await eater.take(eater.delivery("assigned", 2))
    await eater.take(eater.order(end, reason="no_courier"))
    await eater.take(*eater.course())
    assert await eater.told() == [f"order-{end}"]
    assert await eater.told("sms") == [f"sms-order-{end}"]


async def test_without_a_phone_or_a_provider_there_are_only_mails(eater: Eater, more_samples: Any) -> None:
    mute = Eater(more_samples(), MessageQueue("", Clock(), texts=False), eater.database)
    for one, changed in ((eater, {"phone": None}), (mute, {})):
        await one.take(one.order("confirmed", **changed))
        await one.take(*one.course())
    assert await eater.told("sms") == []
    assert await eater.told() == ["order-confirmed", *TOLD] * 2


def test_the_owners_alert_and_the_customers_message_are_two(samples: Any) -> None:
    event = samples.rejected().model_copy(update={"kind": "food", "phone": PHONE})
    found = notices(event, OWNER, texts=True)
    assert [(one.channel, one.recipient, one.second) for one in found] == [
        ("email", samples.email, False), ("sms", OWNER, False), ("sms", PHONE, True),
    ]  # fmt: skip


async def test_both_text_messages_about_a_late_rejection_are_queued(samples: Any, database: Database) -> None:
    eater = Eater(samples, MessageQueue(OWNER, Clock(), texts=True), database)
    event_id = new_id()
    for _ in range(2):
        await eater.take(eater.order("rejected", reason="not_accepted_in_time"), event_id=event_id)
    assert await eater.told("sms") == ["alert-order-rejected", "sms-order-rejected"]
    assert await eater.recipients("sms") == {OWNER, PHONE}


async def test_phone_numbers_are_deleted_with_the_account(eater: Eater) -> None:
    """What is queued is still sent; then nothing is left, whatever events come later."""
    await eater.take(eater.order("confirmed"))
    await eater.take(eater.delivery("assigned", 2))
    await eater.take(UserDeleted(user_id=eater.samples.user_id, occurred_at=NOW))
    for event in (eater.delivery("picked_up", 4), eater.order("confirmed"), eater.delivery("delivered", 6)):
        await eater.take(event)
    assert await eater.database.fetchval("SELECT count(*) FROM food_orders") == 0
    assert "sms-food-delivered" not in await eater.told("sms")
    for channel in ("sms", "email"):
        await sender_of(Provider(channel), eater.database).send_batch()
    left = "SELECT count(*) FROM notifications WHERE recipient = $1 OR strpos(data::text, $1) > 0"
    assert await eater.database.fetchval(left, PHONE) == 0


async def test_an_order_is_forgotten_a_month_after_its_last_event(eater: Eater) -> None:
    await eater.take(eater.order("confirmed"))
    for days, left in ((29, 1), (31, 0)):
        clock = FixedClock(datetime.now(UTC) + timedelta(days=days))
        await Retention(eater.database, clock, retention_repository.rules(timedelta(days=180))).remove_once()
        assert await eater.database.fetchval("SELECT count(*) FROM food_orders") == left


class Provider:
    """Accepts a message, or says that it has to wait."""

    parallel = 1

    def __init__(self, channel: Channel = "sms") -> None:
        self.channel: Channel = channel
        self.deferred: list[str] = []
        self.sent: list[str] = []

    async def open(self) -> None: ...

    async def send(self, message: Outgoing) -> None:
        if any(word in message.content.text for word in self.deferred):
            raise Deferred("busy")
        self.sent.append(message.content.text)

    async def close(self) -> None: ...


def sender_of(provider: Provider, database: Database) -> Sender:
    renderer = Renderer(TEMPLATES, {"title": "Shop", "url": "https://shop.example"}, formats("DE"))
    return Sender(provider, renderer, NotificationRepository(database), Clock())


async def test_a_message_that_had_to_wait_is_dropped_once_a_later_one_was_sent(eater: Eater) -> None:
    await eater.take(eater.order("confirmed"))
    await eater.take(*eater.course())
    provider = Provider()
    provider.deferred = ["is on its way"]
    sender = sender_of(provider, eater.database)
    await sender.send_batch()
    provider.deferred = []
    await eater.database.execute("UPDATE notifications SET next_attempt_at = now() WHERE state = 'queued'")
    await sender.send_batch()
    assert [("has been delivered" in text, "on its way" in text) for text in provider.sent][-1] == (True, False)
    assert not [text for text in provider.sent if "on its way" in text]
    rows = await eater.database.fetch(
        "SELECT state, error FROM notifications WHERE template = 'sms-food-on-the-way' AND channel = 'sms'"
    )
    assert [(row["state"], "later message" in row["error"]) for row in rows] == [("failed", True)]


def rendered(template: str, event: Event, **extra: Any) -> Rendered:
    shop = {"title": "Shop", "url": "https://shop.example"}
    renderer = Renderer(TEMPLATES, shop, formats("GB", "en-GB", "Europe/London"))
    return renderer.render(template, event.model_dump(mode="json") | extra, "Ada")


def test_a_confirmation_names_restaurant_delivery_fee_tip_and_time(eater: Eater) -> None:
    content = rendered("order-confirmed", eater.order("confirmed"))
    assert content.html is not None
    for text in (content.text, content.html):
        assert RESTAURANT in text
        assert "Delivery fee" in text
        assert "€1.50" in text
        assert "19:30" in text
        assert "Ship" not in text
    assert "  Delivery fee: " in content.text
    assert "\n\nHello Ada Lovelace,\n\n" not in content.subject


def test_a_retail_confirmation_has_no_word_of_food(samples: Any) -> None:
    content = rendered("order-confirmed", samples.confirmed())
    assert "  Shipping: €4.90" in content.text
    assert "Ship to:" in content.text
    assert not {"Tip", "Delivery"} & set(content.text.split())


@pytest.mark.parametrize(
    ("template", "extra", "said"),
    [
        ("sms-food-courier", {"replaced": False}, "Shop: Bo brings your order from Da Carlo. Expected at about 19:42."),
        ("sms-food-courier", {"replaced": True}, "Your order from Da Carlo has a new courier: Bo."),
        ("sms-food-on-the-way", {}, "is on its way with Bo. Expected at about 19:42."),
        ("sms-food-delivered", {}, "has been delivered"),
        ("food-courier", {"replaced": True}, "has a new courier: Bo"),
        ("food-on-the-way", {}, "the code"),
        ("food-delivered", {}, "Enjoy your meal."),
    ],
)
def test_messages_about_a_delivery(eater: Eater, template: str, extra: dict[str, Any], said: str) -> None:
    content = rendered(template, eater.delivery("assigned", 2), **extra)
    assert said.lower() in content.text.lower()
    assert f"https://shop.example/orders/{eater.samples.order_id}" in content.text
    assert (content.html is None) == template.startswith("sms-")


@pytest.mark.parametrize(
    ("kind", "reason", "said"),
    [
        ("cancelled", "cancelled_by_restaurant", "the restaurant cancelled your order"),
        ("cancelled", "no_courier", "no courier was free"),
        ("cancelled", "cancelled", "cancelled"),
        ("rejected", "not_accepted_in_time", "did not accept your order"),
        ("rejected", "refused_by_restaurant", "could not take your order"),
        ("rejected", "payment_declined", "could not be completed"),
    ],
)
def test_an_end_says_why(eater: Eater, kind: str, reason: str, said: str) -> None:
    event = eater.order(kind, reason=reason)
    for template in (f"order-{kind}", f"sms-order-{kind}"):
        content = rendered(template, event)
        assert said in content.text.lower()
        assert "shipped" not in content.text
        # A late rejection may follow a charge, which is refunded then.
        assert ("payment will be refunded" if kind == "rejected" else "€27.35") in content.text


async def test_the_mailbox_keeps_text_messages_once(database: Database) -> None:
    mailbox = MailboxRepository(database)
    provider = TextMailboxProvider(mailbox, "shop@shop.local", "Shop", Clock())
    message = Outgoing(new_id(), PHONE, Rendered("Shop", "Shop: your pizza comes.\n", None), NOW)
    for _ in range(2):
        await provider.send(message)
    with pytest.raises(Refused):
        await provider.send(Outgoing(new_id(), "x\r\nBcc: a@b.example", message.content, NOW))
    (row,) = await mailbox.page(None, PHONE, 10)
    assert row["subject"] == f"Text message to {PHONE}"
    await provider.close()


async def test_a_demo_shop_shows_mails_and_text_messages_in_its_mailbox(start_service: Any, samples: Any) -> None:
    eater = Eater(samples, MessageQueue("", Clock()), samples)
    async with start_service(mailbox_port=2525, smtp_url="", food=True) as service:
        rows = await service.publish(eater.order("confirmed"), *eater.course())
        await service.wait_until_taken(rows)
        await service.wait_until_sent()
        page = (await service.client.get("/mailbox")).text
        assert f"Text message to {PHONE}" in page
        assert page.count(f"Text message to {PHONE}") == await service.count("channel = 'sms'")
        (shown,) = await service.database.fetch(
            "SELECT id FROM mailbox WHERE strpos(convert_from(raw, 'UTF8'), 'has been delivered') > 0"
            " AND $1 = ANY (recipients)",
            PHONE,
        )
        assert "has been delivered" in (await service.client.get(f"/mailbox/{shown['id']}")).text


async def test_a_shop_without_food_takes_no_deliveries(start_service: Any, smtp: Any, samples: Any) -> None:
    eater = Eater(samples, MessageQueue("", Clock()), samples)
    async with start_service(smtp_url=smtp.url) as service:
        await service.publish(*eater.course())
        rows = await service.publish(samples.confirmed())
        await service.wait_until_taken(rows)
        await service.wait_until_sent()
        assert await service.count() == 1
        assert await service.database.fetchval("SELECT count(*) FROM food_orders") == 0


def states(order: FoodOrder, course: Sequence[DeliveryChanged]) -> list[str]:
    told = []
    for event in course:
        order, found = order.take(event, texts=False)
        told += [notice.template for notice in found]
    return told


def test_what_is_told_of_a_delivery_without_infrastructure(eater: Eater) -> None:
    order = FoodOrder(eater.samples.order_id, eater.samples.user_id, confirmed=True)
    assert states(order, eater.course()) == TOLD
    assert states(order, list(reversed(eater.course()))) == ["food-delivered"]
    assert states(order, [eater.delivery("failed", 2, None), eater.delivery("cancelled", 3, None)]) == []


def test_events_have_the_envelope_of_their_type(eater: Eater) -> None:
    assert events.row(eater.delivery("assigned", 1)).type == DeliveryChanged.TYPE
