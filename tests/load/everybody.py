"""Traffic of every kind for a shop with all modules: customers, visitors of its pages, couriers, players."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import re
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from shop.operator.simulate.fleet import Plan, simulate
from tests.integration import rounds
from tests.load import open_loop
from tests.load.open_loop import Arrival, Outcome, Run
from tests.load.shoppers import ADDRESS, REQUEST_TIMEOUT_S, Crowd, Json, Shop, ShopError, outcome_of

CUSTOMERS, VISITORS, PLAYERS, PRODUCTS = 30, 4, 3, 60
PIECES = 10_000
RATES_PER_S = {
    "browse": 10.0, "order": 3.0, "page": 5.0, "purchase": 0.3, "declined": 0.25, "cancelled": 0.15, "sold_out": 0.1,
    "search": 1.0, "sign_in": 0.4, "recommended": 1.0,
    "wrong_password": 0.1, "board": 2.0, "unknown": 0.2, "price": 0.5,
}  # fmt: skip
"""On average; a wave of a few minutes goes through all of them."""
WAVE_S, WAVE = 150.0, 0.6
FLEET = {"couriers": 12, "orders_per_minute": 30.0, "time_factor": 30.0, "country": "DE", "drain_s": 30.0}
EXPECTED_REFUSALS = (ShopError, aiohttp.ClientError, TimeoutError, AssertionError)
FORM_FIELD = re.compile(r'<input type="hidden" name="([\w-]+)" value="([^"]*)"')
BUYER = {
    "name": "Ada Buyer", "street": "Linden 5", "city": "Berlin", "postal_code": "10117", "country": "DE",
    "card": "tok_visa",
}  # fmt: skip


@dataclass(frozen=True)
class Visitor:
    """Someone signed in who uses the pages of the shop, as a browser does."""

    url: str
    session: aiohttp.ClientSession

    @classmethod
    async def new(cls, api: Shop, number: int) -> Visitor:
        email, password = f"visitor-{number}-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(12)
        await api.call("POST", "/users", json={"email": email, "password": password, "name": f"Visitor {number}"})
        return await cls.signed_in(api.url, email, password)

    @classmethod
    async def signed_in(cls, url: str, email: str, password: str) -> Visitor:
        """Someone with an account. Cookies are kept although the host may be an IP address."""
        timeout, jar = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S), aiohttp.CookieJar(unsafe=True)
        visitor = cls(url, aiohttp.ClientSession(timeout=timeout, cookie_jar=jar))
        form = fields(await visitor.page("/sign-in"))
        await visitor.send("/sign-in", {**form, "email": email, "password": password, "next": "/"})
        return visitor

    async def page(self, path: str) -> str:
        async with self.session.get(self.url + path) as answer:
            return await answer.text()

    async def send(self, path: str, form: Mapping[str, str]) -> str:
        async with self.session.post(self.url + path, data=form) as answer:
            return await answer.text()

    async def buy(self, product_id: str) -> Outcome:
        """From the page of a product to the page of the order."""
        form = fields(await self.page(f"/products/{product_id}"))
        await self.send("/cart/lines", {**form, "product_id": product_id, "quantity": "1"})
        shown = await self.page("/checkout")
        for action in ("quote", "buy"):
            shown = await self.send("/checkout", {**fields(shown), **BUYER, "action": action})
        return Outcome("shown_total" not in shown, "no order")


def fields(page: str) -> dict[str, str]:
    """The hidden fields of the forms of a page, its token against forged requests among them."""
    return dict(FORM_FIELD.findall(page))


@dataclass(frozen=True)
class Everybody:
    """All who come to one shop. `scarce` is a product without stock."""

    api: Shop
    crowd: Crowd
    visitors: Sequence[Visitor]
    tokens: Sequence[str]
    scarce: str
    chance: random.Random

    @classmethod
    async def of(cls, api: Shop, admin: str, seed: int) -> Everybody:
        """New customers, and enough of every product but one."""
        products = await api.products(PRODUCTS)
        await api.restock(admin, products[1:], PIECES)
        scarce = products[0]
        await api.call("POST", f"/products/{scarce['id']}/stock", admin, json={"delta": -scarce["stock"]})
        tokens = await api.sign_up_many(CUSTOMERS)
        crowd = Crowd.of(api, tokens, [one["id"] for one in products[1:]], seed)
        visitors = [await Visitor.new(api, number) for number in range(VISITORS)]
        return cls(api, crowd, visitors, tokens, scarce["id"], random.Random(seed))

    async def come(self, seconds: float, seed: int) -> Run:
        """Requests of every kind, more and fewer in waves, for so long."""
        peak = {kind: rate * (1 + WAVE) for kind, rate in RATES_PER_S.items()}
        arrivals = [one for one in open_loop.poisson(peak, seconds, seed) if self.chance.random() < wave(one)]
        return await open_loop.run(arrivals, self.send)

    async def send(self, kind: str) -> Outcome:
        if kind in ("order", "browse"):
            return await self.crowd.send(kind)
        act: Callable[[], Awaitable[Outcome]] = getattr(self, f"_{kind}")
        try:
            return await act()
        except EXPECTED_REFUSALS as error:
            return Outcome(False, type(error).__name__)

    async def play(self, seconds: float) -> None:
        """Rounds of the game, one after another by each player."""

        async def rounds_of(token: str) -> None:
            while True:
                with contextlib.suppress(*EXPECTED_REFUSALS):
                    await rounds.play(self.api, token, perfect=self.chance.randint(1, 5))

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(rounds_of(token) for token in self.tokens[:PLAYERS]))

    async def close(self) -> None:
        for visitor in self.visitors:
            await visitor.session.close()

    @property
    def _product(self) -> str:
        return self.chance.choice(self.crowd.product_ids)

    async def _get(self, path: str) -> Outcome:
        async with self.api.session.get(self.api.url + path) as answer:
            return await outcome_of(answer, frozenset({200}))

    async def _page(self) -> Outcome:
        visitor = self.chance.choice(self.visitors)
        path = self.chance.choice(("/", f"/products/{self._product}", f"/products/{self._product}", "/category/poetry"))
        return Outcome(bool(await visitor.page(path)), "empty")

    async def _purchase(self) -> Outcome:
        return await self.chance.choice(self.visitors).buy(self._product)

    async def _order(self, product: str, card: str) -> Json:
        body = {"items": [{"product_id": product, "quantity": 1}], "address": ADDRESS, "payment": {"token": card}}
        key = {"Idempotency-Key": str(uuid.uuid4())}
        found: Json = await self.api.call("POST", "/orders", next(self.crowd.tokens), json=body, **key)
        return found

    async def _declined(self) -> Outcome:
        return Outcome(
            bool(await self._order(self._product, self.chance.choice(("tok_declined", "tok_insufficient")))), ""
        )

    async def _sold_out(self) -> Outcome:
        return Outcome(bool(await self._order(self.scarce, "tok_visa")), "")

    async def _cancelled(self) -> Outcome:
        token = self.chance.choice(self.tokens)
        orders = await self.api.call("GET", "/orders?limit=5", token)
        if not orders["items"]:
            return Outcome(False, "no order yet")
        await self.api.call("POST", f"/orders/{self.chance.choice(orders['items'])['id']}/cancel", token)
        return Outcome(True, "")

    async def _search(self) -> Outcome:
        return await self._get(f"/search?query={self.chance.choice(('novel', 'sea', 'history', 'nothing-like-it'))}")

    async def _recommended(self) -> Outcome:
        return await self._get(f"/api/v1/recommendations?product_id={self._product}&max_results=6")

    async def _sign_in(self) -> Outcome:
        return Outcome(bool(await self.api.sign_up(self.chance.randrange(10**6))), "")

    async def _wrong_password(self) -> Outcome:
        return Outcome(bool(await self.api.token("nobody@example.com", "wrong password")), "")

    async def _board(self) -> Outcome:
        return await self._get("/api/v1/leaderboards/buyers?top=10")

    async def _unknown(self) -> Outcome:
        return await self._get(f"/api/v1/products/{uuid.uuid4()}")

    async def _price(self) -> Outcome:
        body = {"items": [{"product_id": self._product, "quantity": 2}], "country": "DE"}
        return Outcome(bool(await self.api.call("POST", "/quotes", json=body)), "")


def wave(arrival: Arrival) -> float:
    """Which share of the peak comes at that time: from a quarter to all."""
    return (1 + WAVE * math.sin(2 * math.pi * arrival.at_s / WAVE_S)) / (1 + WAVE)


async def deliver(api: Shop, login: tuple[str, str], seconds: float, seed: int) -> Json:
    """Restaurants, couriers and hungry customers for so long; the summary of the fleet."""
    email, password = login
    plan = Plan(api.url, email, password, minutes=seconds / 60, seed=seed, **FLEET)  # type: ignore[arg-type]
    return await simulate(plan, lambda _: None)
