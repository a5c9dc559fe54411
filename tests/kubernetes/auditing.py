"""`shopctl audit` of a shop in a cluster, through port-forwards, as documented."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from shop.operator.services import OPTIONAL
from tests.audit_report import assert_holds
from tests.kubernetes.customers import GOOD, Customers
from tests.kubernetes.kube import Release

WAIT_S = 90
TIMEOUT_S = 300


async def assert_clean(release: Release, acknowledged: Path | None = None) -> None:
    """Every oracle holds, once orders in progress have ended; `acknowledged` names a file of order ids."""
    report = await audit(release, *(("--acknowledged", str(acknowledged)) if acknowledged else ()))
    assert_holds(report)


async def assert_unharmed(release: Release, customers: Customers, acknowledged: Path) -> None:
    """No request failed, every order was confirmed, and the audit is clean."""
    if customers.failures:
        raise AssertionError(f"requests failed: {Counter(customers.failures)}")
    outcomes = await customers.outcomes()
    if outcomes != {"confirmed": len(customers.answers)}:
        raise AssertionError(f"of {len(customers.answers)} orders: {outcomes}")
    ids = [answer.body["id"] for answer in customers.answers if answer.status in GOOD]
    acknowledged.write_text("\n".join(ids), encoding="utf-8")
    await assert_clean(release, acknowledged)


async def audit(release: Release, *options: str) -> Any:
    """The audit's JSON."""
    postgres, nats, valkey = await asyncio.to_thread(release.secrets, "postgres", "nats", "valkey")
    user, password = (quote(postgres[key], safe="") for key in ("username", "password"))
    async with (
        release.forwarded("svc/postgres", 5432) as database,
        release.forwarded("svc/nats", 4222) as broker,
        release.forwarded("svc/valkey", 6379) as cache,
    ):
        addresses = {
            "SHOP_AUDIT_DATABASE_URL": f"postgresql://{user}:{password}@127.0.0.1:{database}/shop_{{noun}}",
            "SHOP_AUDIT_NATS_URL": _here(nats["url"], broker),
            "SHOP_AUDIT_CACHE_URL": _here(valkey["url"], cache),
        }
        off = [noun for noun in OPTIONAL if not await asyncio.to_thread(release.pods, noun)]
        without = [option for noun in off for option in ("--without", noun)]
        return await asyncio.to_thread(_shopctl_audit, addresses, (*options, *without))


def _here(url: str, port: int) -> str:
    """The same login at a port of this machine."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}").geturl()


def _shopctl_audit(addresses: dict[str, str], options: tuple[str, ...]) -> Any:
    command = [
        sys.executable,
        "-m",
        "shop.operator.cli",
        "audit",
        "--json",
        "--wait",
        str(WAIT_S),
        "--settle-seconds",
        "0",
    ]
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env={**os.environ, **addresses},
    )
    if not done.stdout:
        raise AssertionError(f"shopctl audit ended with code {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)
