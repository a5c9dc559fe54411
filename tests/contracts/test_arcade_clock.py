"""Rounds around the moment at which a board begins a new season, in the store's time zone.

The services have one clock, which the test sets. A score counts in the season in which its round ended, also when
leaderboard takes it days later.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Tokens, wait_until
from shop.kit.clock import Clock, FixedClock
from shop.kit.ids import new_id
from tests.contracts.test_order_participants import STORE, application
from tests.integration.arcade import presses

WAIT_S = 30.0
ROUND_S = 5
"""Longer than a round of `presses`."""
TAKEN_AFTER = timedelta(days=2)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FixedClock:
    """The clock of all services."""
    made = FixedClock(datetime.now(UTC))
    monkeypatch.setattr(Clock, "now", lambda _: made.at)
    return made


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tokens: Tokens, nats_url: str, valkey_url: str) -> None:
    common = {"NATS_URL": nats_url, "VALKEY_URL": valkey_url, "JWKS_URL": tokens.jwks_url}
    common |= {"INTERNAL_TOKEN": INTERNAL_TOKEN, "LEADERBOARD_URL": "", "ACHIEVEMENT_URL": ""}
    for name, value in common.items():
        monkeypatch.setenv(f"SHOP_{name}", value)


async def play(client: httpx.AsyncClient, headers: dict[str, str], clock: FixedClock, ended: datetime) -> int:
    """A round that ends at this moment; its score."""
    clock.at = ended - timedelta(seconds=ROUND_S)
    session = (await client.post("/api/v1/games/stack/sessions", headers=headers)).json()
    moves, score = presses(session["seed"], random.Random(1))
    clock.at = ended
    body = {"token": session["token"], "moves": moves}
    answer = await client.post(f"/api/v1/games/stack/sessions/{session['id']}/result", headers=headers, json=body)
    assert (answer.status_code, answer.json()["score"]) == (200, score), answer.text
    return score


async def scores(client: httpx.AsyncClient, board: str, season: str) -> dict[str, int]:
    """By player; none while the season is not known."""
    answer = await client.get(f"/api/v1/leaderboards/{board}", params={"season": season})
    if answer.status_code == 404:
        return {}
    assert answer.status_code == 200, answer.text
    return {one["player"]["id"]: one["score"] for one in answer.json()["items"]}


@pytest.mark.parametrize(
    ("zone", "midnight", "before", "after"),
    [
        pytest.param("UTC", "2026-11-29T00:00", "2026-11-28", "2026-11-29", id="utc"),
        pytest.param("America/New_York", "2026-07-06T04:00", "2026-07-05", "2026-07-06", id="its own zone"),
        pytest.param("Europe/Berlin", "2026-10-25T23:00", "2026-10-25", "2026-10-26", id="after 25 hours"),
        pytest.param("Europe/Berlin", "2026-03-29T22:00", "2026-03-29", "2026-03-30", id="after 23 hours"),
    ],
)
async def test_scores_around_midnight_count_in_the_day_in_which_they_were_made(
    database_for: DatabaseFor,
    served: Callable[..., Any],
    tokens: Tokens,
    environment: None,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    zone: str,
    midnight: str,
    before: str,
    after: str,
) -> None:
    """Leaderboard starts days later, and takes both scores from the broker."""
    monkeypatch.setenv("SHOP_STORE", json.dumps({**STORE, "time_zone": zone}))
    early, late = new_id(), new_id()
    async with AsyncExitStack() as stack:
        monkeypatch.setenv("SHOP_DATABASE_URL", await database_for("player"))
        games = await stack.enter_async_context(served(application("player")))
        earned: dict[UUID, int] = {}
        for player, ended in (
            (early, utc(midnight) - timedelta(microseconds=1)),
            (late, utc(midnight)),
        ):
            earned[player] = await play(games, tokens.headers(user_id=player), clock, ended)
        clock.at = utc(midnight) + TAKEN_AFTER
        monkeypatch.setenv("SHOP_DATABASE_URL", await database_for("leaderboard"))
        boards = await stack.enter_async_context(served(application("leaderboard")))

        async def taken() -> bool:
            return len(await scores(boards, "stack", "all")) == len(earned)

        await wait_until(taken, WAIT_S, "both scores")
        assert await scores(boards, "stack-daily", before) == {str(early): earned[early]}
        assert await scores(boards, "stack-daily", after) == {str(late): earned[late]}
        assert (await boards.get("/api/v1/leaderboards/stack-daily")).json()["items"] == []
