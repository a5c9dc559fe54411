"""The overview: services are read only while somebody watches, and the page and its stream show what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from services.ops.tests.conftest import Browser
from shop.devkit.testing import INTERNAL_TOKEN, Running, Tokens, wait_until
from shop.kit.errors import Problem
from shop.ops import watch
from shop.ops.app import make_app
from shop.ops.instances import Known
from shop.ops.settings import Settings
from shop.ops.watch import Watch

EVERY_S = 0.05
Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class ReadService:
    """A service whose requests grow by ten with each reading."""

    def __init__(self) -> None:
        self.readings = 0
        self.status = "ok"
        self.url = ""
        routes = [
            Route("/metrics", self.metrics),
            Route("/health/ready", self.ready),
            Route("/internal/settings", self.settings),
        ]
        self.app = Starlette(routes=routes)

    async def metrics(self, _: Request) -> Response:
        self.readings += 1
        requests = f'shop_http_requests_total{{method="GET",route="/x",status="200"}} {self.readings * 10}'
        return PlainTextResponse(f"process_start_time_seconds 1\n{requests}\n")

    async def ready(self, _: Request) -> Response:
        return JSONResponse({"status": self.status, "version": "2.7.1", "checks": {"database": "ok"}})

    async def settings(self, request: Request) -> Response:
        asked = request.headers["authorization"] == f"Bearer {INTERNAL_TOKEN}"
        return JSONResponse({"SHOP_LOG_LEVEL": "INFO"} if asked else {})


@pytest.fixture
async def order(served: Served) -> AsyncIterator[ReadService]:
    made = ReadService()
    async with served(made.app, lifespan="off") as client:
        made.url = str(client.base_url).rstrip("/")
        yield made


@pytest.fixture
async def watched(order: ReadService) -> AsyncIterator[Watch]:
    async def instances() -> dict[str, list[Known]]:
        return {"order": [Known(order.url)]}

    made = Watch(instances, EVERY_S)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.wait({task})
    await made.close()


async def test_nobody_is_read_until_somebody_looks(
    watched: Watch, order: ReadService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LINGER_S", 2 * EVERY_S)
    assert order.readings == 0
    node = (await watched.latest()).node("order")
    assert node is not None
    assert (node.status, node.rate) == ("ok", None)
    await wait_until(lambda: not watched._wanted.is_set(), what="the end of reading")
    before = order.readings
    await wait_until(lambda: watched._readings == [], what="forgotten readings")
    assert order.readings == before


async def test_each_picture_has_the_rates_since_the_one_before(watched: Watch) -> None:
    pictures = watched.pictures()
    await anext(pictures)
    node = (await anext(pictures)).node("order")
    await pictures.aclose()
    assert node is not None
    assert node.rate is not None
    assert node.rate > 0


async def test_a_service_that_ends_is_away_and_comes_back(served: Served, watched: Watch, order: ReadService) -> None:
    order.status = "unavailable"
    node = (await watched.latest()).node("order")
    assert node is not None
    assert (node.status, node.up) == ("unavailable", 0)
    order.status = "ok"

    async def back() -> bool:
        found = (await watched.latest()).node("order")
        return found is not None and found.status == "ok"

    await wait_until(back)


async def test_the_number_of_watchers_is_limited(watched: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_WATCHERS", 0)
    with pytest.raises(Problem) as refused:
        await anext(watched.pictures())
    assert refused.value.code == "too_many_streams"


@pytest.fixture
async def shown(running: Running, settings: Settings, order: ReadService, tokens: Tokens) -> AsyncIterator[Browser]:
    """A shop of one service that answers."""
    only_order: dict[str, Any] = {
        name: "" for name in Settings.model_fields if name.endswith("_url") and name != "jwks_url"
    }
    async with running(make_app(settings.model_copy(update=only_order | {"order_url": order.url}))) as client:
        browser = Browser(client, tokens)
        browser.sign_in()
        yield browser


async def test_the_page_has_the_services_of_this_shop_alone(shown: Browser) -> None:
    text = (await shown.get("/ops")).text
    assert 'data-node="order"' in text
    assert 'data-node="payment"' not in text
    first = orjson.loads(text.partition('id="first">')[2].partition("</script>")[0])
    assert first["nodes"][0]["noun"] == "order"


async def test_a_services_page_has_instances_settings_and_log(
    shown: Browser, data_dir: Path, order: ReadService
) -> None:
    (data_dir / "logs" / "order-1.log").write_bytes(
        b'{"time":"2026-11-29T10:00:00Z","level":"error","message":"it broke"}\n'
    )
    port = httpx.URL(order.url).port
    component = {"name": "order-1", "kind": "service", "state": "ready", "healthy": True, "port": port, "restarts": 41}
    (data_dir / "state.json").write_bytes(orjson.dumps({"components": [{**component, "pid": 7, "detail": ""}]}))
    text = (await shown.get("/ops/services/order?level=warning")).text
    assert [f'<td class="number">{cell}</td>' in text for cell in ("2.7.1", 41)] == [True, True]
    assert "order-1 <code>" in text
    assert "SHOP_LOG_LEVEL" in text
    assert "it broke" in text
    assert '<span class="state good">ok</span>' in text
    saved = await shown.get("/ops/services/order/log?level=error")
    assert saved.text.strip().endswith('"it broke"}')
    assert 'filename="order.log"' in saved.headers["content-disposition"]
    await shown.get("/ops/services/payment", 404)


@pytest.mark.parametrize("path", ["/ops", "/ops/events", "/ops/services/order", "/ops/services/order/log"])
async def test_all_of_it_is_for_administrators(shown: Browser, path: str) -> None:
    shown.sign_in("customer")
    await shown.get(path, 403)
