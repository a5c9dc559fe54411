"""Retry a spec that was rolled back for a reason outside of it, and wait until the operator has started."""

from datetime import UTC, datetime
from functools import partial

from shop.operator.cluster.asking import wait_until_observed
from shop.operator.cluster.session import Session
from shop.operator.engine.kube.kinds import SHOP
from shop.operator.engine.kube.objects import RETRY, Object
from shop.operator.errors import ShopctlError
from shop.operator.program import shopctl


async def retry(session: Session, name: str, *, timeout_s: float) -> str:
    """Annotate the Shop and wait until the operator retries; returns the sentence to print.

    ShopctlError when no revision was rolled back: a rollout that still runs is retried anyway.
    """
    failed = _failed(await session.shop(name))
    if failed is None:
        raise ShopctlError(f"{name} has nothing to try again: what its spec says now was not rolled back")
    mark = {"metadata": {"annotations": {RETRY: datetime.now(UTC).isoformat()}}}
    patched = await session.kube.patch(SHOP, session.namespace, name, mark)
    await wait_until_observed(
        session, patched, partial(_goes_on, failed), timeout_s=timeout_s, asked="to be tried again"
    )
    return f"{name}: what failed as revision {failed} is tried again; `{shopctl()} status {name}` shows the progress."


def _failed(shop: Object) -> int | None:
    """The revision that was rolled back."""
    revision: int | None = shop.get("status", {}).get("failure", {}).get("revision")
    return revision


def _goes_on(failed: int, shop: Object) -> bool:
    return _failed(shop) != failed
