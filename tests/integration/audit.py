"""The audit as a test sees it."""

from __future__ import annotations

from shop.operator.audit.model import Options
from shop.operator.local import audit_target
from shop.operator.local.data_dir import DataDir
from tests.audit_report import assert_holds
from tests.conftest import RunningShop

WAIT_S = 60.0


async def assert_clean(shop: RunningShop) -> None:
    """Every oracle holds, once what is under way has ended.

    As `shopctl audit --json --wait 60 --settle-seconds 0`, without a process that imports everything first.
    """
    where = audit_target.target(DataDir(shop.local.data_dir))
    results, late = await audit_target.check(where, Options(settle_s=0.0), WAIT_S)
    assert_holds(audit_target.document(results, late))
