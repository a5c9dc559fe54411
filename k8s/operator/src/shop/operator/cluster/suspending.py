"""Suspend and resume the operator's work on one Shop, and wait until the operator has observed it."""

from functools import partial

from shop.operator.cluster.asking import wait_until_observed
from shop.operator.cluster.session import Session
from shop.operator.engine.kube.kinds import SHOP
from shop.operator.engine.kube.objects import Object
from shop.operator.program import shopctl


async def set_suspended(session: Session, name: str, *, suspended: bool, timeout_s: float) -> str:
    """Patch spec.suspend and wait for the condition Paused to say the same; returns the sentence to print."""
    await session.shop(name)
    patched = await session.kube.patch(SHOP, session.namespace, name, {"spec": {"suspend": suspended}})
    asked = "suspended" if suspended else "resumed"
    await wait_until_observed(session, patched, partial(_says, suspended), timeout_s=timeout_s, asked=asked)
    if suspended:
        return (
            f"{name} is suspended: it keeps running as it is, and nothing changes it until `{shopctl()} resume {name}`."
        )
    return f"{name} is resumed: the operator keeps it as its spec says."


def _says(suspended: bool, shop: Object) -> bool:
    conditions = shop.get("status", {}).get("conditions", [])
    paused: Object = next((one for one in conditions if one["type"] == "Paused"), {})
    current = paused.get("observedGeneration", 0) >= shop["metadata"]["generation"]
    return current and paused.get("status") == str(suspended)
