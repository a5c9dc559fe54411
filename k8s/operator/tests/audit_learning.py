"""What may go wrong between the order events and what recommendation learns, for the audit to find."""

from collections.abc import Awaitable, Callable

from k8s.operator.tests.audit_records import Placed
from k8s.operator.tests.audit_sound import Sound
from shop.kit.ids import new_id


async def run_on_recommendation(sound: Sound, sql: str, *arguments: object) -> None:
    await sound.records.run("recommendation", sql, *arguments)


async def order_that_recommendation_never_learned(sound: Sound) -> str:
    await run_on_recommendation(sound, "DELETE FROM purchases")
    await run_on_recommendation(sound, "UPDATE models SET orders = 0")
    return str(sound.confirmed.order)


async def order_that_no_event_confirmed(sound: Sound) -> str:
    unknown = Placed(new_id(), sound.confirmed.user)
    await sound.records.learn(unknown)
    await run_on_recommendation(sound, "UPDATE models SET orders = 2")
    return str(unknown.order)


async def cancelled_order_that_still_counts(sound: Sound) -> str:
    await run_on_recommendation(sound, "DELETE FROM orders WHERE order_id = $1", sound.cancelled.order)
    await sound.records.learn(sound.cancelled)
    await run_on_recommendation(sound, "UPDATE models SET orders = 2")
    return str(sound.cancelled.order)


async def purchase_of_another_customer(sound: Sound) -> str:
    await run_on_recommendation(
        sound, "UPDATE customers SET user_id = $2 WHERE user_id = $1", sound.confirmed.user, new_id()
    )
    return str(sound.confirmed.order)


async def model_that_counts_another_number(sound: Sound) -> str:
    await run_on_recommendation(sound, "UPDATE models SET orders = orders + 1")
    return "model"


async def model_that_is_behind(sound: Sound) -> str:
    await run_on_recommendation(sound, "UPDATE revision SET value = value + 1")
    return "model"


RECOMMENDATION_BREAKS: list[Callable[[Sound], Awaitable[str]]] = [
    order_that_recommendation_never_learned,
    order_that_no_event_confirmed,
    cancelled_order_that_still_counts,
    purchase_of_another_customer,
    model_that_counts_another_number,
    model_that_is_behind,
]
