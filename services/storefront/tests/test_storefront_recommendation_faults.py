"""Pages while the recommendation service is away, slow, or answers nonsense: complete, and delayed at most once."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from services.storefront.tests.conftest import Browser, with_recommendations
from services.storefront.tests.html import Page
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_data import product_id
from services.storefront.tests.scripted_recommendations import (
    ALSO,
    BECAUSE,
    POPULAR,
    TOGETHER,
    ScriptedRecommendations,
    recommended,
)
from services.storefront.tests.test_storefront_recommendations import headings, reasons, titles
from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.devkit.processes import free_port
from shop.devkit.testing import Running, wait_until
from shop.kit.balancing.rules import Rules
from shop.storefront import recommender
from shop.storefront.app import make_app
from shop.storefront.settings import Settings
from shop.storefront.suggestions import Dated

PRIDE = f"/products/{product_id('pride')}"
SHORT_S = 0.05
ANSWERS = {
    "Recommend": [recommended("rocks", POPULAR)],
    "SimilarTo": [recommended("rocks", ALSO)],
    "BoughtTogether": [recommended("last", TOGETHER)],
}

Open = Callable[..., contextlib.AbstractAsyncContextManager[Browser]]


@pytest.fixture
def open_market(settings: Settings, running: Running, scripted: ScriptedShop) -> Open:
    """A browser at a storefront whose recommendation service is at an address."""

    @contextlib.asynccontextmanager
    async def opened(address: str, **changed: Any) -> AsyncIterator[Browser]:
        async with running(make_app(with_recommendations(settings, address, **changed))) as client:
            yield Browser(client, scripted)

    return opened


async def complete_pages(browser: Browser) -> list[Page]:
    """Each page that recommends, checked for what it shows without recommendations."""
    front, product, cart = await browser.get("/"), await browser.get(PRIDE), await browser.add("pride")
    assert "Featured" in headings(front)
    assert product.one("h1").text == "Pride and Prejudice"
    assert "Order summary" in headings(cart)
    return [front, product, cart]


async def without_recommendations(browser: Browser) -> None:
    for page in await complete_pages(browser):
        assert not page.all("h2", id="suggested")
        assert not page.all("h2", id="together")
        assert not page.all("h2", id="similar")
    assert "You may also like" in headings(await browser.get(PRIDE))


async def shows_recommendations(browser: Browser) -> bool:
    return titles(await browser.get(PRIDE), "together") == ["The Last Copy"]


async def test_pages_are_complete_without_a_server(open_market: Open) -> None:
    async with open_market(f"127.0.0.1:{free_port()}") as browser:
        await without_recommendations(browser)


async def test_pages_are_complete_while_the_server_hangs(
    open_market: Open, recommending: ScriptedRecommendations
) -> None:
    recommending.answers, recommending.hangs = ANSWERS, True
    async with open_market(recommending.address, timeout_s=SHORT_S) as browser:
        await browser.sign_in()
        await without_recommendations(browser)


async def test_after_one_failure_no_page_waits_for_the_server(
    open_market: Open, recommending: ScriptedRecommendations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls may take 5 s here, and a probe is always due; a page that waited would leave calls behind at the server."""
    monkeypatch.setattr(recommender, "RULES", Rules(failures_to_open=1, reset_s=0.0))
    recommending.refuse = grpc.StatusCode.UNAVAILABLE, "not now"
    async with open_market(recommending.address) as browser:
        await browser.sign_in()
        await browser.get(PRIDE)
        recommending.refuse, recommending.hangs = None, True
        before = len(recommending.requests)
        await without_recommendations(browser)
        assert len(recommending.requests) - before <= 2, "pages sent requests, not only the probe"


async def test_recommendations_return_with_the_service(
    open_market: Open, recommending: ScriptedRecommendations
) -> None:
    recommending.answers = ANSWERS
    async with open_market(recommending.address, timeout_s=1.0) as browser:
        await wait_until(lambda: shows_recommendations(browser))
        await recommending.stop()
        await without_recommendations_of_product(browser)
        await recommending.start()
        await wait_until(lambda: shows_recommendations(browser))
        recommending.hangs = True
        await without_recommendations_of_product(browser)
        recommending.hangs = False
        await wait_until(lambda: shows_recommendations(browser))


async def without_recommendations_of_product(browser: Browser) -> None:
    page = await browser.get(PRIDE)
    assert not page.all("h2", id="together")
    assert "You may also like" in headings(page)


async def test_a_server_that_dies_during_a_call(open_market: Open, recommending: ScriptedRecommendations) -> None:
    recommending.answers, recommending.hangs = ANSWERS, True
    async with open_market(recommending.address) as browser:
        page = asyncio.create_task(browser.get(PRIDE))
        await recommending.arrived.wait()
        await recommending.stop()
        assert "You may also like" in headings(await page)


