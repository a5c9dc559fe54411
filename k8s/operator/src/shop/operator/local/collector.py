"""Whether the collector that a Shop names is one that this machine knows: many Shops name one of a cluster."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

from shop.operator.resource.spec import Shop

RESOLVE_TIMEOUT_S = 2.0


async def left_out_if_unknown(shop: Shop, say: Callable[[str], None]) -> Shop:
    """The Shop; without its collector, and with a line that says so, where that is not known here."""
    endpoint = shop.spec.observability.tracing.endpoint
    if not endpoint or await _is_known(endpoint):
        return shop
    say(f"ignored locally: spec.observability.tracing.endpoint ({endpoint} is not known here)")
    return _without(shop)


async def _is_known(endpoint: str) -> bool:
    """Whether the name of its host can be resolved here."""
    loop = asyncio.get_running_loop()
    try:
        await asyncio.wait_for(loop.getaddrinfo(urlsplit(endpoint).hostname, None), RESOLVE_TIMEOUT_S)
    except (OSError, TimeoutError):
        return False
    return True


def _without(shop: Shop) -> Shop:
    observability = shop.spec.observability
    tracing = observability.tracing.model_copy(update={"endpoint": None})
    changed = observability.model_copy(update={"tracing": tracing})
    return shop.model_copy(update={"spec": shop.spec.model_copy(update={"observability": changed})})
