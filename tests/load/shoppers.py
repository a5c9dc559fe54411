"""Customers of a shop on this machine: they sign up, browse and buy through its public API."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import random
import re
import secrets
import socket
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from json import dumps
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from tests.load.kept_connections import Connections, Place, RequestFailed
from tests.load.open_loop import Outcome

REQUEST_TIMEOUT_S = 20.0
SIGN_UPS_AT_ONCE = 4
PAGE_SIZE = 100
ACCEPTED = frozenset({201, 202})
GOOD_READ = frozenset({200})
ADDRESS = {"name": "Ada Buyer", "street": "1 Load Lane", "city": "Berlin", "postal_code": "10115", "country": "DE"}
CARD = "tok_visa"
WHERE_AND_HOW = dumps({"address": ADDRESS, "payment": {"token": CARD}})[1:]
"""What the bodies of all orders end with."""
ACCEPTS = "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: tests.load\r\n"
PROBLEM_CODE = re.compile(rb'"code": ?"([a-z0-9_]+)"')
RETRY_AFTER = ", Retry-After "
Json = dict[str, Any]


class NotThisMachine(ValueError):
    """The load generator was pointed at a host that is not this machine."""


def require_local(url: str) -> str:
    """``url`` when every address of its host is a loopback address; NotThisMachine otherwise."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise NotThisMachine(f"{url!r} is not the http:// address of a shop on this machine")
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotThisMachine(f"{parts.hostname} is unknown: {error}") from error
    addresses = {ipaddress.ip_address(info[4][0]) for info in found}
    if not all(address.is_loopback for address in addresses):
        raise NotThisMachine(f"{parts.hostname} is not this machine: load is for a shop of your own on localhost")
    return url.rstrip("/")


class ShopError(RuntimeError):
    """The shop refused something that the preparation of a run needs."""


@dataclass(frozen=True)
class Shop:
    """The public API of the shop at ``url``; ``session`` keeps connections open.

    The two kinds of requests that are measured, `order` and `read`, are sent by ``fast_client`` instead.
    """

    url: str
    session: aiohttp.ClientSession
    fast_client: Connections = field(default_factory=lambda: Connections(REQUEST_TIMEOUT_S))

    @classmethod
    def at(cls, url: str) -> Self:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        return cls(require_local(url), aiohttp.ClientSession(connector=connector, timeout=timeout))

    async def call(self, method: str, path: str, token: str = "", json: Json | None = None, **headers: str) -> Any:
        """The JSON answer; ShopError when its status is not 2xx."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        async with self.session.request(method, f"{self.url}/api/v1{path}", json=json, headers=headers) as response:
            if response.status >= 300:
                raise ShopError(f"{method} {path}: {response.status} {(await response.text())[:300]}")
            return await response.json()

    async def token(self, email: str, password: str) -> str:
        answer = await self.call("POST", "/tokens", json={"email": email, "password": password})
        return str(answer["access_token"])

    async def sign_up(self, number: int) -> str:
        """The access token of a new customer."""
        email, password = f"buyer-{number}-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(12)
        await self.call("POST", "/users", json={"email": email, "password": password, "name": f"Buyer {number}"})
        return await self.token(email, password)

    async def sign_up_many(self, count: int) -> list[str]:
        """Tokens of ``count`` new customers; a few at a time, because hashing their passwords is slow on purpose."""
        gate = asyncio.Semaphore(SIGN_UPS_AT_ONCE)

        async def one(number: int) -> str:
            async with gate:
                return await self.sign_up(number)

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    async def products(self, count: int) -> list[Json]:
        """The first ``count`` products of the catalogue."""
        found: list[Json] = []
        cursor = ""
        while len(found) < count:
            page = await self.call("GET", f"/products?limit={PAGE_SIZE}" + (f"&cursor={cursor}" if cursor else ""))
            found += page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                break
        return found[:count]

    async def restock(self, admin: str, products: Sequence[Json], pieces: int) -> None:
        """Add ``pieces`` to the stock of each product, so that nothing is sold out during a run."""
        for product in products:
            await self.call("POST", f"/products/{product['id']}/stock", admin, json={"delta": pieces})

    async def order(self, token: str, body: str) -> Outcome:
        """Place an order with a key of its own; ``body`` is JSON in ASCII."""
        request = (
            f"{self._order_head}{token}\r\nIdempotency-Key: {uuid.uuid4()}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )
        return await self._ask(request, ACCEPTED)

    async def read(self, product_id: str) -> Outcome:
        """One product page's data."""
        return await self._ask(f"GET /api/v1/products/{product_id}{self._read_rest}", GOOD_READ, repeatable=True)

    async def close(self) -> None:
        self.fast_client.close()
        await self.session.close()

    async def _ask(self, request: str, good: frozenset[int], *, repeatable: bool = False) -> Outcome:
        try:
            status, body, retry_after = await self.fast_client.ask(self._place, request.encode(), repeatable=repeatable)
        except RequestFailed as failed:
            return Outcome(False, str(failed))
        except TimeoutError:
            return Outcome(False, TimeoutError.__name__)
        return _named(status, body, retry_after.decode("latin-1"), good)

    @cached_property
    def _place(self) -> Place:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 80

    @cached_property
    def _read_rest(self) -> str:
        return f" HTTP/1.1\r\nHost: {urlsplit(self.url).netloc}\r\n{ACCEPTS}\r\n"

    @cached_property
    def _order_head(self) -> str:
        return (
            f"POST /api/v1/orders HTTP/1.1\r\nHost: {urlsplit(self.url).netloc}\r\n{ACCEPTS}"
            "Content-Type: application/json\r\nAuthorization: Bearer "
        )


