"""Calls of Recommend a second on one process with a trained model, against a bare grpc.aio server in the same run.

Both are called by this process, the same way: bytes out, bytes in. Also the service's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.devkit.processes import free_port, port_is_free
from shop.devkit.testing import wait_until
from shop.operator.local.data_dir import DataDir
from tests.load import bare_grpc
from tests.load.bench import machine, say
from tests.load.local_shop import LocalShop, start, usage_of
from tests.load.open_loop import closed_loop, percentile
from tests.load.shoppers import ADDRESS, CARD, Shop

NOUN = "recommendation"
RECOMMEND = "/shop.recommendation.v1.Recommendations/Recommend"
AT_ONCE = (1, 32)
BUYERS = 20
PER_ORDER = 3
ORDERS_AT_ONCE = 8
START_TIMEOUT_S = 60.0
TRAINED_WITHIN_S = 90.0
CALL_TIMEOUT_S = 10.0
WARM_UP_S = 1.0
MIB = 1 << 20
Json = dict[str, Any]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.load.grpc_bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--runs", type=int, default=5, help="of each; the result is their median")
    parser.add_argument("--orders", type=int, default=300, help="that the model is trained on")
    return parser.parse_args()


class Target:
    """One method of one server, called with each of ``requests`` in turn."""

    def __init__(self, name: str, address: str, method: str, requests: Sequence[bytes], token: str = "") -> None:
        self.name = name
        self._channel = grpc.aio.insecure_channel(address)
        self._method: Callable[..., Awaitable[bytes]] = self._channel.unary_unary(method)
        self._requests = itertools.cycle(requests)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._latencies_s: list[float] = []

    async def _call(self) -> bool:
        began = time.perf_counter()
        await self._method(next(self._requests), timeout=CALL_TIMEOUT_S, metadata=self._metadata)
        self._latencies_s.append(time.perf_counter() - began)
        return True

    async def measure(self, at_once: int, seconds: float) -> Json:
        await closed_loop(self._call, workers=at_once, seconds=WARM_UP_S)
        self._latencies_s.clear()
        rate = await closed_loop(self._call, workers=at_once, seconds=seconds)
        ascending = sorted(self._latencies_s)
        p50, p99 = (round(percentile(ascending, percent) * 1_000, 2) for percent in (50, 99))
        return {"calls_per_s": round(rate), "p50_ms": p50, "p99_ms": p99}

    async def close(self) -> None:
        await self._channel.close()


@contextmanager
def bare_server() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.load.bare_grpc", str(port)])
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def train(local: LocalShop, orders: int) -> list[str]:
    """Place orders and wait until a model knows them; the customers' ids."""
    shop = Shop.at(local.status()["url"])
    try:
        admin = await shop.token(*local.admin_login())
        tokens = await shop.sign_up_many(BUYERS)
        products = await shop.products(1_000)
        await shop.restock(admin, products, orders)
        await buy(shop, tokens, products, orders)
        await known(shop, admin, orders)
        return [(await shop.call("GET", "/users/me", token))["id"] for token in tokens]
    finally:
        await shop.close()


async def buy(shop: Shop, tokens: Sequence[str], products: Sequence[Json], orders: int) -> None:
    """So many orders, by the customers in turn."""
    chance, gate = random.Random(7), asyncio.Semaphore(ORDERS_AT_ONCE)

    async def one(number: int) -> None:
        items = [{"product_id": product["id"], "quantity": 1} for product in chance.sample(products, PER_ORDER)]
        body = {"items": items, "address": ADDRESS, "payment": {"token": CARD}}
        async with gate:
            await shop.call("POST", "/orders", tokens[number % len(tokens)], body, **{"Idempotency-Key": f"b{number}"})

    await asyncio.gather(*(one(number) for number in range(orders)))


async def known(shop: Shop, admin: str, orders: int) -> None:
    """Wait for a model that was trained on so many orders."""

    async def trained() -> bool:
        model = await shop.call("GET", "/recommendations/model", admin)
        return bool(model["orders"] >= orders)

    await wait_until(trained, TRAINED_WITHIN_S, f"a model of {orders} orders")


async def run(options: argparse.Namespace) -> Json:
    result: Json = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="shop-grpc-", ignore_cleanup_errors=True) as folder:
        say("starting a shop")
        local = start(Path(folder) / "data", free_port())
        try:
            say(f"placing {options.orders} orders")
            users = await train(local, options.orders)
            pid = local.pid(NOUN)
            result["memory_at_rest_mib"] = usage_of(NOUN, pid).memory_bytes // MIB
            result["runs"] = await compare(local, users, options)
            result["memory_under_load_mib"] = usage_of(NOUN, pid).memory_bytes // MIB
            return result
        finally:
            local.down()


async def compare(local: LocalShop, users: Sequence[str], options: argparse.Namespace) -> Json:
    """Both servers in turn, so that a machine that slows down slows both."""
    part = next(part for part in local.status()["components"] if part["name"] == f"{NOUN}-1")
    token = DataDir(local.data_dir).internal_token()
    requests = [messages.RecommendRequest(user_id=user, max_results=10).SerializeToString() for user in users]
    with bare_server() as address:
        hello = StringValue(value="world").SerializeToString()
        targets = [
            Target("bare", address, f"/{bare_grpc.SERVICE}/Hello", [hello]),
            Target(NOUN, f"127.0.0.1:{part['grpc_port']}", RECOMMEND, requests, token),
        ]
        await wait_until(lambda: not port_is_free(int(address.rpartition(":")[2])), START_TIMEOUT_S)
        found: Json = {}
        for at_once in AT_ONCE:
            runs: dict[str, list[Json]] = {target.name: [] for target in targets}
            for _, target in itertools.product(range(options.runs), targets):
                runs[target.name].append(await target.measure(at_once, options.seconds))
            medians = {name: {key: median(run[key] for run in of) for key in of[0]} for name, of in runs.items()}
            share = medians[NOUN]["calls_per_s"] / medians["bare"]["calls_per_s"]
            found[f"{at_once}_at_once"] = {**medians, "share": round(share, 2)}
        for target in targets:
            await target.close()
        return found


def main() -> None:
    print(json.dumps(asyncio.run(run(arguments())), indent=1))


if __name__ == "__main__":
    main()
