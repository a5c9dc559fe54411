"""Have a spec tried again that was rolled back for a reason outside of it, and see that the operator has begun."""

from datetime import UTC, datetime
from functools import partial

from shop.operator.cluster.asking import heard
from shop.operator.cluster.session import Session
from shop.operator.engine.kube.kinds import SHOP
from shop.operator.engine.kube.objects import RETRY, Object
from shop.operator.errors import ShopctlError
from shop.operator.program import shopctl


async def retry(session: Session, name: str, *, timeout_s: float) -> str:
    """Mark the Shop and wait until the operator tries; the sentence that tells of it.

    ShopctlError when no revision was rolled back: what is still under way is tried again without being asked.
    """
    failed = _failed(await session.shop(name))
    if failed is None:
        raise ShopctlError(f"{name} has nothing to try again: what its spec says now was not rolled back")
    mark = {"metadata": {"annotations": {RETRY: datetime.now(UTC).isoformat()}}}
    patched = await session.kube.patch(SHOP, session.namespace, name, mark)
    await heard(session, patched, partial(_goes_on, failed), timeout_s=timeout_s, asked="to be tried again")
    return f"{name}: what failed as revision {failed} is tried again; `{shopctl()} status {name}` tells how far it is."


def _failed(shop: Object) -> int | None:
    """The revision that was rolled back."""
    revision: int | None = shop.get("status", {}).get("failure", {}).get("revision")
    return revision


def _goes_on(failed: int, shop: Object) -> bool:
    return _failed(shop) != failed