@dataclass(frozen=True)
class Crowd:
    """Customers who take turns; each request is one arrival of the load generator."""

    shop: Shop
    tokens: Iterator[str]
    product_ids: Sequence[str]
    chance: random.Random

    @classmethod
    def of(cls, shop: Shop, tokens: Sequence[str], product_ids: Sequence[str], seed: int) -> Self:
        return cls(shop, itertools.cycle(tokens), product_ids, random.Random(seed))

    def only(self, product_id: str) -> Self:
        """The same customers, all ordering one product."""
        return replace(self, product_ids=[product_id])

    def at(self, url: str) -> Self:
        """The same customers at another address of the same shop."""
        return replace(self, shop=replace(self.shop, url=require_local(url)))

    async def send(self, kind: str) -> Outcome:
        """Do what an arrival of ``kind`` ("order" or "browse") does."""
        return await (self.buy() if kind == "order" else self.browse())

    async def buy(self) -> Outcome:
        """One order of one or two different books."""
        wanted = self.chance.sample(self.product_ids, min(len(self.product_ids), self.chance.randint(1, 2)))
        items = ", ".join(f'{{"product_id": "{product_id}", "quantity": 1}}' for product_id in wanted)
        return await self.shop.order(next(self.tokens), f'{{"items": [{items}], {WHERE_AND_HOW}')

    async def browse(self) -> Outcome:
        """One product page's data."""
        return await self.shop.read(self.chance.choice(self.product_ids))

    async def read_one(self) -> bool:
        return (await self.browse()).ok


async def outcome_of(response: aiohttp.ClientResponse, good: frozenset[int]) -> Outcome:
    """Of an answer that aiohttp has received."""
    return _named(response.status, await response.read(), response.headers.get("Retry-After", ""), good)


def _named(status: int, body: bytes, retry_after: str, good: frozenset[int]) -> Outcome:
    """Not good is named by its status and the problem's code, with Retry-After where the answer has one."""
    if status in good:
        return Outcome(True, str(status))
    code = PROBLEM_CODE.search(body)
    reason = code[1] if code else body[:160]
    wait = f"{RETRY_AFTER}{retry_after}" if retry_after else ""
    return Outcome(False, f"{status} {reason.decode(errors='replace')}{wait}")
