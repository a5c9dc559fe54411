"""Any sequence of order and user events, repeated, in any order and batches, leaves the purchases that should count."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import numpy as np

from services.recommendation.tests.recommending import Shop, cancelled, confirmed, deleted, take
from shop.contracts.events import Event, OrderCancelled, OrderConfirmed, UserDeleted
from shop.kit.events import Received
from shop.kit.ids import new_id
from shop.recommendation.consumers import PurchaseRecorder
from shop.recommendation.model_repository import ModelRepository
from shop.recommendation.purchases import Purchases
from shop.recommendation.training import train

SEQUENCES = 40
PURCHASES = """
SELECT order_id, product_id FROM purchases
JOIN orders ON orders.number = order_number JOIN products ON products.number = product"""


def made_up(rng: random.Random, products: Sequence[UUID]) -> list[Event]:
    """Orders of a few customers, some cancelled, some customers deleted; every event once or more, in any order."""
    customers = [new_id() for _ in range(3)]
    orders = [
        confirmed(rng.choice(customers), *rng.sample(products, rng.randint(1, 3)), hours_ago=rng.randint(1, 900))
        for _ in range(rng.randint(1, 6))
    ]
    events: list[Event] = [*orders]
    events += [cancelled(order) for order in orders if rng.random() < 0.3]
    events += [deleted(customer) for customer in customers if rng.random() < 0.2]
    events += rng.sample(events, rng.randint(0, len(events)))
    rng.shuffle(events)
    return events


def batches(rng: random.Random, events: Sequence[Event]) -> Iterable[list[Received]]:
    rest = [Received(new_id(), event.TYPE, datetime.now(UTC), "", "", event) for event in events]
    while rest:
        size = rng.randint(1, 4)
        yield rest[:size]
        rest = rest[size:]


def counting(events: Iterable[Event]) -> dict[UUID, OrderConfirmed]:
    """The orders that count, by the definition: confirmed, not cancelled, and their customer is still there."""
    events = list(events)
    ended = {event.order_id for event in events if isinstance(event, OrderCancelled)}
    gone = {event.user_id for event in events if isinstance(event, UserDeleted)}
    orders = (event for event in events if isinstance(event, OrderConfirmed))
    return {one.order_id: one for one in orders if one.order_id not in ended and one.user_id not in gone}


def as_purchases(orders: Sequence[OrderConfirmed], products: Sequence[UUID]) -> Purchases:
    users = list({order.user_id: None for order in orders})
    rows = [
        (products.index(line.product_id), users.index(order.user_id), number, order.occurred_at.timestamp())
        for number, order in enumerate(orders)
        for line in order.lines
    ]
    product, user, order_number, time = zip(*rows, strict=True)
    return Purchases(
        np.array(product, np.int32), np.array(user, np.int32), np.array(order_number, np.int32), np.array(time)
    )


async def test_every_sequence_of_events_gives_the_purchases_and_the_model_of_the_definition(shop: Shop) -> None:
    rng = random.Random(11)
    database, service = shop.replica.context.database, shop.replica.service
    recorder = PurchaseRecorder(service.purchases, service.clock)
    products = [new_id() for _ in range(5)]
    seen: list[Event] = []
    for _ in range(SEQUENCES):
        events = made_up(rng, products)
        for batch in batches(rng, events):
            async with database.transaction() as connection:
                await take(recorder, connection, batch)
        seen += events
        expected = {(one.order_id, line.product_id) for one in counting(seen).values() for line in one.lines}
        assert {tuple(row) for row in await database.fetch(PURCHASES)} == expected
    stored, product_ids = await ModelRepository(database).purchases()
    now = service.clock.now().timestamp()
    by_definition = as_purchases(list(counting(seen).values()), products)
    assert train(stored, product_ids, now).to_bytes() == train(by_definition, products, now).to_bytes()
