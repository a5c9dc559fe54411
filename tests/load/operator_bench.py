"""The operator under many Shops, on a real API server without nodes: `make bench-operator`.

    make bench-operator ARGS="--shops 300 --runs 5 --json"

Each run has two halves, each on a fresh API server. In the first the objects of all Shops are applied by a bare client,
as many requests at once as the operator has: the raw rate. In the second the operator creates all Shops, starts anew,
gets one pod for each that there should be, updates all Shops, and goes through them once more with nothing to do.
The same stand-in for controllers and kubelet, a process of its own, runs in both. The operator logs in as in a
cluster, with the token of a service account. Runs follow each other, so what else the machine does falls on both
halves; the figures at the end are medians over the runs. API server, etcd, stand-in and operator share the cores.

    make bench-operator ARGS="--shops 200 --broken 50"

Here 50 of the 200 Shops are broken, each in one of several ways. A run creates the 150 healthy ones alone and, on
another fresh API server, beside the broken ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from statistics import median
from typing import Any

from shop.operator.kube.client import Kube
from tests.load.operator_broken import alone, beside_broken
from tests.load.operator_phases import Bench, login, pods_that_look_alive
from tests.operator import conftest as definitions
from tests.operator.apiserver import ApiServer, missing
from tests.operator.operators import Operators

TARGET_RATIO = 0.8
TARGET_OBJECTS_PER_S = 200
TARGET_MB = 250
MAX_RUNS = 20
PHASES = ("create", "restart", "update", "resync")
Figures = dict[str, Any]


async def on_a_fresh_server(shops: int, folder: Path, measure: Callable[[Bench], Awaitable[None]]) -> Figures:
    """What `measure` notes, with the stand-in at work."""
    server = ApiServer(folder)
    server.start()
    operators = Operators(folder)
    try:
        async with Kube(server.kubeconfig) as api:
            await definitions.define(api, definitions.shop_definition())
            bench = Bench(api, server, await login(api, server), operators, shops)
            with pods_that_look_alive(server.kubeconfig) as bench.stand_in:
                await measure(bench)
            return bench.found
    finally:
        operators.close()
        server.stop()


async def operated(bench: Bench) -> None:
    """All that the operator does."""
    operator = await bench.create()
    operator = await bench.restart(operator)
    await bench.pods()
    await bench.update(operator)
    await bench.resync(operator)


async def one_run(shops: int) -> Figures:
    found: Figures = {}
    for measure in (Bench.raw, operated):
        with tempfile.TemporaryDirectory(prefix="bench-operator-") as folder:
            found |= await on_a_fresh_server(shops, Path(folder), measure)
    found["ratio"] = round(found["create"]["objects_per_s"] / found["raw"]["objects_per_s"], 2)
    return found


async def one_run_with_broken(shops: int, broken: int) -> Figures:
    """The healthy ones alone, then beside the broken ones."""
    found: Figures = {}
    healthy = shops - broken
    for name, measure in (("alone", alone), ("beside", lambda bench: beside_broken(bench, broken))):
        with tempfile.TemporaryDirectory(prefix="bench-operator-") as folder:
            found[name] = await on_a_fresh_server(healthy, Path(folder), measure)
    return found


def medians(runs: list[Figures]) -> Figures:
    """Number by number, those inside of groups too."""
    found: Figures = {}
    for name, first in runs[0].items():
        values = [run[name] for run in runs]
        found[name] = medians(values) if isinstance(first, dict) else median(values)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-operator", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shops", type=int, default=1_000, help="how many Shops (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=1, help="how many runs, whose medians are printed")
    parser.add_argument("--json", action="store_true", help="print the figures of all runs as JSON")
    parser.add_argument("--broken", type=int, default=0, help="how many of the Shops are broken (default: %(default)s)")
    options = parser.parse_args()
    if reason := missing():
        sys.exit(f"bench-operator: {reason}")
    if not 1 <= options.runs <= MAX_RUNS:
        parser.error(f"--runs must be 1 to {MAX_RUNS}")
    if not 0 <= options.broken < options.shops:
        parser.error("--broken must be less than --shops")
    load = round(os.getloadavg()[0], 2)
    runs = [asyncio.run(_one_run(options.shops, options.broken)) for _ in range(options.runs)]
    found = {
        "load_average_before": load,
        "shops": options.shops,
        "broken": options.broken,
        "runs": runs,
        "median": medians(runs),
    }
    text = table_with_broken if options.broken else table
    print(json.dumps(found, indent=1) if options.json else text(options.shops, runs))
    return 0


def _one_run(shops: int, broken: int) -> Coroutine[Any, Any, Figures]:
    return one_run_with_broken(shops, broken) if broken else one_run(shops)


def table(shops: int, runs: list[Figures]) -> str:
    """The medians, with what was aimed at."""
    found = medians(runs)
    create, raw = found["create"], found["raw"]
    memory = max(found[name]["operator_peak_mib"] for name in PHASES)
    ratios = ", ".join(str(run["ratio"]) for run in runs)
    lines = [f"{name:>8}: {', '.join(f'{key} {value}' for key, value in found[name].items())}" for name in PHASES]
    head = f"""medians of {len(runs)} at {shops} Shops, {found["objects"]:g} objects; \
{found["pods"]:g} pods from update on
raw server-side apply: {raw["objects_per_s"]:g} objects/s, unchanged {found["raw_unchanged"]["objects_per_s"]:g}
created in {create["seconds"]:g} s: {create["shops_per_min"]:g} Shops/min, {create["objects_per_s"]:g} objects/s \
(aimed at: {TARGET_OBJECTS_PER_S}), {found["ratio"]:.0%} of raw (aimed at: {TARGET_RATIO:.0%}; each run: {ratios})
the operator took at most {memory:g} MiB (aimed at: {TARGET_MB} MB), \
with helm {max(found[name]["with_helm_peak_mib"] for name in PHASES):g} MiB"""
    return "\n".join((head, *lines))


def table_with_broken(shops: int, runs: list[Figures]) -> str:
    """The medians of both halves."""
    found = medians(runs)
    alone, beside, cost = found["alone"]["create"], found["beside"]["create"], found["beside"]["broken"]
    known, passes = cost["known_as_broken"], cost["failed_passes"]
    return f"""medians of {len(runs)} at {shops} Shops
the healthy ones alone: all ready after {alone["seconds"]:g} s
beside the broken ones: all ready after {beside["seconds"]:g} s; until then {known:g} broken ones said what is wrong
{passes:g} passes failed, {cost["failed_at_once"]:g} at once on average, beside {cost["workers"]:g} workers"""


if __name__ == "__main__":
    sys.exit(main())
