"""Place an order at SHOP_URL, shipped to SHOP_COUNTRY, and fail unless it is confirmed: run by `helm test`."""

import os
import sys
import time
import uuid
from typing import Any

import httpx

from shop.kit.postal import rules

TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.5
REQUEST_TIMEOUT_S = 15.0


def call(shop: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """The JSON of the response; exits when it is an error."""
    response = shop.request(method, f"/api/v1{path}", **options)
    if not response.is_success:
        sys.exit(f"{method} {path}: {response.status_code} {response.text[:500]}")
    return response.json()


def address_in(country: str) -> dict[str, str]:
    """A valid address in a country, with its example of a postal code if it has them."""
    address = {"name": "Helm Test", "street": "1 Chart Way", "city": "Testing", "country": country}
    return address | {"postal_code": rules(country).example}


def sign_up(shop: httpx.Client) -> str:
    """The access token of a new customer."""
    account = {"email": f"helm-test-{uuid.uuid4().hex}@shop.local", "password": uuid.uuid4().hex}
    call(shop, "POST", "/users", json={**account, "name": "Helm Test"})
    return str(call(shop, "POST", "/tokens", json=account)["access_token"])


def buy(shop: httpx.Client) -> dict[str, Any]:
    """Order one item of the first product in stock."""
    products = call(shop, "GET", "/products", params={"limit": 100})["items"]
    in_stock = [product for product in products if product["stock"] > 0]
    if not in_stock:
        sys.exit("no product is in stock")
    order = {
        "items": [{"product_id": in_stock[0]["id"], "quantity": 1}],
        "address": address_in(os.environ["SHOP_COUNTRY"]),
        "payment": {"token": "tok_visa"},
    }
    return dict(call(shop, "POST", "/orders", json=order, headers={"Idempotency-Key": str(uuid.uuid4())}))


def settled(shop: httpx.Client, order: dict[str, Any]) -> dict[str, Any]:
    """The order once it is no longer pending; a busy shop responds with a pending one."""
    deadline = time.monotonic() + TIMEOUT_S
    while order["state"] == "pending" and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
        order = call(shop, "GET", f"/orders/{order['id']}")
    return order


def main() -> None:
    """Exit status 0 when the order was confirmed."""
    with httpx.Client(base_url=os.environ["SHOP_URL"], timeout=REQUEST_TIMEOUT_S) as shop:
        shop.headers["Authorization"] = f"Bearer {sign_up(shop)}"
        order = settled(shop, buy(shop))
    if order["state"] != "confirmed":
        sys.exit(f"order {order['id']} is {order['state']}: {order.get('reason')}")
    sys.stdout.write(f"order {order['id']} is confirmed, {order['total']['amount']} {order['total']['currency']}\n")


if __name__ == "__main__":
    main()
