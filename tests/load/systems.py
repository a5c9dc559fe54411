"""The systems beside retail orders under load, and their floors: what one run of `systems_bench` sends to each."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiohttp
import grpc

from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.devkit.testing import wait_until
from shop.town import town
from tests.integration import arcade, food
from tests.load import bare_grpc
from tests.load.shoppers import ACCEPTED, Shop, outcome_of

CALL_TIMEOUT_S = 20.0
OPENED_WITHIN_S = 30.0
RECOMMEND = "/shop.recommendation.v1.Recommendations/Recommend"
BARE_RECOMMEND = f"/{bare_grpc.SERVICE}/Recommend"
RESULTS = 10
REPORT_EVERY_S = 1.0
OK = frozenset({200})
Json = dict[str, Any]


class Done(NamedTuple):
    """What a load did: good operations, how long it took, latencies of the good ones (s), and errors by code."""

    operations: int
    seconds: float
    latencies_s: Sequence[float]
    errors: Counter[str]


Load = Callable[[float], Awaitable[Done]]
"""Given the seconds that it lasts."""
Send = Callable[[], Awaitable[str | None]]
"""One operation: the code of its error, "" for a good one, None when nothing is left to be sent."""


def closed_loop(send: Send, workers: int) -> Load:
    """Each of the workers sends the next operation after the answer to its last one."""

    async def load(seconds: float) -> Done:
        latencies: list[float] = []
        errors: Counter[str] = Counter()
        began = time.perf_counter()

        async def work() -> None:
            while (sent_at := time.perf_counter()) < began + seconds and (code := await send()) is not None:
                if code:
                    errors[code] += 1
                else:
                    latencies.append(time.perf_counter() - sent_at)

        await asyncio.gather(*(work() for _ in range(workers)))
        return Done(len(latencies), time.perf_counter() - began, latencies, errors)

    return load


@dataclass(frozen=True)
class Web:
    """Requests to one server."""

    session: aiohttp.ClientSession
    url: str

    async def send(self, method: str, path: str, good: frozenset[int], *, token: str = "", **more: Any) -> str:
        headers = more.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            async with self.session.request(method, self.url + path, headers=headers, **more) as response:
                outcome = await outcome_of(response, good)
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__
        return "" if outcome.ok else outcome.code


@dataclass(frozen=True)
class Addresses:
    """Of the shop: its gateway, and the services that are asked directly. Of the floors: the bare servers."""

    gateway: str
    player: str
    delivery: str
    recommendation: str
    recommendation_grpc: str
    bare: str
    bare_grpc: str
    internal_token: str


class Food:
    """Orders of one dish, through the gateway; the floor stores what they store in one transaction."""

    def __init__(self, ours: Web, floor: Web, tokens: Sequence[str], kitchens: Sequence[food.Kitchen]) -> None:
        self._ours, self._floor = ours, floor
        self._tokens = itertools.cycle(tokens)
        self._kitchens = itertools.cycle(kitchens)
        self._number = itertools.count()

    def _meal(self) -> Json:
        return food.meal(next(self._kitchens), next(self._number))

    async def ours(self) -> str:
        key = {"Idempotency-Key": str(uuid.uuid4())}
        path, token = "/api/v1/orders", next(self._tokens)
        return await self._ours.send("POST", path, ACCEPTED, token=token, json=self._meal(), headers=key)

    async def floor(self) -> str:
        return await self._floor.send("POST", "/orders", ACCEPTED, json=self._meal())


class Rounds:
    """Results of rounds whose sessions were opened before: each is replayed, stored, ranked and rewarded."""

    def __init__(self, ours: Web, floor: Web, people: Sequence[arcade.Player]) -> None:
        self._ours, self._floor = ours, floor
        turns = zip(*(one.sessions for one in people), strict=True)
        rounds = [pair for turn in turns for pair in zip(people, turn, strict=True)]
        self._left, self._played = iter(rounds), itertools.cycle(rounds)

    async def ours(self) -> str | None:
        if (found := next(self._left, None)) is None:
            return None
        player, session = found
        path = f"/api/v1/games/{arcade.GAME}/sessions/{session.id}/result"
        body = {"token": session.token, "moves": session.moves}
        return await self._ours.send("POST", path, OK, token=player.token, json=body)

    async def floor(self) -> str:
        player, session = next(self._played)
        body = {"player_id": player.id, "moves": session.moves, "score": session.score}
        return await self._floor.send("POST", "/rounds", OK, json=body)


class Recommendations:
    """For signed-in customers with purchases, by HTTP at the service; the floor writes an answer of the service."""

    def __init__(self, ours: Web, floor: Web, tokens: Sequence[str]) -> None:
        self._ours, self._floor = ours, floor
        self._tokens = itertools.cycle(tokens)

    async def ours(self) -> str:
        path = f"/api/v1/recommendations?max_results={RESULTS}"
        return await self._ours.send("GET", path, OK, token=next(self._tokens))

    async def floor(self) -> str:
        return await self._floor.send("GET", f"/recommendations?max_results={RESULTS}", OK)


class RecommendCalls:
    """The same by gRPC, bytes out and bytes in."""

    def __init__(self, addresses: Addresses, users: Sequence[str]) -> None:
        self._channels = [
            grpc.aio.insecure_channel(one) for one in (addresses.recommendation_grpc, addresses.bare_grpc)
        ]
        ours, bare = self._channels
        self._ours: Callable[..., Awaitable[bytes]] = ours.unary_unary(RECOMMEND)
        self._floor: Callable[..., Awaitable[bytes]] = bare.unary_unary(BARE_RECOMMEND)
        requests = [messages.RecommendRequest(user_id=user, max_results=RESULTS) for user in users]
        self._requests = itertools.cycle([one.SerializeToString() for one in requests])
        self._metadata = (("authorization", f"Bearer {addresses.internal_token}"),)

    async def answer(self) -> bytes:
        """Of the service."""
        return await self._ours(next(self._requests), timeout=CALL_TIMEOUT_S, metadata=self._metadata)

    async def ours(self) -> str:
        return await _code(self._ours(next(self._requests), timeout=CALL_TIMEOUT_S, metadata=self._metadata))

    async def floor(self) -> str:
        return await _code(self._floor(next(self._requests), timeout=CALL_TIMEOUT_S))

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


async def _code(call: Awaitable[bytes]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return str(error.code())
    return ""


@dataclass
class Tracked:
    """Couriers who report a position each second, and watchers: the path of the stream of each, with a token."""

    web: Web
    reports: Sequence[tuple[str, str]]
    streams: Sequence[tuple[str, str]]
    received: list[float] = field(default_factory=list)
    open: int = 0
    _watching: Sequence[asyncio.Task[None]] = ()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Every watcher has its stream."""
        self._watching = watching = [asyncio.create_task(self._watch(path, token)) for path, token in self.streams]
        try:
            await wait_until(lambda: self.open == len(self.streams), OPENED_WITHIN_S, "every stream")
            yield
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def load(self, seconds: float) -> Done:
        """An operation is one position that reached one watcher. Latencies are from the courier's clock."""
        self.received.clear()
        began = time.perf_counter()
        codes = await asyncio.gather(*(self._report(path, token, seconds) for path, token in self.reports))
        took_s = time.perf_counter() - began
        errors = sum(codes, Counter())
        if ended := sum(task.done() for task in self._watching):
            errors["stream ended"] = ended
        return Done(len(self.received), took_s, list(self.received), errors)

    async def _watch(self, path: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = aiohttp.ClientTimeout(None)
        async with self.web.session.get(self.web.url + path, headers=headers, timeout=timeout) as answer:
            answer.raise_for_status()
            position = first = False
            async for line in answer.content:
                if not first:
                    first, self.open = True, self.open + 1
                if line.startswith(b"event: "):
                    position = line.startswith(b"event: position")
                elif position and line.startswith(b"data: "):
                    self.received.append(time.time() - _sent_at(line))

    async def _report(self, path: str, token: str, seconds: float) -> Counter[str]:
        codes: Counter[str] = Counter()
        loop, chance = asyncio.get_running_loop(), random.Random(path)
        await asyncio.sleep(chance.random() * REPORT_EVERY_S)
        due, ends_at = loop.time(), loop.time() + seconds
        while due < ends_at:
            spot = chance.choice(town().junctions)
            body = {"lat": spot.lat, "lon": spot.lon, "at": datetime.now(UTC).isoformat()}
            if code := await self.web.send("POST", path, frozenset({204}), token=token, json=body):
                codes[code] += 1
            due += REPORT_EVERY_S
            await asyncio.sleep(max(0.0, due - loop.time()))
        return codes


def _sent_at(line: bytes) -> float:
    """The time in an event's ``at`` (s since 1970)."""
    _, _, rest = line.partition(b'"at":"')
    return datetime.fromisoformat(rest.partition(b'"')[0].decode()).timestamp()


async def live_deliveries(api: Shop, admin: str, tokens: Sequence[str], couriers: int) -> Tracked:
    """Couriers on shift with two assigned orders each; ``streams`` has one watcher for each order."""
    place = await food.kitchen(api, admin, preparation_s=60)
    crew = await food.couriers(api, admin, couriers, place.position)
    streams = []
    for number, token in zip(range(2 * couriers), itertools.cycle(tokens), strict=False):
        order = (await food.insist(api, token, food.meal(place, number))).body
        if order.get("state") == "confirmed":
            streams.append((f"/api/v1/deliveries/{order['id']}/events", token))
    reports = [("/api/v1/couriers/me/positions", one.token) for one in crew]
    return Tracked(Web(api.session, api.url), reports, streams)
