"""Players of a shop with an arcade, through its public API: rounds whose presses follow from the seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from redis.asyncio import Redis

from shop.devkit.embedded import ValkeyStore
from shop.devkit.testing import wait_until
from shop.games import GAMES, Outcome
from shop.games.stack import Round
from shop.games.stack_rules import RULES
from tests.conftest import RunningShop
from tests.integration.buyers import AGAIN, MAX_TRIES, RETRY_PAUSE_S
from tests.load.shoppers import Shop, ShopError

Json = dict[str, Any]
GAME = "stack"
ROUND_TICKS = 150
"""A miss ends a round by then; a session that is two seconds old already allows 240."""
LONGEST_WAIT_TICKS = 600
SESSIONS_AT_ONCE = 16
COUNTED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Session:
    """An open round with the moves that its player will make, and what they score."""

    id: str
    token: str
    moves: list[int]
    score: int


@dataclass
class Player:
    """A customer who plays. ``scores`` are those of acknowledged results, by session."""

    id: str
    token: str
    sessions: list[Session] = field(default_factory=list)
    scores: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Posted:
    """The last answer to a result; ``tries`` counts the requests."""

    status: int
    body: Json
    tries: int = 1


def presses(seed: int, chance: random.Random) -> tuple[list[int], int]:
    """Presses of a short round that ends with a miss, and its score."""
    current, moves = Round(seed, RULES), []
    while not current.over:
        moves.append(_press(current, chance))
        current.press(moves[-1])
    outcome = GAMES[GAME].replay(seed, moves)
    assert isinstance(outcome, Outcome), outcome
    return moves, outcome.score


def _press(current: Round, chance: random.Random) -> int:
    """A tick at which the piece lies on the pile, or the first at which it misses when the time is over."""
    piece, reach = current.piece, current.width - RULES.min_width
    ticks = range(piece.appeared, piece.appeared + LONGEST_WAIT_TICKS)
    gaps = {tick: abs(piece.left_at(tick, RULES.field) - current.left) for tick in ticks}
    hits = [tick for tick, gap in gaps.items() if gap <= reach and tick < ROUND_TICKS - 60]
    return chance.choice(hits) if hits else next(tick for tick, gap in gaps.items() if gap > reach)


async def players(api: Shop, count: int) -> list[Player]:
    """New customers."""
    tokens = await api.sign_up_many(count)
    users = await asyncio.gather(*(api.call("GET", "/users/me", token) for token in tokens))
    return [Player(user["id"], token) for user, token in zip(users, tokens, strict=True)]


async def player_with_password(api: Shop) -> tuple[Player, str]:
    """A new customer, and the password that a deletion needs."""
    email, password = f"player-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(12)
    await api.call("POST", "/users", json={"email": email, "password": password, "name": "Player"})
    token = await api.token(email, password)
    return Player((await api.call("GET", "/users/me", token))["id"], token), password


async def open_sessions(api: Shop, people: Sequence[Player], rounds: int, seed: int = 1) -> None:
    """``rounds`` more sessions for each player, with the moves to make in them."""
    gate, chance = asyncio.Semaphore(SESSIONS_AT_ONCE), random.Random(seed)

    async def one(player: Player) -> None:
        async with gate:
            found = await api.call("POST", f"/games/{GAME}/sessions", player.token)
        moves, score = presses(found["seed"], chance)
        player.sessions.append(Session(found["id"], found["token"], moves, score))

    await asyncio.gather(*(one(player) for player in people for _ in range(rounds)))


async def post(api: Shop, player: Player, session: Session) -> Posted:
    """Send a result once."""
    url = f"{api.url}/api/v1/games/{GAME}/sessions/{session.id}/result"
    headers = {"Authorization": f"Bearer {player.token}"}
    body = {"token": session.token, "moves": session.moves}
    async with api.session.post(url, json=body, headers=headers) as response:
        return Posted(response.status, await response.json(content_type=None))


async def insist(api: Shop, player: Player, session: Session) -> Posted:
    """Send a result until there is a final answer, whatever fails meanwhile, and note an acknowledged one."""
    for tries in range(1, MAX_TRIES + 1):
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            answer = await post(api, player, session)
            if answer.status not in AGAIN:
                if answer.status == 200:
                    player.scores[session.id] = answer.body["score"]
                return Posted(answer.status, answer.body, tries)
        await asyncio.sleep(RETRY_PAUSE_S)
    raise AssertionError(f"no answer after {MAX_TRIES} tries")


async def ledger(api: Shop, player: Player) -> dict[str, int]:
    """The player's experience points by cause; AssertionError for a cause that is there twice."""
    entries: list[tuple[str, int]] = []
    cursor = ""
    while True:
        query = "limit=100" + (f"&cursor={cursor}" if cursor else "")
        page = await api.call("GET", f"/players/me/ledger?{query}", player.token)
        entries += [(one["cause"], one["xp"]) for one in page["items"]]
        if not (cursor := page["next_cursor"]):
            break
    twice = [cause for cause, times in Counter(cause for cause, _ in entries).items() if times > 1]
    assert not twice, twice
    return dict(entries)


async def standings(api: Shop, board: str, season: str = "") -> list[tuple[str, int]]:
    """Players and scores of a whole board, the best first."""
    found: list[tuple[str, int]] = []
    cursor = ""
    while True:
        query = "top=100" + (f"&season={season}" if season else "") + (f"&cursor={cursor}" if cursor else "")
        page = await api.call("GET", f"/leaderboards/{board}?{query}")
        found += [(one["player"]["id"], one["score"]) for one in page["items"]]
        if not (cursor := page.get("next_cursor") or ""):
            break
    assert len(found) == len(dict(found)), "a player is listed twice"
    return found


async def achievements(api: Shop, player: Player) -> set[str]:
    """The codes of what the player has unlocked."""
    found = await api.call("GET", "/achievements/me", player.token)
    codes = [one["code"] for one in found["items"] if one["unlocked_at"]]
    assert len(codes) == len(set(codes)), codes
    return set(codes)


async def comes_to_board(api: Shop, board: str, expected: dict[str, int]) -> None:
    """Once the board has these scores of these players."""

    async def there() -> bool:
        try:
            shown = dict(await standings(api, board))
        except (aiohttp.ClientError, ShopError, TimeoutError):
            return False
        return {player: shown.get(player) for player in expected} == expected

    await wait_until(there, COUNTED_WITHIN_S, f"the scores on {board}", LOOK_EVERY_S)


@contextlib.asynccontextmanager
async def cache_of(shop: RunningShop) -> AsyncIterator[Redis]:
    """A client of the shop's Valkey server."""
    port = next(part["port"] for part in shop.local.status()["components"] if part["name"] == "valkey")
    client = Redis.from_url(ValkeyStore(shop.local.data_dir / "valkey", port=port).url)
    try:
        yield client
    finally:
        await client.aclose()
