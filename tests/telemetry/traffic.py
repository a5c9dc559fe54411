"""Something of everything that customers do in a shop with all modules."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from shop.devkit.testing import wait_until
from tests.conftest import RunningShop
from tests.integration import buyers, food
from tests.integration.rounds import play
from tests.load.shoppers import Shop, ShopError

COUPON = "TRAFFIC10"
PAGES = ("/", "/no-such-page", "/search?query=novel", "/api/v1/nothing")


async def everything(shop: RunningShop) -> None:
    """Returns once the orders have ended and the meal is delivered; events may still be on their way."""
    api = Shop.at(shop.url)
    try:
        admin = await api.token(shop.admin_email, shop.admin_password)
        customer, eater, player = await api.sign_up_many(3)
        product_id = await _buy(api, admin, customer)
        meal_id = await _eat(api, admin, eater)
        await play(api, player, perfect=1)
        for path in ("/leaderboards", "/notifications", "/recommendations"):
            await api.call("GET", path, player)
        await api.call("GET", "/traces", admin)
        await api.call("PUT", f"/promotions/{COUPON}", admin, json={"kind": "percentage", "value": 10})
        quote = {"items": [{"product_id": product_id, "quantity": 1}], "country": "DE", "coupon": COUPON}
        await api.call("POST", "/quotes", player, json=quote)
        with pytest.raises(ShopError, match="404"):  # delivery asks restaurant whether they work there
            await api.call("GET", f"/deliveries/{meal_id}", player)
        with pytest.raises(ShopError, match="401"):
            await api.token("nobody@example.com", "wrong password")
        for path in (*PAGES, f"/products/{product_id}"):
            async with api.session.get(shop.url + path) as page:
                await page.read()
    finally:
        await api.close()


async def _buy(api: Shop, admin: str, customer: str) -> str:
    """Orders that are confirmed, rejected for two reasons and cancelled; the product that was sold out."""
    product = await buyers.new_product(api, admin, stock=1)
    bought = await buyers.insist(api, customer, product["id"])
    assert await buyers.ends_as(api, bought) == "confirmed"
    other = await buyers.new_product(api, admin, stock=5)
    refused = [
        await buyers.insist(api, customer, product["id"]),
        await buyers.insist(api, customer, other["id"], card="tok_declined"),
    ]
    await api.call("POST", f"/orders/{bought.body['id']}/cancel", customer)

    async def ended() -> bool:
        """On a slow machine they are still pending when they are answered."""
        pending = [one for one in refused if one.status == HTTPStatus.ACCEPTED]
        states = [await buyers.state_of(api, one) for one in (bought, *pending)]
        return states == ["cancelled", *("rejected" for _ in pending)]

    await wait_until(ended, buyers.ENDS_WITHIN_S, "the end of the orders", buyers.LOOK_EVERY_S)
    return str(product["id"])


async def _eat(api: Shop, admin: str, eater: str) -> str:
    """A meal that a courier brings, who then goes off shift; its order."""
    place = await food.kitchen(api, admin)
    crew = await food.couriers(api, admin, 1, place.position)
    async with food.at_work(api, crew, place.position):
        meal = await food.insist(api, eater, food.meal(place))
        await food.comes_to(api, meal, "confirmed", "fulfilled")
        await food.tell_code(api, meal, crew)
        await food.comes_to(api, meal, "delivered")
    return str(meal.body["id"])
