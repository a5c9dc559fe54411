"""Suspend, resume and retry: change a Shop, and wait until the operator has observed it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from shop.operator.cluster.session import Session
from shop.operator.errors import ShopctlError
from shop.operator.kube.kinds import SHOP
from shop.operator.kube.objects import RETRY, Object
from shop.operator.program import shopctl

POLL_S = 0.25


async def set_suspended(session: Session, name: str, *, suspended: bool, timeout_s: float) -> str:
    """Patch spec.suspend and wait for the condition Paused to say the same; returns the sentence to print."""

    def is_observed(shop: Object) -> bool:
        conditions = shop.get("status", {}).get("conditions", [])
        paused: Object = next((one for one in conditions if one["type"] == "Paused"), {})
        current = paused.get("observedGeneration", 0) >= shop["metadata"]["generation"]
        return current and paused.get("status") == str(suspended)

    await session.shop(name)
    patched = await session.kube.patch(SHOP, session.namespace, name, {"spec": {"suspend": suspended}})
    asked = "suspended" if suspended else "resumed"
    await wait_until_observed(session, patched, is_observed, timeout_s=timeout_s, asked=asked)
    if suspended:
        return (
            f"{name} is suspended: it keeps running as it is, and nothing changes it until `{shopctl()} resume {name}`."
        )
    return f"{name} is resumed: the operator keeps it as its spec says."


async def retry(session: Session, name: str, *, timeout_s: float) -> str:
    """Retry a spec that was rolled back for a reason outside of it; returns the sentence to print.

    ShopctlError when no revision was rolled back: a rollout that still runs is retried anyway.
    """

    def failed_revision(shop: Object) -> int | None:
        revision: int | None = shop.get("status", {}).get("failure", {}).get("revision")
        return revision

    failed = failed_revision(await session.shop(name))
    if failed is None:
        raise ShopctlError(f"{name} has nothing to try again: what its spec says now was not rolled back")
    mark = {"metadata": {"annotations": {RETRY: datetime.now(UTC).isoformat()}}}
    patched = await session.kube.patch(SHOP, session.namespace, name, mark)
    await wait_until_observed(
        session, patched, lambda shop: failed_revision(shop) != failed, timeout_s=timeout_s, asked="to be tried again"
    )
    return f"{name}: what failed as revision {failed} is tried again; `{shopctl()} status {name}` shows the progress."


async def wait_until_observed(
    session: Session, shop: Object, test: Callable[[Object], bool], *, timeout_s: float, asked: str
) -> None:
    """Return once `test` holds of the Shop, `shop` being its latest state; ShopctlError after `timeout_s`."""
    name = shop["metadata"]["name"]
    try:
        async with asyncio.timeout(timeout_s):
            while not test(shop):
                await asyncio.sleep(POLL_S)
                shop = await session.shop(name)
    except TimeoutError as error:
        raise ShopctlError(
            f"{name} is marked {asked}, but no operator answered within {timeout_s:g} s;"
            " is one running? `kubectl get pods --all-namespaces -l app.kubernetes.io/name=shop-operator`"
        ) from error
