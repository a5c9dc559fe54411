"""How long the front page and a product's page take with the recommendation service on, hanging, away and turned off.

    python -m tests.load.pages [--requests 300] [--json]

It starts two shops of its own, one after the other, and loads a page again and again over one connection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from tests.load import local_shop
from tests.load.local_shop import LocalShop, shopctl
from tests.load.open_loop import percentile
from tests.load.shoppers import ADDRESS, CARD, REQUEST_TIMEOUT_S, Shop

REQUESTS = 300
MAX_REQUESTS = 10_000
WARM_UP_REQUESTS = 30
BUYERS = 5
LEARNED_WITHIN_S = 120.0
CSRF = re.compile(r'name="csrf_token" value="([0-9a-f]+)"')
SECTIONS = "suggested", "together", "similar", "popular"


@dataclass(frozen=True)
class Timed:
    """Of one page in one state of the service: milliseconds from request to the last byte; `recommends` is whether
    the page had recommendations at the end."""

    state: str
    page: str
    visitor: str
    requests: int
    first_ms: float
    p50_ms: float
    p99_ms: float
    recommends: bool


async def timed(state: str, page: str, visitor: str, session: aiohttp.ClientSession, url: str, requests: int) -> Timed:
    """The first request is reported apart, and followed by WARM_UP_REQUESTS that are not."""
    first_ms, _ = await _load(session, url)
    for _ in range(WARM_UP_REQUESTS):
        await _load(session, url)
    taken_ms, text = [], ""
    for _ in range(requests):
        each_ms, text = await _load(session, url)
        taken_ms.append(each_ms)
    taken_ms.sort()
    p50_ms, p99_ms = (round(percentile(taken_ms, percent), 1) for percent in (50, 99))
    recommends = any(f'id="{section}"' in text for section in SECTIONS)
    return Timed(state, page, visitor, requests, round(first_ms, 1), p50_ms, p99_ms, recommends)


async def _load(session: aiohttp.ClientSession, url: str) -> tuple[float, str]:
    began = time.perf_counter()
    async with session.get(url) as response:
        text = await response.text()
    if response.status != 200:
        raise RuntimeError(f"{url}: {response.status}")
    return (time.perf_counter() - began) * 1_000, text


@dataclass(frozen=True)
class Prepared:
    """A shop in which BUYERS customers bought two products together; the session is a signed-in buyer's."""

    url: str
    product_id: str
    customer: aiohttp.ClientSession
    visitor: aiohttp.ClientSession

    async def measure(self, state: str, requests: int) -> list[Timed]:
        product = f"{self.url}/products/{self.product_id}"
        return [
            await timed(state, "front", "visitor", self.visitor, f"{self.url}/", requests),
            await timed(state, "front", "customer", self.customer, f"{self.url}/", requests),
            await timed(state, "product", "visitor", self.visitor, product, requests),
        ]

    async def close(self) -> None:
        await self.customer.close()
        await self.visitor.close()


async def prepare(local: LocalShop) -> Prepared:
    api = Shop.at(local.status()["url"])
    try:
        one, other = await api.products(2)
        for token in await api.sign_up_many(BUYERS):
            await _buy(api, token, [one["id"], other["id"]])
        email, password = f"reader-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(12)
        await api.call("POST", "/users", json={"email": email, "password": password, "name": "Reader"})
        await _buy(api, await api.token(email, password), [one["id"]])
    finally:
        await api.close()
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    customer, visitor = aiohttp.ClientSession(timeout=timeout), aiohttp.ClientSession(timeout=timeout)
    await _sign_in(customer, api.url, email, password)
    return Prepared(api.url, one["id"], customer, visitor)


async def _buy(api: Shop, token: str, product_ids: Sequence[str]) -> None:
    items = [{"product_id": product_id, "quantity": 1} for product_id in product_ids]
    body = {"items": items, "address": ADDRESS, "payment": {"token": CARD}}
    await api.call("POST", "/orders", token, json=body, **{"Idempotency-Key": str(uuid.uuid4())})


async def _sign_in(session: aiohttp.ClientSession, url: str, email: str, password: str) -> None:
    _, form = await _load(session, f"{url}/sign-in")
    found = CSRF.search(form)
    if found is None:
        raise RuntimeError("the sign-in page has no form")
    data = {"csrf_token": found[1], "email": email, "password": password, "next": "/"}
    async with session.post(f"{url}/sign-in", data=data) as response:
        if "Sign out" not in await response.text():
            raise RuntimeError(f"sign-in failed: {response.status}")


async def _until_learned(shop: Prepared) -> None:
    async def learned() -> bool:
        _, text = await _load(shop.visitor, f"{shop.url}/products/{shop.product_id}")
        return 'id="together"' in text

    await wait_until(learned, LEARNED_WITHIN_S, "the first recommendations")


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def with_service(local: LocalShop, requests: int) -> list[Timed]:
    shop = await prepare(local)
    try:
        await _until_learned(shop)
        found = await shop.measure("on", requests)
        with _stopped(local.pid("recommendation")):
            found += await shop.measure("hanging", requests)
        shopctl("stop", "recommendation", data_dir=local.data_dir)
        return found + await shop.measure("away", requests)
    finally:
        await shop.close()


async def without_service(local: LocalShop, requests: int) -> list[Timed]:
    shop = await prepare(local)
    try:
        return await shop.measure("off", requests)
    finally:
        await shop.close()


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=REQUESTS, help="per page and state")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(given)
    requests = max(10, min(MAX_REQUESTS, options.requests))
    found: list[Timed] = []
    for measure, modules in ((with_service, {"recommendations": True}), (without_service, {"recommendations": False})):
        with tempfile.TemporaryDirectory(prefix="shop-pages-") as folder:
            local = local_shop.start(Path(folder) / "data", free_port(), modules=modules)
            try:
                found += asyncio.run(measure(local, requests))
            finally:
                local.down()
    print(json.dumps([asdict(one) for one in found], indent=2) if options.json else table(found))
    return 0


def table(found: Sequence[Timed]) -> str:
    head = f"{'service':9} {'page':9} {'visitor':9} {'first ms':>9} {'p50 ms':>8} {'p99 ms':>8}  recommends"
    rows = [
        f"{one.state:9} {one.page:9} {one.visitor:9} {one.first_ms:9.1f} {one.p50_ms:8.1f} {one.p99_ms:8.1f}"
        f"  {'yes' if one.recommends else 'no'}"
        for one in found
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    raise SystemExit(main())
