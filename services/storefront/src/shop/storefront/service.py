"""Use cases of the pages: carts with their products, sessions, placing orders."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt

from shop.contracts.money import Address, Money
from shop.kit.app import Context
from shop.kit.errors import Problem, Unavailable
from shop.kit.sessions import Session
from shop.kit.text import printable
from shop.kit.valkey import open_valkey
from shop.storefront.arcade.service import Arcade, open_arcade
from shop.storefront.backends import Backends, items
from shop.storefront.carts import Carts, Purchase
from shop.storefront.featured import FeaturedCache
from shop.storefront.food.service import Food, open_food
from shop.storefront.live import EventStreams
from shop.storefront.recommender import Recommender
from shop.storefront.schemas import Order, Product
from shop.storefront.sessions import Visitor
from shop.storefront.settings import Settings
from shop.storefront.site_paths import SitePaths
from shop.storefront.suggestions import Suggestions

REFRESH_MARGIN_S = 30
"""An access token that expires sooner than this is refreshed before it is used."""

VALKEY_TIMEOUT_S = 1.0
VALKEY_CONNECTIONS = 32
IN_FLIGHT_ATTEMPTS = 6
IN_FLIGHT_PAUSE_S = 0.5

NOT_PROCESSED = frozenset({401, 403, 429})
"""Statuses that say nothing about the order: an earlier request with the same key may have placed it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CartLine:
    product: Product
    quantity: int

    @property
    def total(self) -> Money:
        return Money(amount=self.product.price.amount * self.quantity, currency=self.product.price.currency)


