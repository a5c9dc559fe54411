"""The audit as a test sees it."""

from __future__ import annotations

import asyncio
import json

from tests.audit_report import assert_holds
from tests.conftest import RunningShop
from tests.load.local_shop import shopctl


async def assert_clean(shop: RunningShop) -> None:
    """Every oracle holds, once what is under way has ended."""
    text = await asyncio.to_thread(
        shopctl, "audit", "--json", "--wait", "60", "--settle-seconds", "0", data_dir=shop.local.data_dir, may_fail=True
    )
    assert_holds(json.loads(text))
