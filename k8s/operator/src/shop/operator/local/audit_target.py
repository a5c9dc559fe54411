"""The audit's command: of the shop on this machine or of one elsewhere, as the database's owner, read-only."""

import asyncio
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from shop.devkit.embedded import SUPERUSER, PostgresStore
from shop.devkit.processes import kept_secret
from shop.operator.audit.model import Options, Result
from shop.operator.audit.run import Target, audit, wait_until_ended
from shop.operator.errors import ShopctlError
from shop.operator.local.data_dir import DataDir
from shop.operator.services import OPTIONAL, WITH_DATABASE

NOUN = "{noun}"
LOCALHOST = "127.0.0.1"
MAX_SHOWN = 20
MAX_ACKNOWLEDGED_BYTES = 100_000_000


def target(data: DataDir) -> Target:
    """Where the running shop's databases and broker are; raises `ShopctlError` when no shop runs there."""
    if not data.is_locked():
        raise data.not_running()
    ports = {one["name"]: one["port"] for one in data.read_state().get("components", [])}
    postgres = PostgresStore(data.store("postgres"), port=ports["postgres"])
    nats_token, cache_token = (kept_secret(data.store(store) / "secret") for store in ("nats", "valkey"))
    databases = {noun: postgres.url_for(SUPERUSER, postgres.secret, f"shop_{noun}") for noun in data.databases()}
    nats_url = f"nats://{nats_token}@{LOCALHOST}:{ports['nats']}"
    return Target(databases, nats_url, cache_url=f"redis://:{cache_token}@{LOCALHOST}:{ports['valkey']}/0")


def elsewhere(database_url: str, nats_url: str, without: Collection[str] = (), cache_url: str = "") -> Target:
    """A shop that this machine does not run; `database_url` holds {noun} where the service's noun belongs.

    `without` are services that were turned off. Their databases are kept, and look as if the service were far behind.
    Without a `cache_url` the leaderboards in the cache are not compared with the database.
    """
    if needed := sorted(set(without).difference(OPTIONAL)):
        raise ShopctlError(f"--without {needed[0]}: only {', '.join(OPTIONAL)} can be left out")
    if not nats_url or NOUN not in database_url:
        raise ShopctlError(
            "a shop elsewhere needs both --nats-url and --database-url with {noun} in it,"
            " for example postgresql://postgres:...@127.0.0.1:5432/shop_{noun}"
        )
    nouns = [noun for noun in WITH_DATABASE if noun not in without]
    return Target({noun: database_url.replace(NOUN, noun) for noun in nouns}, nats_url, OPTIONAL, cache_url)


def acknowledged(path: Path | None) -> frozenset[str]:
    """Order ids from a file, one per line."""
    if path is None:
        return frozenset()
    if path.stat().st_size > MAX_ACKNOWLEDGED_BYTES:
        raise ShopctlError(f"{path} is larger than {MAX_ACKNOWLEDGED_BYTES:,} bytes")
    return frozenset(line.strip() for line in path.read_text().splitlines() if line.strip())


def run(where: Target, options: Options, wait_s: float, as_json: bool) -> bool:
    """Print what the audit found and return whether everything holds."""
    results, late = asyncio.run(check(where, options, wait_s))
    return report(results, late, wait_s, as_json)


async def check(where: Target, options: Options, wait_s: float) -> tuple[list[Result], list[str]]:
    """What each oracle found, and what was still under way after `wait_s`."""
    late = await wait_until_ended(where, wait_s) if wait_s > 0 else []
    return await audit(where, options), late


def report(results: Sequence[Result], late: Sequence[str], wait_s: float, as_json: bool) -> bool:
    """Print it and return whether everything holds and nothing is `late`, which is not the same as broken."""
    found = document(results, late)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(line for result in results for line in lines(result)) + "\n")
    for what in late:
        sys.stderr.write(f"shopctl: late: after {wait_s:g} s there were {what}\n")
    return bool(found["ok"])


def document(results: Sequence[Result], late: Sequence[str]) -> dict[str, Any]:
    """What `--json` prints."""
    ok = not late and all(result.ok for result in results)
    return {"ok": ok, "late": list(late), "oracles": [result.document() for result in results]}


def lines(result: Result) -> list[str]:
    """One line, and one more for each violation up to `MAX_SHOWN`."""
    mark = "ok  " if result.ok else "FAIL"
    found = f"{result.checked} checked" + ("" if result.ok else f", {len(result.violations)} violations")
    shown = [f"        {key} {what}" for key, what in list(result.violations.items())[:MAX_SHOWN]]
    rest = len(result.violations) - len(shown)
    more = [f"        and {rest} more; --json lists all"] if rest > 0 else []
    return [f"{mark} {result.number:2} {result.name} ({found})", *shown, *more]
