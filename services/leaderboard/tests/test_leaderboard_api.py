"""Leaderboard over HTTP and from events, with a real database and a real broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from shop.contracts.events import OrderConfirmed
from shop.contracts.money import Address, Money
from shop.devkit.testing import DatabaseFor, Running, Tokens, wait_until
from shop.kit import outbox
from shop.kit.app import Context, create_app
from shop.kit.ids import new_id
from shop.leaderboard import api, consumers
from shop.leaderboard.service import LeaderboardService
from shop.leaderboard.settings import Settings

PATH = "/api/v1/leaderboards"
MAX_ENTRIES = 3
NOTHING = Money(amount=0, currency="EUR")
HOME = Address(name="Ada", street="1 Lane", city="Berlin", postal_code="10115", country="DE")


@dataclass
class Started:
    client: httpx.AsyncClient
    context: Context


@pytest.fixture
async def started(database_for: DatabaseFor, nats_url: str, tokens: Tokens, running: Running) -> AsyncIterator[Started]:
    settings = Settings(
        database_url=await database_for("leaderboard"),
        nats_url=nats_url,
        jwks_url=tokens.jwks_url,
        leaderboard_entries_per_user=MAX_ENTRIES,
    )
    app = create_app(
        settings,
        title="Leaderboard",
        routers=[api.router],
        build=LeaderboardService.build,
        consumers=consumers.consumers,
    )
    async with running(app) as client:
        yield Started(client, app.state.context)


def confirmed(user_id: UUID) -> OrderConfirmed:
    return OrderConfirmed(
        order_id=new_id(),
        user_id=user_id,
        email="ada@example.com",
        customer_name="Ada",
        kind="retail",
        occurred_at=datetime.now(UTC),
        lines=[],
        subtotal=NOTHING,
        discount=NOTHING,
        tax=NOTHING,
        shipping=NOTHING,
        total=NOTHING,
        address=HOME,
    )


async def test_entry_is_kept_and_read_back(started: Started, tokens: Tokens) -> None:
    headers = tokens.headers()
    made = await started.client.post(PATH, json={"note": "  first   note "}, headers=headers)
    assert made.status_code == 201
    assert made.json()["note"] == "first note"
    read = await started.client.get(f"{PATH}/{made.json()['id']}", headers=headers)
    assert read.json() == made.json()


async def test_pages_hold_every_entry_once_the_newest_first(started: Started, tokens: Tokens) -> None:
    headers = tokens.headers()
    for number in range(MAX_ENTRIES):
        await started.client.post(PATH, json={"note": f"note {number}"}, headers=headers)
    notes: list[str] = []
    parameters: dict[str, Any] = {"limit": 2}
    while parameters.get("cursor", "") is not None:
        page = (await started.client.get(PATH, params=parameters, headers=headers)).json()
        notes += [item["note"] for item in page["items"]]
        parameters["cursor"] = page["next_cursor"]
    assert notes == [f"note {number}" for number in reversed(range(MAX_ENTRIES))]


async def test_entries_of_others_do_not_exist(started: Started, tokens: Tokens) -> None:
    made = await started.client.post(PATH, json={"note": "mine"}, headers=tokens.headers())
    other = await started.client.get(f"{PATH}/{made.json()['id']}", headers=tokens.headers())
    assert (other.status_code, other.json()["code"]) == (404, "unknown_entry")


async def test_number_of_entries_is_bounded(started: Started, tokens: Tokens) -> None:
    headers = tokens.headers()
    answers = [await started.client.post(PATH, json={"note": "x"}, headers=headers) for _ in range(MAX_ENTRIES + 1)]
    assert [answer.status_code for answer in answers] == [201] * MAX_ENTRIES + [409]
    assert answers[-1].json()["code"] == "too_many_entries"


@pytest.mark.parametrize("body", [{}, {"note": ""}, {"note": "x" * 201}, {"note": 1}, {"note": "x", "more": 1}, []])
async def test_bad_entry_is_refused_field_by_field(started: Started, tokens: Tokens, body: Any) -> None:
    answer = await started.client.post(PATH, json=body, headers=tokens.headers())
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_entries_need_a_good_token(started: Started, tokens: Tokens) -> None:
    answers = [await started.client.get(PATH)] + [
        await started.client.get(PATH, headers={"Authorization": f"Bearer {token}"})
        for token in (tokens.expired(), tokens.forged())
    ]
    assert [answer.json()["code"] for answer in answers] == ["token_missing", "token_expired", "invalid_token"]


async def test_confirmed_order_adds_one_entry(started: Started, tokens: Tokens) -> None:
    user, token = tokens.customer()
    headers = {"Authorization": f"Bearer {token}"}
    bus = started.context.bus
    event = confirmed(user.user_id)
    await wait_until(lambda: bus.connected)
    await bus.ensure_stream("order")
    row = outbox.row(event)
    for attempt in ("once", "twice"):
        await (await bus.publish(row.type, row.payload.encode(), f"{row.event_id}-{attempt}"))

    async def entries() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await started.client.get(PATH, headers=headers)).json()["items"]
        return items

    await wait_until(entries)
    last = outbox.row(confirmed(new_id()))
    await (await bus.publish(last.type, last.payload.encode(), str(last.event_id)))
    await wait_until(lambda: started.context.database.fetchval("SELECT count(*) = 2 FROM inbox"))
    assert [(item["origin"], item["note"]) for item in await entries()] == [("order", f"Order {event.order_id}")]


async def test_service_is_ready(started: Started) -> None:
    await wait_until(lambda: started.context.bus.connected)
    answer = await started.client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
