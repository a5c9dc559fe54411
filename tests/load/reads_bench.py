"""Reads of the catalogue against the least application that does the same, in turns within one run.

    python -m tests.load.reads_bench [--rounds 3] [--seconds 3] [--json] [--profile product]

A closed loop with a fixed number of connections: every server is asked as fast as it answers. Processor time is of the
process that is asked, without its database.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from yarl import URL

from shop.devkit import embedded
from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from tests.load import floor, local_shop, profile, raw_client, speed
from tests.load.local_shop import LocalShop, usage_of
from tests.load.pages import CSRF
from tests.load.shoppers import Shop

CONNECTIONS = 32
PRODUCTS = 50
WARM_UP_S = 1.0
LIMIT = 20
BARE_QUERY = "book"
GZIP = ("Accept-Encoding: gzip, deflate, br",)
FLAMES = local_shop.ROOT / "build" / "bench"
Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """``pids``: the processes that answer, whose processor time counts; ``floor``: what it is compared with.

    ``aim`` is of the ratio to the floor, ``aim_ms`` of the latency's 99th percentile.
    """

    name: str
    port: int
    pids: Sequence[int]
    requests: Sequence[bytes]
    floor: str = ""
    aim: float = 0.0
    connections: int = CONNECTIONS
    aim_ms: float = 0.0


async def measured(case: Case, seconds: float) -> Json:
    """One turn of ``case``."""
    before = _cpu_s(case)
    answers = await raw_client.closed_loop(case.port, case.requests, connections=case.connections, seconds=seconds)
    cpu_s = _cpu_s(case) - before
    if set(answers.statuses) - {"200", "304"}:
        raise RuntimeError(f"{case.name}: {dict(answers.statuses)}")
    return {
        "per_s": round(answers.per_s, 1),
        "p50_ms": round(answers.latency_ms(50), 2),
        "p99_ms": round(answers.latency_ms(99), 2),
        "cpu_us": round(1e6 * cpu_s / len(answers.latencies_s), 1),
        "bytes": round(answers.received_bytes / len(answers.latencies_s)),
    }


def _cpu_s(case: Case) -> float:
    return sum(usage_of(case.name, pid, alone=True).cpu_s for pid in case.pids)


@asynccontextmanager
async def bare(folder: Path) -> AsyncIterator[list[Case]]:
    server = embedded.start_postgres(folder / "postgres")
    try:
        await floor.create_schema(server.url)
        port = free_port()
        with floor.process(floor.uvicorn("tests.load.bare:app", port), {"BARE_DATABASE_URL": server.url}) as pid:
            async with aiohttp.ClientSession() as session:
                address = f"http://127.0.0.1:{port}/products/7"
                await wait_until(lambda: floor.answers(session, address), floor.START_TIMEOUT_S, "the bare application")
            reads = [raw_client.request(f"/products/{number + 1}") for number in range(PRODUCTS)]
            searches = [raw_client.request(f"/products?query={BARE_QUERY}&limit={LIMIT}")]
            yield [Case("bare product", port, [pid], reads), Case("bare search", port, [pid], searches)]
    finally:
        server.stop()


async def shop_cases(shop: LocalShop) -> list[Case]:
    """The same reads at the service, and through the gateway."""
    found = shop.status()
    instances = _instances(found, "product")
    port, pids = int(instances[0]["port"]), [int(part["pid"]) for part in instances]
    service, gateway = pids[:1], [shop.pid("gateway"), *pids]
    entrance = int(found["url"].rsplit(":", 1)[1])
    api = Shop.at(found["url"])
    try:
        products = await api.products(PRODUCTS)
        paths = [f"/api/v1/products/{product['id']}" for product in products]
        word = _common_word([product["name"] for product in products])
        etags = [await _etag(f"{found['url']}{path}") for path in paths]
    finally:
        await api.close()
    reads = [raw_client.request(path) for path in paths]
    searches = [raw_client.request(f"/api/v1/products?query={word}&limit={LIMIT}")]
    known = [
        raw_client.request(path, (f"If-None-Match: {etag}",)) for path, etag in zip(paths, etags, strict=True) if etag
    ]
    zipped = [raw_client.request(f"/api/v1/products?query={word}&limit={LIMIT}", GZIP)]
    of_service = [
        Case("product", port, service, reads, "bare product", 2.5),
        Case("search", port, service, searches, "bare search", 2.5),
    ]
    through_gateway = [
        Case("product, gateway", entrance, gateway, reads, "bare product", 1.2),
        Case("search, gateway", entrance, gateway, searches, "bare search", 1.2),
        Case("search, gateway, gzip", entrance, gateway, zipped, "bare search"),
    ]
    if known:
        of_service.append(Case("product, unchanged", port, service, known, "bare product"))
        through_gateway.append(Case("product, unchanged, gateway", entrance, gateway, known, "bare product"))
    return [*of_service, *through_gateway]


def _instances(found: Json, noun: str) -> list[Json]:
    return [part for part in found["components"] if part["name"].partition("-")[0] == noun]


async def page_cases(shop: LocalShop) -> list[Case]:
    """Pages of the storefront, one at a time and without the gateway, for a visitor with two products in the cart."""
    found = shop.status()
    [instance, *_] = _instances(found, "storefront")
    port, pids = int(instance["port"]), [int(instance["pid"])]
    api = Shop.at(found["url"])
    try:
        products = await api.products(PRODUCTS)
    finally:
        await api.close()
    cookie = await _filled_cart(f"http://127.0.0.1:{port}", [product["id"] for product in products[:2]])
    paths = {
        "front page": ["/"],
        "product page": [f"/products/{product['id']}" for product in products],
        "search page": [f"/search?query={_common_word([product['name'] for product in products])}"],
        "cart page": ["/cart"],
    }
    return [
        Case(name, port, pids, [raw_client.request(path, (cookie,)) for path in of_page], connections=1, aim_ms=15)
        for name, of_page in paths.items()
    ]


async def _filled_cart(url: str, product_ids: Sequence[str]) -> str:
    """The Cookie header of a visitor who has these products in the cart."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        for product_id in product_ids:
            async with session.get(f"{url}/products/{product_id}") as answer:
                token = CSRF.search(await answer.text())
            if token is None:
                raise RuntimeError("the product's page has no form")
            data = {"csrf_token": token[1], "product_id": product_id}
            async with session.post(f"{url}/cart/lines", data=data, headers={"Origin": url}) as answer:
                answer.raise_for_status()
        cookies = session.cookie_jar.filter_cookies(URL(url))
        return "Cookie: " + "; ".join(f"{one.key}={one.value}" for one in cookies.values())


