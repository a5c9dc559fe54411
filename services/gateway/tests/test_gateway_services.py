"""GET /api/v1/services, and services that register by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import playwright
import pytest

from services.gateway.tests.conftest import Open, Shop, Upstream, closed_port
from shop.devkit.processes import free_port
from shop.devkit.testing import INTERNAL_TOKEN, wait_until

SERVICES = "/api/v1/services"
INTERNAL = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}
DOCUMENT = Path(__file__).parents[3] / "docs" / "balancing.md"
NODE = Path(playwright.__file__).parent / "driver" / "node"
WAIT_S = 30.0


@pytest.fixture
async def registry_shop(open_shop: Open, nats_url: str) -> AsyncIterator[Shop]:
    """The gateway is registered, too, and so might know only those that it follows."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    own = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with open_shop(discovery="registry", nats_url=nats_url, instance_url=own, instance_id="gateway-1") as shop:
        yield shop
    server.close()


async def listed(shop: Shop, headers: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    answer = await shop.client.get(SERVICES, headers=headers)
    assert answer.status_code == 200
    return {one["name"]: one for one in answer.json()["items"]}


async def test_everyone_sees_names_and_health_and_an_administrator_the_instances(open_shop: Open) -> None:
    async with open_shop(down=("order",), breaker_failures=1) as shop:
        await shop.client.get("/api/v1/orders", headers=shop.customer())
        everyone = await listed(shop)
        assert everyone["product"] == {"name": "product", "healthy": True}
        assert everyone["order"] == {"name": "order", "healthy": False}
        assert everyone == await listed(shop, shop.customer())
        found = await listed(shop, shop.tokens.headers(role="admin"))
        [product], [order] = found["product"]["instances"], found["order"]["instances"]
        assert (product["url"], product["healthy"], product["ejected"]) == (shop.product.url, True, False)
        assert (order["healthy"], order["ejected"], order["ejections"]) == (False, True, 1)
        assert {"requests_in_flight", "streams", "latency_ms", "version", "zone", "id"} <= product.keys()


async def test_a_token_that_is_not_good_is_refused(shop: Shop) -> None:
    answer = await shop.client.get(SERVICES, headers={"Authorization": "Bearer nonsense"})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


async def test_it_is_in_the_api_document_and_registration_is_not(shop: Shop) -> None:
    paths = (await shop.client.get("/openapi.json")).json()["paths"]
    assert paths[SERVICES]["get"]["operationId"] == "gateway_list_services"
    assert [path for path in paths if path.startswith(SERVICES)] == [SERVICES]


async def register(shop: Shop, name: str, number: int = 7, **body: Any) -> int:
    path = f"{SERVICES}/{name}/instances/{name}-{number}"
    return (await shop.client.put(path, json=body, headers=INTERNAL)).status_code


async def test_an_instance_that_registers_gets_requests_until_it_is_removed(
    registry_shop: Shop, all_upstreams: dict[str, Upstream]
) -> None:
    shop, other = registry_shop, all_upstreams["pricing"]
    pool = shop.gateway.upstreams["product"]
    await wait_until(lambda: shop.gateway.discovery._bus.connected)  # type: ignore[attr-defined]
    assert await register(shop, "product", url=other.url, version="9.1", zone="west") == 200
    await wait_until(lambda: {one.base_url for one in pool.instances} >= {other.url})
    found = await listed(shop, shop.tokens.headers(role="admin"))
    joined = next(one for one in found["product"]["instances"] if one["url"] == other.url)
    assert (joined["id"], joined["version"], joined["zone"], joined["load"]) == ("product-7", "9.1", "west", 0)

    async def asked() -> bool:
        await shop.client.get("/api/v1/products")
        return any(call.path == "/api/v1/products" for call in other.calls)

    await wait_until(asked)
    assert f'instance="{other.url}",upstream="product"' in (await shop.client.get("/metrics")).text
    with closed_port() as port:
        assert await register(shop, "product", 8, url=f"http://127.0.0.1:{port}") == 200
    await wait_until(lambda: any(one.about.id == "product-8" for one in pool.instances))
    assert (await shop.client.delete(f"{SERVICES}/product/instances/product-7", headers=INTERNAL)).status_code == 204
    await wait_until(lambda: all(one.base_url != other.url for one in pool.instances))
    assert f'instance="{other.url}",upstream="product"' not in (await shop.client.get("/metrics")).text


@pytest.mark.parametrize(
    ("path", "body", "token", "status"),
    [
        ("weather/instances/one", {"url": "http://127.0.0.1:1"}, "", 401),
        ("weather/instances/one", {"url": "http://127.0.0.1:1"}, "wrong", 403),
        ("weather/instances/one", {"url": "http://127.0.0.1:1/path"}, INTERNAL_TOKEN, 422),
        ("weather/instances/one", {"url": "file:///etc/passwd"}, INTERNAL_TOKEN, 422),
        ("weather/instances/One", {"url": "http://127.0.0.1:1"}, INTERNAL_TOKEN, 422),
        ("we.ather/instances/one", {"url": "http://127.0.0.1:1"}, INTERNAL_TOKEN, 422),
        ("weather/instances/one", {"url": "http://127.0.0.1:1"}, INTERNAL_TOKEN, 409),
    ],
)
async def test_what_registration_refuses(shop: Shop, path: str, body: Any, token: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    assert (await shop.client.put(f"{SERVICES}/{path}", json=body, headers=headers)).status_code == status


async def test_registration_is_unavailable_while_the_registry_is_away(open_shop: Open) -> None:
    async with open_shop(discovery="registry", nats_url=f"nats://127.0.0.1:{free_port()}") as shop:
        assert await register(shop, "weather", url="http://127.0.0.1:1") == 503
        assert (await shop.client.get("/api/v1/products")).status_code == 200


@contextlib.contextmanager
def program_of_the_document(tmp_path: Path, shop: Shop) -> Any:
    """The program in docs/balancing.md, run by Node.js."""
    [text] = re.findall(r"```js\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "weather.mjs"
    path.write_text(text)
    env = {"GATEWAY": str(shop.client.base_url).rstrip("/"), "TOKEN": INTERNAL_TOKEN, "PORT": str(free_port())}
    process = subprocess.Popen([NODE, str(path)], env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_the_service_in_another_language_of_the_document_joins_and_leaves(
    registry_shop: Shop, tmp_path: Path
) -> None:
    shop = registry_shop
    with program_of_the_document(tmp_path, shop) as process:

        async def answers() -> bool:
            answer = await shop.client.get("/api/v1/weather/today", headers=shop.customer())
            return answer.status_code == 200 and "rain" in answer.json()

        await wait_until(answers, WAIT_S)
        assert (await shop.client.get("/api/v1/weather/today")).status_code == 401
        assert (await listed(shop))["weather"] == {"name": "weather", "healthy": True}
        process.terminate()
        await asyncio.to_thread(process.wait, WAIT_S)
    answer = await shop.client.get("/api/v1/weather/today", headers=shop.customer())
    assert (answer.status_code, json.loads(answer.content)["code"]) == (404, "unknown_service")
    assert "weather" not in await listed(shop)
