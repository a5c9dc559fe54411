from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from services.gateway.tests.conftest import Open, Served, Shop, Upstream, answer_json, closed_port
from shop.devkit.processes import free_port
from shop.devkit.testing import INTERNAL_TOKEN, wait_until
from shop.gateway.instances import UPSTREAMS


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_request_that_could_not_be_sent_goes_to_another_instance(
    open_shop: Open, all_upstreams: dict[str, Upstream], method: str
) -> None:
    with closed_port() as unused_port:
        urls = f"http://127.0.0.1:{unused_port},{all_upstreams['order'].url}"
        async with open_shop(order_url=urls, breaker_failures=1, breaker_reset_seconds=60) as shop:
            for _ in range(20):
                answer = await shop.client.request(method, "/api/v1/orders", headers=shop.customer(), content=b"{}")
                assert answer.status_code == 200
            assert len(shop.order.calls) == 20
            assert shop.gateway.upstreams["order"].instances[0].breaker.state == "open"


async def test_no_instance_is_a_503_with_retry_after(open_shop: Open) -> None:
    async with open_shop(down=("product",)) as shop:
        answer = await shop.client.get("/api/v1/products")
        assert (answer.status_code, answer.json()["code"]) == (503, "product_unavailable")
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) >= 1
        assert (await shop.client.get("/")).status_code == 200


async def test_the_breaker_opens_lets_one_probe_through_and_closes(open_shop: Open, served: Served) -> None:
    port = free_port()
    revived = Upstream("product", port)
    async with open_shop(product_url=revived.url, breaker_failures=3, breaker_reset_seconds=0.5) as shop:
        breaker = shop.gateway.upstreams["product"].instances[0].breaker
        for _ in range(3):
            assert (await shop.client.get("/api/v1/products")).status_code == 503
        assert breaker.state != "closed"
        go_on = asyncio.Event()

        async def handler(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/api/v1/products":
                await asyncio.wait_for(go_on.wait(), 10)
            await answer_json(send, {})

        def asked() -> int:
            return sum(call.path == "/api/v1/products" for call in revived.calls)

        revived.handler = handler
        async with served(revived, port=port, lifespan="off"):
            await wait_until(lambda: breaker.state == "half_open")
            breaker.reset_s = 60.0  # from here on only the probe's result counts, however slow this machine is
            probe = asyncio.create_task(shop.client.get("/api/v1/products"))
            await wait_until(asked)
            others = await asyncio.gather(*(shop.client.get("/api/v1/products") for _ in range(5)))
            assert {answer.status_code for answer in others} == {503}
            assert asked() == 1
            go_on.set()
            assert (await probe).status_code == 200
            assert breaker.state == "closed"
            assert (await shop.client.get("/api/v1/products")).status_code == 200


async def test_an_instance_that_is_ready_again_gets_requests_at_once(open_shop: Open, served: Served) -> None:
    """However long the breaker would stay open: it opened because connections were refused, and now they are not."""
    port = free_port()
    revived = Upstream("product", port)
    async with open_shop(product_url=revived.url, breaker_failures=2, breaker_reset_seconds=600) as shop:
        breaker = shop.gateway.upstreams["product"].instances[0].breaker
        for _ in range(2):
            assert (await shop.client.get("/api/v1/products")).status_code == 503
        assert breaker.state == "open"
        async with served(revived, port=port, lifespan="off"):
            await wait_until(lambda: breaker.state != "open")
            assert (await shop.client.get("/api/v1/products")).status_code == 200
            assert breaker.state == "closed"


async def test_a_probe_that_fails_opens_the_breaker_again(open_shop: Open) -> None:
    async with open_shop(down=("product",), breaker_failures=2, breaker_reset_seconds=0.3) as shop:
        breaker = shop.gateway.upstreams["product"].instances[0].breaker
        for _ in range(2):
            await shop.client.get("/api/v1/products")
        await wait_until(lambda: breaker.state == "half_open")
        breaker.reset_s = 60.0
        assert (await shop.client.get("/api/v1/products")).status_code == 503
        assert breaker.state == "open"


async def test_answers_of_a_service_are_no_failures_of_its_instance(open_shop: Open) -> None:
    """A 500 of one endpoint, or a 503 because of a dependency, must not make all others unavailable."""
    async with open_shop(breaker_failures=2) as shop:

        async def handler(scope: Scope, receive: Receive, send: Send) -> None:
            await answer_json(send, {"code": "pricing_unavailable"}, status=503)

        shop.order.handler = handler
        for _ in range(5):
            answer = await shop.client.get("/api/v1/orders", headers=shop.customer())
            assert answer.json()["code"] == "pricing_unavailable"
        assert shop.gateway.upstreams["order"].instances[0].breaker.state == "closed"


async def test_time_outs_open_the_breaker(open_shop: Open) -> None:
    async with open_shop(total_timeout_s=0.3, breaker_failures=2, breaker_reset_seconds=60) as shop:

        async def handler(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        shop.product.handler = handler
        statuses = [(await shop.client.get("/api/v1/products")).status_code for _ in range(3)]
        assert statuses == [504, 504, 503]
        assert len(shop.product.calls) <= 2


async def test_breakers_and_requests_are_in_the_metrics(open_shop: Open) -> None:
    async with open_shop(down=("product",), breaker_failures=1) as shop:
        await shop.client.get("/api/v1/products")
        await shop.client.get("/api/v1/orders/7", headers=shop.customer())
        metrics = (await shop.client.get("/metrics")).text
        instance = shop.gateway.upstreams["product"].instances[0].base_url
        assert f'shop_gateway_breaker_state{{instance="{instance}",upstream="product"}} 2.0' in metrics
        assert f'shop_gateway_upstream_inflight{{instance="{instance}",upstream="product"}} 0.0' in metrics
        assert 'shop_gateway_requests_total{route="/api/v1/orders",status="200",upstream="order"}' in metrics
        assert 'shop_http_requests_total{method="GET",route="/api/v1/orders",status="200"}' in metrics
        assert "/api/v1/orders/7" not in metrics


async def test_an_administrators_breaker_keeps_requests_from_a_service(shop: Shop) -> None:
    inside = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}
    lever = f"{UPSTREAMS}/product/breaker"
    assert (await shop.client.put(lever, json={"state": "open"}, headers=shop.customer())).status_code == 403
    assert (await shop.client.put(lever, json={"state": "open"}, headers=inside)).status_code == 204
    answer = await shop.client.get("/api/v1/products")
    assert (answer.status_code, answer.json()["code"]) == (503, "product_unavailable")
    assert shop.product.calls == []
    found = (await shop.client.get(UPSTREAMS, headers=inside)).json()["items"]
    assert {one["name"]: one["breaker"] for one in found}["product"] == "open"
    assert (await shop.client.put(lever, json={"state": "closed"}, headers=inside)).status_code == 204
    assert (await shop.client.get("/api/v1/products")).status_code == 200
    assert (await shop.client.get("/internal/upstreams", headers=inside)).status_code == 404
