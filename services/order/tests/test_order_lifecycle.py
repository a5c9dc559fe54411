"""After the confirmation: reading, cancelling, fulfilling, delivering, watching."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from services.order.tests.conftest import Shop, Start
from services.order.tests.scripted_services import BOOK, CHARGE, QUOTE, RELEASE, STOCK, UNQUOTE, VOID
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id


async def confirmed(shop: Shop, **changed: Any) -> dict[str, Any]:
    answer = await shop.place(**changed)
    assert answer.status_code == 201, answer.text
    order: dict[str, Any] = answer.json()
    return order


async def test_cancelling_refunds_and_restocks_once(shop: Shop) -> None:
    order = await confirmed(shop, coupon="SAVE1")
    answer = await shop.post(order["id"], "cancel")
    assert (answer.status_code, answer.json()["state"], answer.json()["version"]) == (200, "cancelled", 3)
    assert [path for path, _ in shop.services.calls][-3:] == [VOID, UNQUOTE, RELEASE]
    shop.services.assert_no_effect_left(order["id"])
    assert shop.services.stock[BOOK] == STOCK
    assert shop.services.refunded[order["id"]] == order["total"]["amount"]
    assert await shop.events(order["id"]) == ["order.confirmed.v1", "order.cancelled.v1"]
    assert (await shop.event(order["id"], "order.cancelled.v1"))["refunded"] == order["total"]
    again = await shop.post(order["id"], "cancel")
    assert (again.status_code, again.json()) == (200, answer.json())
    assert shop.services.calls_of(VOID) == 1


async def test_concurrent_cancellations_are_one(shop: Shop) -> None:
    order = await confirmed(shop)
    answers = await asyncio.gather(*(shop.post(order["id"], "cancel") for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    await shop.until(order["id"], "cancelled")
    assert shop.services.calls_of(VOID) == 1
    assert (await shop.events(order["id"])).count("order.cancelled.v1") == 1


async def test_only_the_owner_and_administrators_may_cancel(shop: Shop) -> None:
    order = await confirmed(shop)
    other_customer = shop.tokens.headers()
    answer = await shop.client.post(f"/api/v1/orders/{order['id']}/cancel", headers=other_customer)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_order")
    assert (await shop.order(order["id"]))["state"] == "confirmed"
    assert (await shop.post(order["id"], "cancel", admin=True)).json()["state"] == "cancelled"


async def test_an_order_that_is_being_cancelled_cannot_be_fulfilled(shop: Shop) -> None:
    order = await confirmed(shop)
    shop.services.gates[VOID] = asyncio.Event()
    cancelling = asyncio.create_task(shop.post(order["id"], "cancel"))
    await wait_until(lambda: shop.services.calls_of(VOID), what="the refund")
    answer = await shop.post(order["id"], "fulfil", admin=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    repeated = await shop.post(order["id"], "cancel")
    assert repeated.status_code == 202
    shop.services.gates[VOID].set()
    assert (await cancelling).json()["state"] == "cancelled"


async def test_an_order_is_fulfilled_and_delivered(shop: Shop) -> None:
    order = await confirmed(shop)
    fulfilled = await shop.post(order["id"], "fulfil", admin=True)
    assert (fulfilled.status_code, fulfilled.json()["state"], fulfilled.json()["version"]) == (200, "fulfilled", 3)
    delivered = await shop.post(order["id"], "deliver", admin=True)
    assert (delivered.status_code, delivered.json()["state"], delivered.json()["version"]) == (200, "delivered", 4)
    assert await shop.events(order["id"]) == ["order.confirmed.v1", "order.fulfilled.v1", "order.delivered.v1"]
    history = (await shop.client.get(f"/api/v1/orders/{order['id']}/history", headers=shop.admin)).json()
    assert [step["to_state"] for step in history["transitions"]] == ["confirmed", "fulfilled", "delivered"]


PATIENT_S = 60.0
"""A request that waits so long answers with its order's end, on a slow machine too."""
MOVES = {"fulfil": "fulfilled", "deliver": "delivered", "cancel": "cancelled"}


