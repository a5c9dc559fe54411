"""Stop and resume the operator's work on one Shop, and see that the operator has heard it."""

import asyncio

from shop.operator.cluster.session import Session
from shop.operator.engine.kinds import SHOP
from shop.operator.engine.objects import Object
from shop.operator.errors import ShopctlError

POLL_S = 0.25


async def set_suspended(session: Session, name: str, *, suspended: bool, timeout_s: float) -> str:
    """Patch spec.suspend and wait for the condition Paused to say the same; the sentence that tells of it."""
    await session.shop(name)
    patched = await session.kube.patch(SHOP, session.namespace, name, {"spec": {"suspend": suspended}})
    try:
        async with asyncio.timeout(timeout_s):
            while not _heard(patched, suspended=suspended):
                await asyncio.sleep(POLL_S)
                patched = await session.shop(name)
    except TimeoutError as error:
        asked = "suspended" if suspended else "resumed"
        raise ShopctlError(
            f"{name} is marked {asked}, but no operator answered within {timeout_s:g} s;"
            " is one running? `kubectl get pods --all-namespaces -l app.kubernetes.io/name=shop-operator`"
        ) from error
    if suspended:
        return f"{name} is suspended: it goes on as it is, and nothing changes it until `shopctl resume {name}`."
    return f"{name} is resumed: the operator keeps it as its spec says."


def _heard(shop: Object, *, suspended: bool) -> bool:
    conditions = shop.get("status", {}).get("conditions", [])
    paused: Object = next((one for one in conditions if one["type"] == "Paused"), {})
    current = paused.get("observedGeneration", 0) >= shop["metadata"]["generation"]
    return current and paused.get("status") == str(suspended)
