"""Stop and resume the operator's work on one Shop, and see that the operator has heard it."""

from functools import partial

from shop.operator.cluster.asking import heard
from shop.operator.cluster.session import Session
from shop.operator.engine.kube.kinds import SHOP
from shop.operator.engine.kube.objects import Object
from shop.operator.program import shopctl


async def set_suspended(session: Session, name: str, *, suspended: bool, timeout_s: float) -> str:
    """Patch spec.suspend and wait for the condition Paused to say the same; the sentence that tells of it."""
    await session.shop(name)
    patched = await session.kube.patch(SHOP, session.namespace, name, {"spec": {"suspend": suspended}})
    asked = "suspended" if suspended else "resumed"
    await heard(session, patched, partial(_says, suspended), timeout_s=timeout_s, asked=asked)
    if suspended:
        return f"{name} is suspended: it goes on as it is, and nothing changes it until `{shopctl()} resume {name}`."
    return f"{name} is resumed: the operator keeps it as its spec says."


def _says(suspended: bool, shop: Object) -> bool:
    conditions = shop.get("status", {}).get("conditions", [])
    paused: Object = next((one for one in conditions if one["type"] == "Paused"), {})
    current = paused.get("observedGeneration", 0) >= shop["metadata"]["generation"]
    return current and paused.get("status") == str(suspended)
