"""Clients of the other services: one method per request, responses as `schemas` views.

A 4xx response is raised as the service's own Problem, a service that cannot be reached as Unavailable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from shop.contracts.money import Address
from shop.contracts.order_history import History
from shop.kit.errors import Problem, Unavailable
from shop.kit.http import Clients, ServiceClient
from shop.storefront.refreshing import RefreshingValue
from shop.storefront.schemas import (
    Category,
    Message,
    Order,
    Page,
    Payment,
    Product,
    Promotion,
    Quote,
    RecommendationModel,
    RecommendationPreview,
    SavedAddress,
)
from shop.storefront.settings import Settings

ORDER_TIMEOUT_S = 6.0
"""Longer than the order service waits before it answers `pending`, shorter than the gateway's timeout."""

REFUSALS = ("no_courier",)
"""Problem codes of a 503 that says that the order was refused."""

MAX_IDS = 100
CATEGORIES_TTL_S = 30.0


class Catalogue:
    """Products and categories."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._categories = RefreshingValue(self._load_categories, CATEGORIES_TTL_S)

    async def products(
        self, *, query: str = "", category: str = "", limit: int, cursor: str = "", sort: str = ""
    ) -> Page[Product]:
        query_parameters = {"query": query, "category": category, "limit": limit, "cursor": cursor, "sort": sort}
        params = {name: value for name, value in query_parameters.items() if value}
        answer = await self._client.get("/api/v1/products", params=params)
        return Page[Product].model_validate(answer.json)

    async def product(self, product_id: UUID) -> Product:
        answer = await self._client.get(f"/api/v1/products/{product_id}")
        return Product.model_validate(answer.json)

    async def by_ids(self, ids: Iterable[UUID]) -> dict[UUID, Product]:
        """Those of at most MAX_IDS products that exist, in one request."""
        wanted = ",".join(str(product_id) for product_id in ids)
        if not wanted:
            return {}
        answer = await self._client.get("/api/v1/products", params={"ids": wanted})
        return {product.id: product for product in Page[Product].model_validate(answer.json).items}

    async def categories(self) -> list[Category]:
        """By name, CATEGORIES_TTL_S seconds old at most while the product service answers.

        Before its first answer: Unavailable, its Problem, or TimeoutError.
        """
        return await self._categories.get()

    async def known_categories(self) -> list[Category]:
        """The same for navigation, which a page can do without: none before the product service's first answer."""
        try:
            return await self.categories()
        except (Unavailable, Problem, TimeoutError):
            return []

    async def _load_categories(self) -> list[Category]:
        answer = await self._client.get("/api/v1/products/categories")
        return Page[Category].model_validate(answer.json).items

    async def close(self) -> None:
        await self._categories.close()

    async def change_stock(self, token: str, product_id: UUID, delta: int, key: str) -> Product:
        """Add `delta` to the stock, once per `key`."""
        path = f"/api/v1/products/{product_id}/stock"
        answer = await self._client.post(path, json={"delta": delta}, token=token, headers={"Idempotency-Key": key})
        return Product.model_validate(answer.json)


