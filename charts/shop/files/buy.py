"""Place an order at SHOP_URL, shipped to SHOP_COUNTRY, and fail unless it is confirmed: run by `helm test`.

It runs in the gateway's image, so it may use the standard library and the kit alone.
"""

import json
import os
import sys
import time
import uuid
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from shop.kit.postal import rules

TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.5
REQUEST_TIMEOUT_S = 15.0


def call(method: str, path: str, body: Any = None, **headers: str) -> Any:
    """The JSON of the response; exits when it is an error. Hyphens of headers are written as underscores."""
    request = Request(  # noqa: S310 - the URL is the chart's own
        f"{os.environ['SHOP_URL']}/api/v1{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()},
        method=method,
    )
    try:
        with urlopen(request, timeout=REQUEST_TIMEOUT_S) as response:  # noqa: S310
            return json.load(response)
    except HTTPError as error:
        sys.exit(f"{method} {path}: {error.code} {error.read(500).decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"{method} {path}: {error}")


def address_in(country: str) -> dict[str, str]:
    """A valid address in a country, with its example of a postal code if it has them."""
    address = {"name": "Helm Test", "street": "1 Chart Way", "city": "Testing", "country": country}
    return address | {"postal_code": rules(country).example}


def sign_up() -> str:
    """The Authorization header of a new customer."""
    account = {"email": f"helm-test-{uuid.uuid4().hex}@shop.local", "password": uuid.uuid4().hex}
    call("POST", "/users", {**account, "name": "Helm Test"})
    return f"Bearer {call('POST', '/tokens', account)['access_token']}"


def buy(authorization: str) -> dict[str, Any]:
    """Order one item of the first product in stock."""
    products = call("GET", "/products?limit=100")["items"]
    in_stock = [product for product in products if product["stock"] > 0]
    if not in_stock:
        sys.exit("no product is in stock")
    order = {
        "items": [{"product_id": in_stock[0]["id"], "quantity": 1}],
        "address": address_in(os.environ["SHOP_COUNTRY"]),
        "payment": {"token": "tok_visa"},
    }
    key = str(uuid.uuid4())
    return dict(call("POST", "/orders", order, Authorization=authorization, Idempotency_Key=key))


def settled(authorization: str, order: dict[str, Any]) -> dict[str, Any]:
    """The order once it is no longer pending; a busy shop responds with a pending one."""
    deadline = time.monotonic() + TIMEOUT_S
    while order["state"] == "pending" and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
        order = call("GET", f"/orders/{order['id']}", Authorization=authorization)
    return order


def main() -> None:
    """Exit status 0 when the order was confirmed."""
    authorization = sign_up()
    order = settled(authorization, buy(authorization))
    if order["state"] != "confirmed":
        sys.exit(f"order {order['id']} is {order['state']}: {order.get('reason')}")
    sys.stdout.write(f"order {order['id']} is confirmed, {order['total']['amount']} {order['total']['currency']}\n")


if __name__ == "__main__":
    main()
