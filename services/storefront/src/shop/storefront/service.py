"""What the pages do beyond showing: carts with their products, sessions, buying."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt
from redis.asyncio import BlockingConnectionPool, Redis

from shop.contracts.money import Address, Money
from shop.kit.app import Context
from shop.kit.errors import Problem, Unavailable
from shop.kit.text import printable
from shop.storefront.backends import Backends, items
from shop.storefront.carts import Carts, Purchase
from shop.storefront.featured import Window
from shop.storefront.live import OrderStreams
from shop.storefront.schemas import Order, Product
from shop.storefront.sessions import Session, Visit
from shop.storefront.settings import Settings
from shop.storefront.site_paths import SitePaths

REFRESH_MARGIN_S = 30
"""An access token that ends sooner than this is exchanged before it is used."""

VALKEY_TIMEOUT_S = 1.0
VALKEY_CONNECTIONS = 32
IN_FLIGHT_ATTEMPTS = 6
IN_FLIGHT_PAUSE_S = 0.5

NOT_LOOKED_AT = frozenset({401, 403, 429})
"""Statuses that say nothing about the order itself: an earlier request with the same key may have been carried out."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CartLine:
    product: Product
    quantity: int

    @property
    def total(self) -> Money:
        return Money(amount=self.product.price.amount * self.quantity, currency=self.product.price.currency)


class Storefront:
    def __init__(self, settings: Settings, backends: Backends, carts: Carts, streams: OrderStreams) -> None:
        self.settings = settings
        self.backends = backends
        self.carts = carts
        self.streams = streams
        self.window = Window(backends.catalogue)
        self.site_paths = SitePaths(backends.catalogue)

    @classmethod
    def build(cls, context: Context) -> Storefront:
        settings: Settings = context.settings
        carts = Carts(open_valkey(settings.valkey_url))
        return cls(settings, Backends(context.clients, settings), carts, OrderStreams(settings.order_url))

    async def close(self) -> None:
        await self.carts.close()
        await self.streams.close()

    async def ready(self) -> None:
        await self.carts.ping()

    async def cart(self, visit: Visit) -> list[CartLine]:
        """The lines by name; what the shop no longer has is taken out silently."""
        owner = visit.cart_owner
        quantities = await (self.carts.merge(visit.visitor_id, owner) if visit.session else self.carts.lines(owner))
        products = await self.backends.catalogue.by_ids(quantities)
        for gone in quantities.keys() - products.keys():
            await self.carts.put(owner, gone, 0)
        lines = [CartLine(product, quantities[product.id]) for product in products.values()]
        return sorted(lines, key=lambda line: line.product.name)

    async def sign_in(self, visit: Visit, email: str, password: str) -> None:
        """Opens a session; what the visitor has in the cart joins the user's, at once or when the cart is looked at."""
        visit.session = session_of(await self.backends.users.sign_in(email, password))
        try:
            await self.carts.merge(visit.visitor_id, visit.cart_owner)
        except Unavailable:
            log.warning("the cart could not be merged at sign-in; it will be when it is opened")

    async def sign_out(self, visit: Visit) -> None:
        """Forgets the session here; ending it at the user service is tried, and it runs out by itself otherwise."""
        session = visit.session
        visit.forget()
        if session is None:
            return
        try:
            await self.backends.users.sign_out(session.access_token)
        except Exception:
            log.warning("sign-out was not passed on to the user service", exc_info=True)

    async def fresh(self, visit: Visit) -> Session | None:
        """The session with an access token that is good for at least REFRESH_MARGIN_S; None when it has ended."""
        session = visit.session
        if session is None or session.expires_at - time.time() > REFRESH_MARGIN_S:
            return session
        try:
            visit.session = session_of(await self.backends.users.refresh(session.refresh_token))
        except Problem as problem:
            if problem.status not in {400, 401, 403, 422}:
                raise
            visit.session = None
        return visit.session

    async def buy(self, visit: Visit, token: str, key: str, purchase: Mapping[str, Any]) -> Order:
        """Places the order of checkout form `key` once, however often the form arrives, and settles the cart.

        The first form's request is kept and sent again for later ones, so the order service sees one key with one
        body and answers with one order. While that is in flight elsewhere, this waits for it. After a refusal the
        same form may ask again, for example with another card: that is another attempt with another key.
        """
        kept = await self.carts.remember_purchase(visit.cart_owner, key, purchase)
        try:
            order = await self._place(token, kept.order_key, kept.body)
        except Problem as problem:
            await self._refused(visit, kept, problem)
            raise
        bought = {UUID(item["product_id"]): int(item["quantity"]) for item in kept.body["items"]}
        await self.carts.settle(visit.cart_owner, key, bought)
        return order

    async def _refused(self, visit: Visit, purchase: Purchase, problem: Problem) -> None:
        if problem.status in NOT_LOOKED_AT:
            await self.carts.forget_purchase(visit.cart_owner, purchase.key)
        elif not problem.code.startswith("idempotency_key_"):
            await self.carts.refuse_purchase(visit.cart_owner, purchase)

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


def open_valkey(url: str) -> Redis:
    """At most VALKEY_CONNECTIONS connections; a request waits VALKEY_TIMEOUT_S seconds for one, and for each answer."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=VALKEY_CONNECTIONS,
        timeout=VALKEY_TIMEOUT_S,
        socket_timeout=VALKEY_TIMEOUT_S,
        socket_connect_timeout=VALKEY_TIMEOUT_S,
    )
    return Redis.from_pool(pool)


def purchase_body(
    lines: Mapping[UUID, int], address: Address, card: str, coupon: str, shown_total: Money
) -> dict[str, Any]:
    """The body of POST /orders, which orders nothing at another total than the one that was shown."""
    body = {
        "items": items(lines),
        "address": address.document(),
        "payment": {"token": card},
        "expected_total": shown_total.model_dump(),
    }
    return {**body, "coupon": coupon} if coupon else body


def session_of(tokens: Mapping[str, Any]) -> Session:
    """The session that a token document opens. The token came from the user service itself, over a connection
    that this service made, so its claims are read and not verified."""
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    return Session(
        access_token=tokens["access_token"],
        refresh_token=tokens["refresh_token"],
        user_id=str(claims["sub"]),
        role=claims["role"],
        email=claims["email"],
        name=printable(claims["name"]),
        expires_at=int(claims["exp"]),
    )