async def test_the_last_popular_products_stay_while_the_service_is_away(
    open_market: Open, recommending: ScriptedRecommendations
) -> None:
    recommending.answers = ANSWERS
    async with open_market(recommending.address) as browser:
        assert titles(await browser.get("/"), "suggested") == ["On Rocks"]
        await browser.sign_in()
        await recommending.stop()
        assert titles(await browser.get("/"), "suggested") == ["On Rocks"]
        browser.shop.products[product_id("rocks")]["stock"] = 0

        async def gone() -> bool:
            return not titles(await browser.get("/"), "suggested")

        await wait_until(gone)
        assert "Featured" in headings(await browser.get("/"))


async def test_product_and_cart_show_popular_products_while_the_service_is_away(
    open_market: Open, recommending: ScriptedRecommendations
) -> None:
    recommending.answers = {**ANSWERS, "Recommend": [recommended("pride", POPULAR), recommended("rocks", POPULAR)]}
    async with open_market(recommending.address) as browser:
        assert titles(await browser.get("/"), "suggested") == ["Pride and Prejudice", "On Rocks"]
        assert not (await browser.get(PRIDE)).all("h2", id="popular")
        await recommending.stop()
        product, cart = await browser.get(PRIDE), await browser.add("pride")
        assert titles(product, "popular") == ["On Rocks"]
        assert "Popular right now" in headings(product)
        assert "You may also like" in headings(product)
        assert titles(cart, "suggested") == ["On Rocks"]
        assert "Popular right now" in headings(cart)


def test_an_answer_that_is_too_old_is_no_answer() -> None:
    assert Dated(["a"], time.monotonic()).within(60) == ["a"]
    assert Dated(["a"], time.monotonic() - 61).within(60) == ()


EVIL = "<script>alert(1)</script>\u202e\x1b[2J"
MANY = [recommended("rocks", BECAUSE, "x" * 5_000), *(recommended(f"no-{number}") for number in range(3_000))]
NONSENSE: dict[str, list[messages.Recommendation]] = {
    "ids that are none": [recommended("rocks", id=text) for text in ("", "1", "../../admin", "\N{SNOWMAN}" * 100)],
    "unknown ids": [recommended("nowhere"), recommended("nothing")],
    "duplicates": [recommended("rocks", TOGETHER)] * 50,
    "too many": MANY,
    "empty texts": [recommended("rocks", TOGETHER, "", title="")],
    "html": [recommended("rocks", TOGETHER, EVIL, title=EVIL)],
    "strange numbers": [
        recommended("rocks", reason="why", reason_kind=99, score=math.nan),
        recommended("last", TOGETHER, score=-1e300),
    ],
}


@pytest.mark.parametrize("what", NONSENSE)
async def test_pages_are_complete_after_a_wrong_answer(
    market: Browser, recommending: ScriptedRecommendations, what: str
) -> None:
    recommending.answers = dict.fromkeys(ANSWERS, NONSENSE[what])
    await market.sign_in()
    for page in [*await complete_pages(market), await market.get(PRIDE)]:
        for section in ("suggested", "together", "similar"):
            assert len(set(titles(page, section))) == len(titles(page, section)) <= 2
        assert "<script>alert" not in page.html
        assert "\x1b" not in page.html
        assert all(len(reason) <= 160 for reason in reasons(page))


async def test_an_answer_that_is_too_large_is_none(market: Browser, recommending: ScriptedRecommendations) -> None:
    recommending.answers = {name: [recommended("rocks", TOGETHER, "x" * (5 << 20))] for name in ANSWERS}
    await without_recommendations(market)


async def test_a_refusal_is_no_failure(market: Browser, recommending: ScriptedRecommendations) -> None:
    """The service runs: the next page asks it again, without a pause."""
    recommending.answers = ANSWERS
    recommending.problem = {"status": 404, "code": "unknown_product", "detail": "There is no such product."}
    await without_recommendations_of_product(market)
    recommending.problem = None
    assert await shows_recommendations(market)


@contextlib.asynccontextmanager
async def tcp_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The address of a server that is no gRPC server."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await handle(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for task in tasks:
        task.cancel()


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(1_024):
        pass


async def _noise(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello" * 100)
    await writer.drain()


@pytest.mark.parametrize("handle", [_silent, _noise])
async def test_a_server_without_grpc(open_market: Open, handle: Any) -> None:
    async with tcp_server(handle) as address, open_market(address, timeout_s=SHORT_S) as browser:
        await without_recommendations(browser)


async def test_pages_are_complete_when_the_catalogue_cannot_be_asked_again(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    recommending.answers = ANSWERS
    await market.get("/")
    await market.sign_in()
    market.shop.down.add("product")
    page = await market.get("/")
    assert "Featured" in headings(page)
