"""An order of food through the real services: order, pricing, payment, restaurant, delivery and notification."""

from __future__ import annotations

from shop.devkit.testing import wait_until
from tests.contracts.food_quarter import WAIT_S, Quarter


async def test_an_order_is_cooked_brought_and_told_about(quarter: Quarter) -> None:
    courier = await quarter.courier()
    quote = await quarter.request("pricing", "POST", "/quotes", json=quarter.cart())
    assert quote.status_code == 200, quote.text
    quoted = quote.json()
    answer = await quarter.place(expected_total=quoted["total"])
    assert answer.status_code == 201, answer.text
    order_id = answer.json()["id"]
    assert {name: answer.json()[name] for name in ("subtotal", "shipping", "tip", "total")} == {
        name: quoted[name] for name in ("subtotal", "shipping", "tip", "total")
    }
    await quarter.ticket(order_id, "begin")
    await quarter.ticket(order_id, "ready")
    for action in ("arrive", "pick-up"):
        await quarter.step(order_id, action, courier)
    await quarter.until(order_id, "fulfilled")
    await quarter.step(order_id, "depart", courier)
    tracked = await quarter.request("delivery", "GET", f"/deliveries/{order_id}", quarter.customer)
    await quarter.step(order_id, "deliver", courier, code=tracked.json()["code"])
    order = await quarter.until(order_id, "delivered")
    assert order["delivery"]["courier"]["name"] == "Bo"
    told = ["order-confirmed", "food-courier", "food-on-the-way", "food-delivered"]

    async def all_told() -> bool:
        found = await quarter.messages(order_id)
        return found == {"email": told, "sms": [f"sms-{name}" for name in told]}

    await wait_until(all_told, WAIT_S, "the messages")
    assert (await quarter.payment(order_id))["amount"] == order["total"]


async def test_without_a_courier_nothing_is_charged_and_the_kitchen_has_nothing(quarter: Quarter) -> None:
    answer = await quarter.place()
    assert (answer.status_code, answer.json()["code"]) == (503, "no_courier"), answer.text
    assert int(answer.headers["retry-after"]) > 0
    order_id = answer.json()["order_id"]
    paid = await quarter.request("payment", "GET", "/payments", params={"order_id": order_id})
    assert paid.json()["items"] == []
    tickets = await quarter.request("restaurant", "GET", f"/restaurants/{quarter.restaurant['id']}/tickets")
    assert [one for one in tickets.json()["items"] if one["state"] not in ("cancelled", "rejected")] == []


async def test_a_customer_cancels_until_the_kitchen_begins(quarter: Quarter) -> None:
    courier = await quarter.courier()
    first = (await quarter.place()).json()["id"]
    cancelled = await quarter.request("order", "POST", f"/orders/{first}/cancel", quarter.customer)
    assert cancelled.status_code in (200, 202), cancelled.text
    await quarter.until(first, "cancelled")
    payment = await quarter.payment(first)
    assert payment["refunded"] == payment["amount"]
    jobs = await quarter.request("delivery", "GET", "/couriers/me/jobs", courier)
    assert jobs.json()["items"] == []
    second = (await quarter.place()).json()["id"]
    await quarter.ticket(second, "begin")
    refused = await quarter.request("order", "POST", f"/orders/{second}/cancel", quarter.customer)
    assert (refused.status_code, refused.json()["code"]) == (409, "kitchen_has_begun")
    by_admin = await quarter.request("order", "POST", f"/orders/{second}/cancel")
    assert by_admin.status_code in (200, 202), by_admin.text
    await quarter.until(second, "cancelled")