class Prices:
    """Quotes and promotions."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def quote(self, lines: Mapping[UUID, int], country: str, coupon: str = "", token: str | None = None) -> Quote:
        """The price of a cart; a coupon may be one that is only for the customer of ``token``."""
        body: dict[str, Any] = {"items": items(lines), "country": country}
        if coupon:
            body["coupon"] = coupon
        answer = await self._client.post("/api/v1/quotes", json=body, token=token if coupon else None)
        return Quote.model_validate(answer.json)

    async def promotions(self, token: str, cursor: str = "") -> Page[Promotion]:
        params = {"limit": 50, **({"cursor": cursor} if cursor else {})}
        answer = await self._client.get("/api/v1/promotions", params=params, token=token)
        return Page[Promotion].model_validate(answer.json)

    async def promotion(self, token: str, code: str) -> Promotion:
        return Promotion.model_validate((await self._client.get(f"/api/v1/promotions/{code}", token=token)).json)

    async def put_promotion(self, token: str, code: str, rule: Mapping[str, Any], *, create: bool) -> None:
        """Save the rule; with `create` a code that exists is Problem 412."""
        headers = {"If-None-Match": "*"} if create else None
        await self._client.put(f"/api/v1/promotions/{code}", json=rule, token=token, headers=headers)


class Orders:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def place(self, token: str, key: str, body: Mapping[str, Any]) -> Order:
        """The order, confirmed or pending; a refusal is a Problem, a timeout OutcomeUnknown."""
        answer = await self._client.post(
            "/api/v1/orders",
            json=body,
            token=token,
            headers={"Idempotency-Key": key},
            timeout_s=ORDER_TIMEOUT_S,
            refusals=REFUSALS,
        )
        return Order.model_validate(answer.json)

    async def order(self, token: str, order_id: UUID) -> Order:
        return Order.model_validate((await self._client.get(f"/api/v1/orders/{order_id}", token=token)).json)

    async def list_own(self, token: str, cursor: str = "", limit: int = 20, *, rejected: bool = False) -> Page[Order]:
        """Orders; with `rejected` those that failed instead."""
        query_parameters = {"limit": limit, "cursor": cursor, "rejected": str(rejected).lower()}
        return await self._list("/api/v1/orders", token, query_parameters)

    async def list_all(self, token: str, state: str = "", cursor: str = "", limit: int = 30) -> Page[Order]:
        """Orders in `state`; without one all that did not fail."""
        query_parameters = {"state": state, "rejected": "" if state else "false", "limit": limit, "cursor": cursor}
        return await self._list("/api/v1/orders/all", token, query_parameters)

    async def _list(self, path: str, token: str, query_parameters: Mapping[str, Any]) -> Page[Order]:
        params = {name: value for name, value in query_parameters.items() if value}
        return Page[Order].model_validate((await self._client.get(path, params=params, token=token)).json)

    async def change(self, token: str, order_id: UUID, action: str) -> None:
        """`action` is cancel, fulfil or deliver."""
        await self._client.post(f"/api/v1/orders/{order_id}/{action}", token=token, timeout_s=ORDER_TIMEOUT_S)

    async def history(self, token: str, order_id: UUID) -> History:
        answer = await self._client.get(f"/api/v1/orders/{order_id}/history", token=token)
        return History.model_validate(answer.json)


class Payments:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def of_order(self, token: str, order_id: UUID) -> list[Payment]:
        return await self.of_orders(token, [order_id])

    async def of_orders(self, token: str, order_ids: Iterable[UUID]) -> list[Payment]:
        """The payments of at most MAX_IDS orders, in one request."""
        params = {"order_id": [str(order_id) for order_id in order_ids]}
        answer = await self._client.get("/api/v1/payments", params=params, token=token)
        return Page[Payment].model_validate(answer.json).items

    async def refund(self, token: str, payment_id: UUID, amount: int, reason: str, key: str) -> None:
        """Refund `amount` minor units, once per `key`."""
        path = f"/api/v1/payments/{payment_id}/refunds"
        await self._client.post(
            path,
            json={"amount": amount, "reason": reason},
            token=token,
            headers={"Idempotency-Key": key},
            timeout_s=ORDER_TIMEOUT_S,
        )


class Users:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def register(self, name: str, email: str, password: str) -> None:
        await self._client.post("/api/v1/users", json={"name": name, "email": email, "password": password})

    async def sign_in(self, email: str, password: str) -> dict[str, Any]:
        """The token document; Problem 401 for a wrong password, 429 after too many."""
        return await self._tokens("/api/v1/tokens", {"email": email, "password": password})

    async def refresh(self, refresh_token: str) -> dict[str, Any]:
        return await self._tokens("/api/v1/tokens/refresh", {"refresh_token": refresh_token})

    async def _tokens(self, path: str, body: Mapping[str, str]) -> dict[str, Any]:
        document: dict[str, Any] = (await self._client.post(path, json=body)).json
        return document

    async def sign_out(self, token: str) -> None:
        await self._client.delete("/api/v1/tokens", token=token)

    async def delete(self, token: str, password: str) -> None:
        """Delete the account; Problem 403 for a wrong password, 409 for the only administrator."""
        try:
            await self._client.delete("/api/v1/users/me", json={"password": password}, token=token)
        except Problem as problem:
            if problem.code != "unknown_user":  # an earlier attempt deleted it, and its response was lost
                raise

    async def addresses(self, token: str) -> list[SavedAddress]:
        answer = await self._client.get("/api/v1/users/me/addresses", token=token)
        return Page[SavedAddress].model_validate(answer.json).items

    async def add_address(self, token: str, address: Address) -> None:
        await self._client.post("/api/v1/users/me/addresses", json=address.document(), token=token)

    async def delete_address(self, token: str, address_id: UUID) -> None:
        await self._client.delete(f"/api/v1/users/me/addresses/{address_id}", token=token)


class Messages:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def list_own(self, token: str, cursor: str = "") -> Page[Message]:
        return await self._list("/api/v1/notifications", token, cursor)

    async def list_all(self, token: str, cursor: str = "") -> Page[Message]:
        return await self._list("/api/v1/notifications/all", token, cursor)

    async def _list(self, path: str, token: str, cursor: str) -> Page[Message]:
        params = {"limit": 30, **({"cursor": cursor} if cursor else {})}
        return Page[Message].model_validate((await self._client.get(path, params=params, token=token)).json)


class Recommendations:
    """What administrators see of the recommendation service; pages ask it over gRPC (`recommender`)."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def model(self, token: str) -> RecommendationModel:
        answer = await self._client.get("/api/v1/recommendations/model", token=token)
        return RecommendationModel.model_validate(answer.json)

    async def preview(self, token: str, customer: str) -> RecommendationPreview:
        """What one anonymised customer would be shown; Problem 404 for an unknown one."""
        params = {"customer": customer}
        answer = await self._client.get("/api/v1/recommendations/preview", params=params, token=token)
        return RecommendationPreview.model_validate(answer.json)


class Backends:
    """The clients of all services."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self.catalogue = Catalogue(clients.get("product", settings.product_url))
        self.prices = Prices(clients.get("pricing", settings.pricing_url))
        self.orders = Orders(clients.get("order", settings.order_url))
        self.payments = Payments(clients.get("payment", settings.payment_url))
        self.users = Users(clients.get("user", settings.user_url))
        self.messages = Messages(clients.get("notification", settings.notification_url))
        self.recommendations = Recommendations(clients.get("recommendation", settings.recommendation_url))


def items(lines: Mapping[UUID, int]) -> list[dict[str, Any]]:
    """Cart lines as JSON, sorted by product id so that equal carts give equal bodies."""
    return [{"product_id": str(product), "quantity": quantity} for product, quantity in sorted(lines.items())]
