"""Draw the pictures of the dashboards for the documents: `make dashboards`.

A shop of its own has customers of every kind for some minutes, and for a moment no payment service. Prometheus scrapes
it every second, and each dashboard is drawn from its own JSON and what that Prometheus answers. Other pictures than
those that are there already are left in the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from observability.pictures import files
from observability.pictures.data import View
from observability.pictures.variables import Span
from shop.devkit.processes import free_port
from shop.operator.local import monitoring
from tests.load import everybody, local_shop
from tests.load.everybody import Everybody
from tests.load.local_shop import LocalShop
from tests.load.open_loop import MAX_SECONDS
from tests.load.shoppers import Shop
from tests.telemetry.prometheus_tools import observing

FOLDER = Path(__file__).parents[2] / "docs" / "dashboards"
MODULES = {"recommendations": True, "food": True, "arcade": True}
SECONDS, MIN_SECONDS = 240.0, 20.0
SCRAPE_INTERVAL_S, DRAWN_INTERVAL_S = 1.0, 3.0
"""A rate is over four of the second: over four scrapes it would rise and fall with each of them."""
AWAY_AT, AWAY_S = 0.55, 8.0
"""The payment service is away once: after which share of the time, and for how long."""
AWAY = "payment"
SEED = 1
ELSEWHERE = frozenset({"operator"})
"""Of a program that runs in a cluster only."""
SHOWN = {"service": "order"}


async def traffic(local: LocalShop, seconds: float) -> float:
    """Traffic of every kind for so long; the Unix time at which the last request was answered.

    What is on its way to customers then is brought before this returns.
    """
    api, login = Shop.at(local.status()["url"]), local.admin_login()
    crowd = await Everybody.of(api, await api.token(*login), SEED)
    try:
        ended_s, fleet, *_ = await asyncio.gather(
            _come(crowd, seconds),
            everybody.deliver(api, login, seconds, SEED),
            crowd.play(seconds),
            _away(local, seconds),
        )
    finally:
        await crowd.close()
        await api.close()
    print(f"{fleet['orders']['placed']} orders of meals", file=sys.stderr)
    return ended_s


async def _come(crowd: Everybody, seconds: float) -> float:
    run = await crowd.come(seconds, SEED)
    print(f"{run.arrivals} requests, {run.of('order').good} orders of books", file=sys.stderr)
    return time.time()


async def _away(local: LocalShop, seconds: float) -> None:
    await asyncio.sleep(seconds * AWAY_AT)
    await asyncio.to_thread(local.stop, AWAY)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(local.start, AWAY)


async def record(local: LocalShop, folder: Path, work: Path, seconds: float) -> None:
    with observing(local, work / "prometheus", SCRAPE_INTERVAL_S) as prometheus:
        began_s = time.time()
        view = View(Span(began_s, await traffic(local, seconds)), SHOWN, DRAWN_INTERVAL_S)
        names = [name for name in files.dashboards() if name not in ELSEWHERE]
        drawn = await files.pictures(prometheus.url, dict.fromkeys(names, view))
    for path in files.save(folder, drawn):
        print(path)


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make dashboards", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of traffic")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(given)
    seconds = max(MIN_SECONDS, min(MAX_SECONDS, options.seconds))
    monitoring.check()
    with tempfile.TemporaryDirectory(prefix="shop-dashboards-") as work:
        local = local_shop.start(Path(work) / "shop", free_port(), modules=MODULES, env=local_shop.CHEAP_PASSWORDS)
        try:
            asyncio.run(record(local, options.folder, Path(work), seconds))
        finally:
            local.down()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
