"""Buy something at SHOP_URL, sent to SHOP_COUNTRY, and fail unless the order ends well: what `helm test` runs."""

import os
import sys
import time
import uuid
from typing import Any

import httpx

from shop.kit.postal import rules

ENDS_WITHIN_S = 60.0
PAUSE_S = 0.5
REQUEST_TIMEOUT_S = 15.0


def call(shop: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """The JSON answer; ends the program when the shop refuses."""
    response = shop.request(method, f"/api/v1{path}", **options)
    if not response.is_success:
        sys.exit(f"{method} {path}: {response.status_code} {response.text[:500]}")
    return response.json()


def address_in(country: str) -> dict[str, str]:
    """An address that fits a country: its example of a postal code, where it has any."""
    place = {"name": "Helm Test", "street": "1 Chart Way", "city": "Testing", "country": country}
    return place | {"postal_code": rules(country).example}


def sign_up(shop: httpx.Client) -> str:
    """The access token of a customer of this test's own."""
    person = {"email": f"helm-test-{uuid.uuid4().hex}@shop.local", "password": uuid.uuid4().hex}
    call(shop, "POST", "/users", json={**person, "name": "Helm Test"})
    return str(call(shop, "POST", "/tokens", json=person)["access_token"])


def buy(shop: httpx.Client) -> dict[str, Any]:
    """Order one piece of the first product in stock."""
    products = call(shop, "GET", "/products", params={"limit": 100})["items"]
    in_stock = [product for product in products if product["stock"] > 0]
    if not in_stock:
        sys.exit("nothing in stock: there is nothing to buy")
    order = {
        "items": [{"product_id": in_stock[0]["id"], "quantity": 1}],
        "address": address_in(os.environ["SHOP_COUNTRY"]),
        "payment": {"token": "tok_visa"},
    }
    return dict(call(shop, "POST", "/orders", json=order, headers={"Idempotency-Key": str(uuid.uuid4())}))


def ended(shop: httpx.Client, order: dict[str, Any]) -> dict[str, Any]:
    """The order once it is no longer pending; a busy shop answers before it is."""
    deadline = time.monotonic() + ENDS_WITHIN_S
    while order["state"] == "pending" and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
        order = call(shop, "GET", f"/orders/{order['id']}")
    return order


def main() -> None:
    """Exit status 0 when the order was confirmed."""
    with httpx.Client(base_url=os.environ["SHOP_URL"], timeout=REQUEST_TIMEOUT_S) as shop:
        shop.headers["Authorization"] = f"Bearer {sign_up(shop)}"
        order = ended(shop, buy(shop))
    if order["state"] != "confirmed":
        sys.exit(f"order {order['id']} is {order['state']}: {order.get('reason')}")
    sys.stdout.write(f"order {order['id']} is confirmed, {order['total']['amount']} {order['total']['currency']}\n")


if __name__ == "__main__":
    main()
