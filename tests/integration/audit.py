"""The audit as a test sees it."""

from __future__ import annotations

import asyncio
import json

from tests.conftest import RunningShop
from tests.load.local_shop import shopctl


async def assert_clean(shop: RunningShop) -> None:
    """Every oracle holds, once the orders under way have ended; the message names what does not."""
    text = await asyncio.to_thread(
        shopctl, "audit", "--json", "--wait", "60", "--settle-seconds", "0", data_dir=shop.local.data_dir, may_fail=True
    )
    report = json.loads(text)
    failed = [oracle for oracle in report["oracles"] if not oracle["ok"]]
    assert (report["ok"], failed) == (True, [])