def _common_word(names: Sequence[str]) -> str:
    """The word of most titles."""
    words = [word for name in names for word in set(name.lower().split()) if word.isascii() and word.isalpha()]
    return max(words, key=words.count)


async def _etag(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.headers.get("ETag", "")


@contextmanager
def running_shop(folder: Path) -> Iterator[LocalShop]:
    shop = local_shop.start(folder / "shop", free_port())
    try:
        yield shop
    finally:
        shop.down()


async def run(options: argparse.Namespace) -> Json:
    result: Json = {"rounds": [], "speed": {}}
    with tempfile.TemporaryDirectory(prefix="shop-reads-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        result["speed"] = speed.measure(folder)
        shop = stack.enter_context(running_shop(folder))
        async with bare(folder) as floors:
            cases = [*floors, *await shop_cases(shop), *await page_cases(shop)]
            cases = [case for case in cases if not options.only or options.only in case.name or case in floors]
            for case in cases:
                await measured(case, WARM_UP_S)
            taking_s = options.rounds * options.seconds * len(cases)
            flames = [
                profile.Profiler.start(noun, shop.pid(noun), taking_s, FLAMES / f"reads-{noun}{options.form}")
                for noun in options.profile
            ]
            for _ in range(options.rounds):
                result["rounds"].append({case.name: await measured(case, options.seconds) for case in cases})
            result["flames"] = [str(one.end()) for one in flames]
            result["cases"] = [summary(case, result["rounds"]) for case in cases]
    return result


def summary(case: Case, rounds: Sequence[Json]) -> Json:
    """Medians of a case, and of its ratio to its floor within each round."""
    of_case = [one[case.name] for one in rounds]
    found: Json = {"name": case.name, "aim": case.aim, "aim_ms": case.aim_ms}
    found |= {key: statistics.median(one[key] for one in of_case) for key in of_case[0]}
    if case.floor:
        ratios = [one[case.name]["per_s"] / one[case.floor]["per_s"] for one in rounds]
        found["ratio"] = [round(value, 2) for value in (statistics.median(ratios), min(ratios), max(ratios))]
    return found


def lines(result: Json) -> Iterator[str]:
    """The result as a table."""
    yield speed.line(result["speed"])
    yield f"{'':30}{'answers/s':>10}{'p50 / p99 ms':>16}{'CPU us':>8}{'bytes':>7}   ratio to the floor (aim)"
    for one in result["cases"]:
        latency = f"{one['p50_ms']:.2f} / {one['p99_ms']:.2f}"
        ratio = "{} ({}-{})".format(*one["ratio"]) if "ratio" in one else ""
        aim = f" ({one['aim']})" if one["aim"] else f"   (p99 {one['aim_ms']} ms)" if one["aim_ms"] else ""
        cost = f"{one['cpu_us']:>8.0f}{one['bytes']:>7.0f}"
        yield f"{one['name']:30}{one['per_s']:>10.0f}{latency:>16}{cost}   {ratio}{aim}"


def main() -> int:
    """1 when an aim is missed."""
    parser = argparse.ArgumentParser(prog="tests.load.reads_bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--only", default="", help="a part of the names of the cases that are wanted")
    parser.add_argument("--profile", action="append", default=[], help="a service whose stacks are sampled")
    parser.add_argument("--form", choices=[".svg", ".txt"], default=".svg", help="of what was sampled")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = uvloop.run(run(options))
    sys.stdout.write(json.dumps(result, indent=2) if options.json else "\n".join(lines(result)))
    sys.stdout.write("\n")
    return int(any(_missed(one) for one in result["cases"]))


def _missed(one: Json) -> bool:
    slow = one["aim_ms"] and one["p99_ms"] > one["aim_ms"]
    return bool(slow or (one["aim"] and one["ratio"][0] < one["aim"]))


if __name__ == "__main__":
    raise SystemExit(main())