class Storefront:
    def __init__(
        self,
        settings: Settings,
        backends: Backends,
        carts: Carts,
        streams: EventStreams,
        suggestions: Suggestions,
        food: Food | None = None,
        arcade: Arcade | None = None,
    ) -> None:
        self.settings = settings
        self.backends = backends
        self.carts = carts
        self.streams = streams
        self.suggestions = suggestions
        self.food = food
        self.arcade = arcade
        self.featured = FeaturedCache(backends.catalogue)
        self.site_paths = SitePaths(backends.catalogue, food.backends.restaurants if food else None)

    @classmethod
    def build(cls, context: Context) -> Storefront:
        settings: Settings = context.settings
        backends = Backends(context.clients, settings)
        valkey = open_valkey(settings.valkey_url, connections=VALKEY_CONNECTIONS, timeout_s=VALKEY_TIMEOUT_S)
        carts = Carts(valkey)
        recommender = Recommender(
            settings.recommendation_grpc_url, settings.recommendation_timeout_s, settings.internal_token
        )
        recommender.join(context)
        suggestions = Suggestions(recommender, backends.catalogue, carts)
        food = open_food(context.clients, settings, valkey)
        arcade = open_arcade(context.clients, settings)
        streams = EventStreams(
            {
                "order": settings.order_url,
                "delivery": settings.delivery_url,
                "restaurant": settings.restaurant_url,
                "achievement": settings.achievement_url,
            },
            context.clients,
        )
        return cls(settings, backends, carts, streams, suggestions, food, arcade)

    async def close(self) -> None:
        await self.suggestions.close()
        await self.carts.close()
        await self.streams.close()
        if self.food:
            await self.food.backends.restaurants.close()
        if self.arcade:
            await self.arcade.close()
        for cache in (self.featured, self.site_paths, self.backends.catalogue):
            await cache.close()

    @property
    def recommends(self) -> bool:
        """Whether the shop has recommendations: without them it has no page of them."""
        return bool(self.settings.recommendation_grpc_url)

    async def ready(self) -> None:
        await self.carts.ping()

    async def cart(self, visitor: Visitor) -> list[CartLine]:
        """The lines, sorted by name; products that no longer exist are removed."""
        owner = visitor.cart_owner
        quantities = await (self.carts.merge(visitor.id, owner) if visitor.session else self.carts.lines(owner))
        products = await self.backends.catalogue.by_ids(quantities)
        for missing in quantities.keys() - products.keys():
            await self.carts.put(owner, missing, 0)
        visitor.carts[owner] = {product: quantities[product] for product in products}
        lines = [CartLine(product, quantities[product.id]) for product in products.values()]
        return sorted(lines, key=lambda line: line.product.name)

    async def sign_in(self, visitor: Visitor, email: str, password: str) -> None:
        """Open a session and merge the visitor's cart into the user's, now or when the cart is next read."""
        tokens = await self.backends.users.sign_in(email, password)
        visitor.session = session_of(tokens, signed_in_at=int(time.time()))
        try:
            await self.carts.merge(visitor.id, visitor.cart_owner)
        except Unavailable:
            log.warning(
                "the cart could not be merged at sign-in; it will be when it is opened",
                extra={"event": "cart_not_merged"},
            )

    async def sign_out(self, visitor: Visitor) -> None:
        """End the session; if the user service cannot be reached, its refresh token expires by itself."""
        session = visitor.session
        visitor.sign_out()
        if session is None:
            return
        try:
            await self.backends.users.sign_out(session.access_token)
        except Exception:
            log.warning(
                "the session could not be ended at the user service",
                exc_info=True,
                extra={"event": "session_not_ended"},
            )

    async def delete_account(self, visitor: Visitor, token: str, password: str) -> None:
        """Delete the signed-in user's account and what is kept about them here, and end the session."""
        await self.backends.users.delete(token, password)
        owner = visitor.cart_owner
        visitor.sign_out()
        try:
            await self.carts.delete(owner)
            if self.food:
                await self.food.carts.delete(owner)
        except Unavailable:
            log.warning(
                "the cart of a deleted account could not be removed; it expires by itself",
                extra={"event": "cart_not_removed"},
            )

    async def valid_session(self, visitor: Visitor) -> Session | None:
        """The session with an access token that is valid for at least REFRESH_MARGIN_S; None if it has expired."""
        session = visitor.session
        if session is None or session.expires_at - time.time() > REFRESH_MARGIN_S:
            return session
        try:
            tokens = await self.backends.users.refresh(session.refresh_token)
            visitor.session = session_of(tokens, session.signed_in_at)
        except Problem as problem:
            if problem.status not in {400, 401, 403, 422}:
                raise
            visitor.session = None
        return visitor.session

    async def buy(self, visitor: Visitor, token: str, key: str, purchase: Mapping[str, Any]) -> Order:
        """Place the order of checkout form `key` once, however often the form is submitted, and update the cart.

        The request of the first submission is stored and sent again for later ones, so that the order service sees
        one idempotency key with one body. While another request with that key is in flight, this waits for it. After
        a refusal the form can be submitted again, for example with another card: a new attempt with a new key.
        """
        kept = await self.carts.store_purchase(visitor.cart_owner, key, purchase)
        try:
            order = await self._place(token, kept.order_key, kept.body)
        except Problem as problem:
            await self._refused(visitor, kept, problem)
            raise
        await self._remove_purchased(visitor.cart_owner, kept)
        return order

    async def _remove_purchased(self, owner: str, purchase: Purchase) -> None:
        if purchase.body.get("kind") == "food":
            if self.food:
                await self.food.carts.remove_purchased(owner, purchase.key, purchase.body)
            return
        bought = {UUID(item["product_id"]): int(item["quantity"]) for item in purchase.body["items"]}
        await self.carts.remove_purchased(owner, purchase.key, bought)

    async def _refused(self, visitor: Visitor, purchase: Purchase, problem: Problem) -> None:
        if problem.status in NOT_PROCESSED:
            await self.carts.discard_purchase(visitor.cart_owner, purchase.key)
        elif not problem.code.startswith("idempotency_key_"):
            await self.carts.end_attempt(visitor.cart_owner, purchase)

    async def _place(self, token: str, key: str, body: Mapping[str, Any]) -> Order:
        for _ in range(IN_FLIGHT_ATTEMPTS):
            try:
                return await self.backends.orders.place(token, key, body)
            except Problem as problem:
                if problem.code != "idempotency_key_in_flight":
                    raise
            await asyncio.sleep(IN_FLIGHT_PAUSE_S)
        raise Problem(
            409, "idempotency_key_in_flight", "This order is still being processed. Please check your orders."
        )


def purchase_body(
    lines: Mapping[UUID, int], address: Address, card: str, coupon: str, shown_total: Money
) -> dict[str, Any]:
    """The body of POST /orders; it is refused if the total is no longer the one that was shown."""
    body = {
        "items": items(lines),
        "address": address.document(),
        "payment": {"token": card},
        "expected_total": shown_total.model_dump(),
    }
    return {**body, "coupon": coupon} if coupon else body


def session_of(tokens: Mapping[str, Any], signed_in_at: int) -> Session:
    """The session for a token response. The token comes directly from the user service, so its claims are read
    without verification."""
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    return Session(
        access_token=tokens["access_token"],
        refresh_token=tokens["refresh_token"],
        user_id=str(claims["sub"]),
        role=claims["role"],
        email=claims["email"],
        name=printable(claims["name"]),
        expires_at=int(claims["exp"]),
        signed_in_at=signed_in_at,
    )
