"""Each oracle holds in a sound shop, and it alone fails when what it guards is broken in the databases."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest

from k8s.operator.tests.audit_arcade import cache_boards
from k8s.operator.tests.audit_arcade_breaks import ARCADE_BREAKS
from k8s.operator.tests.audit_food import FOOD_BREAKS
from k8s.operator.tests.audit_learning import RECOMMENDATION_BREAKS
from k8s.operator.tests.audit_records import AT, TOTAL, ShopRecords
from k8s.operator.tests.audit_sound import Sound, late, violations
from shop.kit.ids import new_id
from shop.operator.audit.model import Options
from shop.operator.audit.run import ORACLES, Target, audit, wait_until_ended
from shop.operator.errors import ShopctlError


async def test_a_sound_shop_passes_and_every_oracle_had_something_to_check(sound: Sound) -> None:
    results = await audit(sound.records.target, Options(), pause_s=0)
    assert [result.document() for result in results if not result.ok] == []
    assert [result.number for result in results] == [oracle.number for oracle in ORACLES]
    assert [result.number for result in results if result.checked == 0] == []


async def test_history_that_was_removed_is_no_violation(sound: Sound) -> None:
    await sound.records.run("order", "INSERT INTO removed_history (ended_until) VALUES ($1)", AT)
    for table in ("sagas", "order_transitions"):
        ended = [sound.cancelled.order, sound.rejected.order]
        await sound.records.run("order", f"DELETE FROM {table} WHERE order_id = ANY ($1)", ended)
    await cache_boards(sound.records)
    assert await violations(sound.records) == {}


async def test_a_database_may_be_missing_only_where_a_module_can_be_off(sound: Sound) -> None:
    target = sound.records.target
    gone = {**target.databases, "advice": target.databases["order"].rpartition("/")[0] + "/shop_advice"}
    with pytest.raises(ShopctlError, match="the database of advice cannot be read"):
        await audit(Target(gone, target.nats_url), Options(), pause_s=0)
    results = await audit(Target(gone, target.nats_url, ["advice"]), Options(), pause_s=0)
    assert [result.document() for result in results if not result.ok] == []


async def lost_order(sound: Sound) -> str:
    unknown = new_id()
    await sound.records.notify(new_id(), unknown, new_id(), "order-confirmed")
    return str(unknown)


async def overdue_order(sound: Sound) -> str:
    return str((await sound.records.pending(timedelta(hours=1))).order)


async def orphaned_order(sound: Sound) -> str:
    placed = await sound.records.pending(timedelta(minutes=1))
    await sound.records.run("order", "UPDATE sagas SET status = 'done' WHERE order_id = $1", placed.order)
    return str(placed.order)


async def key_used_twice(sound: Sound) -> str:
    records, first = sound.records, sound.rejected
    await records.run("order", "ALTER TABLE orders DROP CONSTRAINT one_order_per_key")
    return str((await records.rejected(user=first.user, key=str(first.order))).order)


async def stock_never_received(sound: Sound) -> str:
    await sound.records.run("product", "UPDATE products SET stock = stock + 1")
    return str(sound.records.product)


async def oversold(sound: Sound) -> str:
    await sound.records.run("product", "UPDATE reservation_lines SET quantity = 11")
    return str(sound.records.product)


async def negative_stock(sound: Sound) -> str:
    await sound.records.run("product", "ALTER TABLE products DROP CONSTRAINT stock_not_negative")
    await sound.records.run("product", "UPDATE products SET stock = -1")
    return str(sound.records.product)


async def charged_twice(sound: Sound) -> str:
    await sound.records.capture_at_provider(sound.confirmed.order, "again", new_id())
    return str(sound.confirmed.order)


async def charged_too_little(sound: Sound) -> str:
    await sound.records.run(
        "order", "UPDATE orders SET total = total + 1, tax = tax + 1 WHERE id = $1", sound.confirmed.order
    )
    return str(sound.confirmed.order)


async def provider_took_more(sound: Sound) -> str:
    await sound.records.run(
        "payment", "UPDATE simulator.charges SET amount = amount + 5 WHERE reference = $1", sound.confirmed.charge
    )
    return str(sound.confirmed.order)


async def provider_never_took_it(sound: Sound) -> str:
    await sound.records.run("payment", "DELETE FROM simulator.charges WHERE reference = $1", sound.confirmed.charge)
    return str(sound.confirmed.order)


async def capture_unknown_to_us(sound: Sound) -> str:
    await sound.records.capture_at_provider(sound.rejected.order, "unasked", new_id())
    return str(sound.rejected.order)


async def charge_without_order(sound: Sound) -> str:
    unknown = new_id()
    await sound.records.capture_at_provider(unknown, "nothing", new_id())
    return str(unknown)


async def stock_kept_by_cancelled_order(sound: Sound) -> str:
    await sound.records.run(
        "product", "UPDATE reservations SET state = 'sold' WHERE order_id = $1", sound.cancelled.order
    )
    await sound.records.run("product", "UPDATE products SET stock = stock - 1")
    return str(sound.cancelled.order)


async def coupon_kept_by_rejected_order(sound: Sound) -> str:
    await sound.records.run(
        "pricing",
        "INSERT INTO redemptions (order_id, code, user_id, redeemed_at) VALUES ($1, 'TEN', $2, now() - interval '1 h')",
        sound.rejected.order,
        sound.rejected.user,
    )
    return str(sound.rejected.order)


async def refunded_twice_at_the_provider(sound: Sound) -> str:
    await sound.records.refund_at_provider(sound.cancelled.charge)
    return str(sound.cancelled.order)


async def unpublished_event(sound: Sound) -> str:
    event = new_id()
    await sound.records.outbox(event, "order.fulfilled.v1", sound.confirmed.order, None)
    return str(event)


async def event_lost_by_the_broker(sound: Sound) -> str:
    event = new_id()
    await sound.records.outbox(event, "order.fulfilled.v1", sound.confirmed.order, 99)
    return str(event)


async def dead_event(sound: Sound) -> str:
    event = new_id()
    await sound.records.run(
        "notification",
        "INSERT INTO dead_letter (consumer, event_id, type, payload, error, failures, dead_at)"
        " VALUES ('messages', $1, 'order.confirmed.v1', '{}', 'x', 5, now())",
        event,
    )
    return str(event)


async def event_not_consumed_by_product(sound: Sound) -> str:
    event = sound.confirmed.events["order.confirmed.v1"]
    await sound.records.run("product", "DELETE FROM inbox WHERE event_id = $1", event)
    return str(event)


async def notified_twice(sound: Sound) -> str:
    event = sound.confirmed.events["order.confirmed.v1"]
    await sound.records.run(
        "notification", "ALTER TABLE notifications DROP CONSTRAINT notifications_event_id_channel_key"
    )
    await sound.records.notify(event, sound.confirmed.order, sound.confirmed.user, "order-confirmed")
    return str(event)


async def confirmation_without_effect(sound: Sound) -> str:
    await sound.records.run(
        "product", "UPDATE reservations SET state = 'reserved' WHERE order_id = $1", sound.confirmed.order
    )
    return str(sound.confirmed.order)


async def overtaken_event(sound: Sound) -> str:
    await sound.records.run(
        "order",
        "UPDATE outbox SET stream_sequence = (SELECT sum(stream_sequence) FROM outbox o WHERE o.subject_id = $1)"
        " - stream_sequence WHERE subject_id = $1",
        str(sound.cancelled.order),
    )
    return str(sound.cancelled.order)


async def illegal_transition(sound: Sound) -> str:
    await sound.records.run(
        "order", "UPDATE order_transitions SET from_state = 'delivered' WHERE order_id = $1", sound.confirmed.order
    )
    return str(sound.confirmed.order)


async def unrecorded_transition(sound: Sound) -> str:
    await sound.records.run(
        "order", "DELETE FROM order_transitions WHERE order_id = $1 AND version = 3", sound.cancelled.order
    )
    return str(sound.cancelled.order)


async def lost_history(sound: Sound) -> str:
    await sound.records.run("order", "INSERT INTO removed_history (ended_until) VALUES ($1)", AT - timedelta(seconds=1))
    await sound.records.run("order", "DELETE FROM order_transitions WHERE order_id = $1", sound.cancelled.order)
    return str(sound.cancelled.order)


async def history_of_an_order_that_goes_on(sound: Sound) -> str:
    await sound.records.run("order", "INSERT INTO removed_history (ended_until) VALUES (now())")
    await sound.records.run("order", "DELETE FROM order_transitions WHERE order_id = $1", sound.confirmed.order)
    return str(sound.confirmed.order)


async def unbalanced_ledger(sound: Sound) -> str:
    transaction = new_id()
    await sound.records.entry(transaction, "sales", TOTAL, sound.confirmed.payment)
    return str(transaction)


async def right_to_connect_to_another_database(sound: Sound) -> str:
    database = sound.records.target.databases["payment"].rsplit("/", 1)[1]
    await sound.records.run("order", f"GRANT CONNECT ON DATABASE {database} TO shop_order")
    return f"shop_order -> {database}"


async def payment_of_another_user(sound: Sound) -> str:
    await sound.records.run(
        "payment", "UPDATE payments SET user_id = $2 WHERE id = $1", sound.confirmed.payment, new_id()
    )
    return str(sound.confirmed.order)


async def broken_trace(sound: Sound) -> str:
    await sound.records.run(
        "payment",
        "UPDATE payments SET traceparent = $2 WHERE id = $1",
        sound.confirmed.payment,
        f"00-{'ef' * 16}-{'cd' * 8}-01",
    )
    return str(sound.confirmed.order)


BROKEN: list[tuple[int, Callable[[Sound], Awaitable[str]]]] = [
    (1, lost_order),
    (2, overdue_order),
    (2, orphaned_order),
    (3, key_used_twice),
    (4, stock_never_received),
    (4, oversold),
    (5, negative_stock),
    (6, charged_twice),
    (7, charged_too_little),
    (7, provider_took_more),
    (7, provider_never_took_it),
    (7, capture_unknown_to_us),
    (8, charge_without_order),
    (9, stock_kept_by_cancelled_order),
    (9, coupon_kept_by_rejected_order),
    (9, refunded_twice_at_the_provider),
    (10, unpublished_event),
    (10, event_lost_by_the_broker),
    (11, dead_event),
    (11, event_not_consumed_by_product),
    (11, notified_twice),
    (11, confirmation_without_effect),
    (12, overtaken_event),
    (13, illegal_transition),
    (13, unrecorded_transition),
    (13, lost_history),
    (13, history_of_an_order_that_goes_on),
    (14, unbalanced_ledger),
    (15, right_to_connect_to_another_database),
    (15, payment_of_another_user),
    (16, broken_trace),
    *((17, breaks) for breaks in RECOMMENDATION_BREAKS),
    *((number, breaks) for number, found in FOOD_BREAKS.items() for breaks in found),
    *((number, breaks) for number, found in ARCADE_BREAKS.items() for breaks in found),
]

CACHED_BOARDS = 26
"""What is wrong in the database is in the cache, too, unless this oracle is to find it."""


def test_every_oracle_is_shown_to_fail() -> None:
    assert {number for number, _ in BROKEN} == {oracle.number for oracle in ORACLES}


@pytest.mark.parametrize(("number", "breaks"), BROKEN, ids=[f"{number}-{breaks.__name__}" for number, breaks in BROKEN])
async def test_exactly_the_right_oracle_fails_and_names_the_offender(
    sound: Sound, number: int, breaks: Callable[[Sound], Awaitable[str]]
) -> None:
    offender = await breaks(sound)
    if number != CACHED_BOARDS:
        await cache_boards(sound.records)
    assert await violations(sound.records) == {number: [offender]}


async def test_an_acknowledged_order_that_is_gone_is_named(sound: Sound) -> None:
    lost = str(new_id())
    promised = Options(acknowledged=frozenset({lost, str(sound.confirmed.order)}))
    assert await violations(sound.records, promised) == {1: [lost]}


async def test_recent_changes_are_ignored(sound: Sound) -> None:
    await charged_too_little(sound)
    await sound.records.run("order", "UPDATE orders SET updated_at = now() WHERE id = $1", sound.confirmed.order)
    assert await violations(sound.records, Options(settle_s=60)) == {}
    assert list(await violations(sound.records, Options(settle_s=0))) == [7]


async def test_an_unreachable_broker_fails_its_oracle_alone(sound: Sound) -> None:
    dead = ShopRecords(sound.records.connections, Target(sound.records.target.databases, "nats://127.0.0.1:1"))
    found = await violations(dead)
    assert found.keys() == {10, 17}
    assert set(found[10]) == {"stream achievement", "stream order", "stream player"}
    assert found[17] == ["stream order"]


async def test_an_unreachable_database_is_one_sentence(sound: Sound) -> None:
    urls = {**sound.records.target.databases, "payment": "postgresql://nobody@127.0.0.1:1/x"}
    with pytest.raises(ShopctlError, match="the database of payment cannot be read"):
        await audit(Target(urls, sound.records.target.nats_url), Options())


async def test_the_audit_cannot_change_anything(sound: Sound) -> None:
    from shop.operator.audit.run import _connections

    async with _connections(sound.records.target) as connections:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connections["order"].execute("UPDATE orders SET reason = 'x'")


async def unfinished_saga(sound: Sound) -> str:
    await sound.records.pending(timedelta(seconds=1))
    return "1 sagas that are not done"


async def reserved_stock(sound: Sound) -> str:
    await confirmation_without_effect(sound)
    return "1 orders whose stock is reserved and not yet sold or released"


async def event_not_published(sound: Sound) -> str:
    await unpublished_event(sound)
    return "1 events of order that are not published"


async def event_not_consumed(sound: Sound) -> str:
    await event_not_consumed_by_product(sound)
    return "1 events order.confirmed.v1 that product has not consumed"


@pytest.mark.parametrize("begin", [unfinished_saga, reserved_stock, event_not_published, event_not_consumed])
async def test_what_is_late_is_named(sound: Sound, begin: Callable[[Sound], Awaitable[str]]) -> None:
    assert await late(sound.records) == []
    expected = await begin(sound)
    [found] = await late(sound.records)
    assert found.startswith(f"{expected} (")


async def test_waiting_ends_with_what_was_under_way(kept_sound: Sound) -> None:
    records, target = kept_sound.records, kept_sound.records.target
    await cache_boards(records)
    assert await wait_until_ended(target, 5) == []
    placed = await records.pending(timedelta(seconds=1))
    try:
        [found] = await wait_until_ended(target, 0)
        assert found == f"1 sagas that are not done ({placed.order})"
        waiting = asyncio.create_task(wait_until_ended(target, 30))
        await records.run("order", "UPDATE sagas SET status = 'done' WHERE order_id = $1", placed.order)
        assert await waiting == []
    finally:
        await records.remove(placed)


async def test_a_dead_event_is_not_waited_for(sound: Sound) -> None:
    """It is broken, and oracle 11 says so: it never becomes anything but dead."""
    event = sound.confirmed.events["order.confirmed.v1"]
    await sound.records.run("notification", "DELETE FROM inbox WHERE event_id = $1", event)
    await sound.records.run(
        "notification",
        "INSERT INTO dead_letter (consumer, event_id, type, payload, error, failures, dead_at)"
        " VALUES ('messages', $1, 'order.confirmed.v1', '{}', 'x', 5, now())",
        event,
    )
    assert await late(sound.records) == []
    assert 11 in await violations(sound.records)