@pytest.mark.parametrize(
    ("path", "move"),
    [
        ([], "deliver"),
        (["fulfil"], "fulfil"),
        (["fulfil"], "cancel"),
        (["fulfil", "deliver"], "fulfil"),
        (["fulfil", "deliver"], "deliver"),
        (["fulfil", "deliver"], "cancel"),
        (["cancel"], "fulfil"),
        (["cancel"], "deliver"),
    ],
)
async def test_no_other_move_is_legal(shop: Shop, path: list[str], move: str) -> None:
    order = await confirmed(shop)
    for step in path:
        assert (await shop.post(order["id"], step, admin=True)).status_code == 200
    before = await shop.order(order["id"])
    answer = await shop.post(order["id"], move, admin=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert answer.json()["state"] == before["state"]
    assert await shop.order(order["id"]) == before


@pytest.mark.parametrize("move", ["fulfil", "deliver"])
async def test_a_pending_or_rejected_order_cannot_be_moved(shop: Shop, move: str) -> None:
    shop.services.gates[CHARGE] = asyncio.Event()
    placing = asyncio.create_task(shop.place(payment={"token": "tok_declined"}))
    await wait_until(lambda: shop.services.calls_of(CHARGE), what="the charge")
    order_id = shop.services.calls[-1][1]
    assert (await shop.post(order_id, move, admin=True)).json()["code"] == "illegal_transition"
    shop.services.gates[CHARGE].set()
    assert (await placing).status_code == 402
    assert (await shop.post(order_id, move, admin=True)).json()["code"] == "illegal_transition"


async def test_fulfilling_and_cancelling_at_once_does_one_of_them(shop: Shop) -> None:
    for _ in range(5):
        order = await confirmed(shop)
        one, other = await asyncio.gather(
            shop.post(order["id"], "fulfil", admin=True), shop.post(order["id"], "cancel", admin=True)
        )
        assert sorted((one.status_code, other.status_code)) in ([200, 409], [202, 409])
        state = "fulfilled" if one.status_code == 200 else "cancelled"
        await shop.until(order["id"], state)


@pytest.mark.parametrize("move", ["fulfil", "deliver"])
async def test_customers_do_not_fulfil(shop: Shop, move: str) -> None:
    order = await confirmed(shop)
    answer = await shop.post(order["id"], move)
    assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")


@pytest.mark.parametrize("path", ["", "/events"])
async def test_another_customers_order_does_not_exist(shop: Shop, path: str) -> None:
    order = await confirmed(shop)
    other_customer = shop.tokens.headers()
    for order_id in (order["id"], str(new_id())):
        answer = await shop.client.get(f"/api/v1/orders/{order_id}{path}", headers=other_customer)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_order")
    own = await shop.client.get(f"/api/v1/orders/{order['id']}", headers=shop.headers)
    assert own.json() == order


async def test_history_is_for_administrators(shop: Shop) -> None:
    order = await confirmed(shop)
    url = f"/api/v1/orders/{order['id']}/history"
    assert (await shop.client.get(url, headers=shop.headers)).status_code == 403
    assert (await shop.client.get(url, headers=shop.admin)).status_code == 200
    unknown = await shop.client.get(f"/api/v1/orders/{new_id()}/history", headers=shop.admin)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_order")


async def pages(shop: Shop, path: str, headers: dict[str, str], **params: Any) -> list[list[str]]:
    """Ids page by page, to the end."""
    found: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await shop.client.get(f"/api/v1/orders{path}", headers=headers, params=params | cursor)
        assert answer.status_code == 200, answer.text
        found.append([order["id"] for order in answer.json()["items"]])
        if answer.json()["next_cursor"] is None:
            return found
        cursor = {"cursor": answer.json()["next_cursor"]}


async def test_customers_see_their_own_orders_newest_first(shop: Shop) -> None:
    ids = [(await confirmed(shop))["id"] for _ in range(5)]
    await shop.client.post("/api/v1/orders", headers=shop.tokens.headers() | {"Idempotency-Key": "k"}, json={})
    assert await pages(shop, "", shop.headers, limit=2) == [ids[:2:-1], ids[2:0:-1], ids[:1]]
    assert await pages(shop, "", shop.headers, limit=5) == [ids[::-1]]
    assert await pages(shop, "", shop.tokens.headers()) == [[]]


async def test_administrators_see_everybodys_orders(shop: Shop) -> None:
    ids = [(await confirmed(shop))["id"] for _ in range(3)]
    await shop.post(ids[0], "cancel")
    mine = {"user_id": str(shop.user_id)}
    assert await pages(shop, "/all", shop.admin, **mine) == [ids[::-1]]
    assert await pages(shop, "/all", shop.admin, **mine, state="cancelled") == [ids[:1]]
    assert await pages(shop, "", shop.headers, state="confirmed") == [ids[:0:-1]]
    everything = [found for page in await pages(shop, "/all", shop.admin, limit=100) for found in page]
    assert set(ids) <= set(everything)
    assert everything == sorted(everything, reverse=True)
    assert (await shop.client.get("/api/v1/orders/all", headers=shop.headers)).status_code == 403


async def states(answer: httpx.Response) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """(id, data) of each event of a stream."""
    known: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            known[name] = value
        elif known:
            yield int(known["id"]), orjson.loads(known["data"])
            known = {}


async def test_a_stream_sends_each_state_and_ends_with_the_last(start: Start) -> None:
    async with start(on_port=True) as shop:
        order = await confirmed(shop)
        url = f"/api/v1/orders/{order['id']}/events"
        seen = []
        async with shop.client.stream("GET", url, headers=shop.headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for version, data in states(answer):
                seen.append((version, data["state"]))
                if data["state"] == "confirmed":
                    await shop.post(order["id"], "fulfil", admin=True)
                if data["state"] == "fulfilled":
                    await shop.post(order["id"], "deliver", admin=True)
        assert seen == [(2, "confirmed"), (3, "fulfilled"), (4, "delivered")]
        resumed = shop.headers | {"Last-Event-ID": "2"}
        async with shop.client.stream("GET", url, headers=resumed) as answer:
            assert [version async for version, _ in states(answer)] == [3, 4]
        done = await shop.client.get(url, headers=shop.headers | {"Last-Event-ID": "4"})
        assert done.status_code == 204
        late = await shop.client.get(url, headers=shop.headers)
        assert late.text.startswith("id: 4\nevent: state\ndata: ")


async def test_a_resumed_stream_is_connected_before_anything_changes(start: Start) -> None:
    async with start(on_port=True, stream_keepalive_s=600) as shop:
        order = await confirmed(shop)
        url, resumed = f"/api/v1/orders/{order['id']}/events", shop.headers | {"Last-Event-ID": "2"}
        async with shop.client.stream("GET", url, headers=resumed) as answer:
            assert await anext(answer.aiter_lines()) == ": keepalive"


async def test_a_pending_order_is_watched_until_it_is_rejected(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start(on_port=True, stream_keepalive_s=0.05) as shop:
        service = shop.app.state.service
        patient = service._settings.model_copy(update={"inline_budget_s": PATIENT_S})
        monkeypatch.setattr(service, "_settings", patient)
        shop.services.gates[QUOTE] = asyncio.Event()
        placing = asyncio.create_task(shop.place(coupon="NONSENSE"))
        await wait_until(lambda: shop.services.calls_of(QUOTE), what="the quote")
        lines = []
        async with shop.client.stream(
            "GET", f"/api/v1/orders/{shop.services.calls[-1][1]}/events", headers=shop.headers
        ) as answer:
            async for line in answer.aiter_lines():
                lines.append(line)
                if line == ": keepalive":
                    shop.services.gates[QUOTE].set()
        assert (await placing).status_code == 422
        data = [orjson.loads(line[6:]) for line in lines if line.startswith("data: ")]
        assert [(event["state"], event["reason"]) for event in data] == [
            ("pending", None),
            ("rejected", "unknown_coupon"),
        ]


async def test_the_number_of_streams_is_limited(start: Start) -> None:
    async with start(on_port=True, max_streams=1) as shop:
        order = await confirmed(shop)
        url = f"/api/v1/orders/{order['id']}/events"
        async with shop.client.stream("GET", url, headers=shop.headers) as first:
            lines = first.aiter_lines()
            assert await anext(lines) == "id: 2"
            second = await shop.client.get(url, headers=shop.headers)
            assert (second.status_code, second.json()["code"]) == (503, "too_many_streams")
        await wait_until(lambda: shop.service.watchers._count == 0, what="the first stream's end")
        async with shop.client.stream("GET", url, headers=shop.headers) as third:
            assert third.status_code == 200


async def test_streams_end_with_their_process(start: Start) -> None:
    async with start(on_port=True) as shop:
        order = await confirmed(shop)
        url = f"/api/v1/orders/{order['id']}/events"
        async with shop.client.stream("GET", url, headers=shop.headers) as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == "id: 2"
            await shop.app.state.context.tasks.stop()
            assert [line async for line in lines if line.startswith("id:")] == []


async def test_cancelling_without_a_coupon_does_not_need_pricing(shop: Shop) -> None:
    order = await confirmed(shop)
    assert (await shop.post(order["id"], "cancel")).status_code == 200
    assert shop.services.calls_of(UNQUOTE) == 0
    assert shop.services.calls_of(RELEASE) == 1
