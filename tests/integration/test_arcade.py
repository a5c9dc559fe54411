"""Rounds in a whole shop: what players score and buy counts exactly once, whatever is killed or away meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from functools import partial

import pytest

from shop.devkit.testing import wait_until
from tests.conftest import RunningShop
from tests.integration import arcade, buyers
from tests.integration.arcade import Player
from tests.integration.audit import assert_clean
from tests.load.shoppers import Shop

pytestmark = pytest.mark.shop

PLAYERS, ROUNDS = 50, 20
AT_ONCE = 20
KILLED = ("player", "leaderboard", "achievement")
STOPPED = ("valkey", "nats")
ROUNDS_A_STEP = 100
BACK_WITHIN_S = 60.0
SCORE_PER_XP, DAY_MAX_XP = 10, 1_000


class Rounds:
    """Plays rounds in their order, AT_ONCE at a time, as far as they are allowed: some are left for each step."""

    def __init__(self, api: Shop) -> None:
        self._api = api
        self._started = asyncio.Semaphore(0)
        self._allowed = 0
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.answers: list[int] = []

    async def play(self, player: Player, number: int) -> None:
        await self._started.acquire()
        async with self._gate:
            self.answers.append((await arcade.insist(self._api, player, player.sessions[number])).status)

    def allow(self, count: int) -> None:
        self._allowed += count
        for _ in range(count):
            self._started.release()

    async def play_half(self, count: int) -> None:
        """Allow more rounds. Returns once half of them are answered and the others are under way."""
        enough = self._allowed + count // 2
        self.allow(count)
        await wait_until(lambda: len(self.answers) >= enough, BACK_WITHIN_S, f"{enough} rounds")


def expected_xp(player: Player) -> int:
    """Experience points of the acknowledged rounds, which are too few for a limit."""
    return sum(score // SCORE_PER_XP for score in player.scores.values())


async def test_a_customer_plays_and_buys(shop: RunningShop, api: Shop, admin: str) -> None:
    [player] = await arcade.players(api, 1)
    await arcade.open_sessions(api, [player], 3)
    for session in player.sessions:
        answer = await arcade.insist(api, player, session)
        assert (answer.status, answer.body["score"]) == (200, session.score)
    assert "first-round" in await arcade.achievements(api, player)
    product = await buyers.new_product(api, admin, 5, price=2_000)
    order = await buyers.order(api, player.token, product["id"], quantity=2)
    assert await buyers.ends_as(api, order) == "confirmed"
    spent = order.body["total"]["amount"] // 100
    await arcade.comes_to_board(api, "buyers-all", {player.id: spent})
    await arcade.comes_to_board(api, "buyers", {player.id: spent})
    await arcade.comes_to_board(api, "stack", {player.id: max(player.scores.values())})

    rewards = {"achievement:first-round", "achievement:first-order", f"order:{order.body['id']}"}

    async def rewarded() -> bool:
        return rewards <= (await arcade.ledger(api, player)).keys()

    await wait_until(rewarded, BACK_WITHIN_S, "the experience points of achievements and order", arcade.LOOK_EVERY_S)
    ledger = await arcade.ledger(api, player)
    assert ledger[f"order:{order.body['id']}"] == spent + 20
    assert sum(xp for cause, xp in ledger.items() if cause.startswith("result:")) == expected_xp(player)
    profile = await api.call("GET", "/players/me", player.token)
    assert (profile["xp"], profile["streak"]) == (sum(ledger.values()), 1)
    await arcade.comes_to_board(api, "xp", {player.id: profile["xp"]})
    await assert_clean(shop)


async def test_a_result_that_is_posted_twice_at_once_counts_once(shop: RunningShop, api: Shop) -> None:
    people = await arcade.players(api, 5)
    await arcade.open_sessions(api, people, 1)
    posts = [arcade.insist(api, player, player.sessions[0]) for player in people for _ in range(4)]
    answers = await asyncio.gather(*posts)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body["result_id"] for answer in answers}) == len(people)
    for player in people:
        [session] = player.sessions
        again = await arcade.post(api, player, session)
        first = next(answer for answer in answers if answer.body["result_id"] == again.body["result_id"])
        same = ("score", "xp", "coupon")
        assert [again.body[name] for name in same] == [first.body[name] for name in same]
        assert [one["code"] for one in again.body["unlocked"]] == [one["code"] for one in first.body["unlocked"]]
        assert (await arcade.ledger(api, player))[f"result:{session.id}"] == session.score // SCORE_PER_XP
    await assert_clean(shop)


async def test_every_acknowledged_round_counts_once_whatever_is_killed(shop: RunningShop, api: Shop) -> None:
    """Each service of the arcade is killed, the cache emptied, and cache and broker stopped, one after the other."""
    people = await arcade.players(api, PLAYERS)
    await arcade.open_sessions(api, people, ROUNDS)
    rounds = Rounds(api)
    # A round of each player after the other: nobody posts more than the limit of a minute at once.
    playing = asyncio.gather(*(rounds.play(player, number) for number in range(ROUNDS) for player in people))
    steps = [*(partial(_kill, shop, noun) for noun in KILLED), partial(_flush, shop)]
    steps += [partial(_plays_without, shop, component, rounds) for component in STOPPED]
    for step in steps:
        await rounds.play_half(ROUNDS_A_STEP)
        await step()
    rounds.allow(PLAYERS * ROUNDS)
    await playing
    assert Counter(rounds.answers) == {200: PLAYERS * ROUNDS}
    assert all(player.scores == {one.id: one.score for one in player.sessions} for player in people)
    await wait_until(shop.healthy, BACK_WITHIN_S, "a healthy shop", arcade.LOOK_EVERY_S)
    await arcade.comes_to_board(api, "stack", {player.id: max(player.scores.values()) for player in people})
    await assert_clean(shop)
    for player in people:
        ledger = await arcade.ledger(api, player)
        results = {cause: xp for cause, xp in ledger.items() if cause.startswith("result:")}
        assert results == {f"result:{key}": score // SCORE_PER_XP for key, score in player.scores.items()}
        unlocked = await arcade.achievements(api, player)
        assert {cause for cause in ledger if cause.startswith("achievement:")} == {f"achievement:{x}" for x in unlocked}
    shown = [score for _, score in await arcade.standings(api, "stack")]
    assert shown == sorted(shown, reverse=True)


async def _kill(shop: RunningShop, noun: str) -> None:
    os.kill(shop.local.pid(noun), signal.SIGKILL)


async def _flush(shop: RunningShop) -> None:
    async with arcade.cache_of(shop) as cache:
        await cache.flushall()


async def _plays_without(shop: RunningShop, component: str, rounds: Rounds) -> None:
    async with shop.stopped(component):
        await rounds.play_half(ROUNDS_A_STEP)


async def test_a_player_who_is_deleted_while_playing_leaves_nothing(shop: RunningShop, api: Shop) -> None:
    gone, password = await arcade.player_with_password(api)
    others = await arcade.players(api, 3)
    people = [gone, *others]
    await arcade.open_sessions(api, people, 6)
    for player in people:
        assert (await arcade.insist(api, player, player.sessions[0])).status == 200
    posts = [arcade.insist(api, player, session) for player in people for session in player.sessions[1:]]
    playing = asyncio.gather(*posts)
    headers = {"Authorization": f"Bearer {gone.token}"}
    async with api.session.delete(
        f"{api.url}/api/v1/users/me", json={"password": password}, headers=headers
    ) as deleted:
        assert deleted.status == 204, await deleted.text()
    statuses = {answer.status for answer in await playing}
    assert statuses <= {200, 401, 404}, statuses

    async def forgotten() -> bool:
        url = f"{api.url}/api/v1/players/{gone.id}"
        async with api.session.get(url) as response:
            listed = [player for player, _ in await arcade.standings(api, "stack")]
            return response.status == 404 and gone.id not in listed

    await wait_until(forgotten, BACK_WITHIN_S, "the deleted player to be gone", arcade.LOOK_EVERY_S)
    await arcade.comes_to_board(api, "stack", {player.id: max(player.scores.values()) for player in others})
    await assert_clean(shop)
    assert await forgotten()
