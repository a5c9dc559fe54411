"""Whether the collector that a Shop names is one that this machine knows: many Shops name one of a cluster."""

import asyncio
from urllib.parse import urlsplit

from shop.operator.resource.spec import Shop

RESOLVE_TIMEOUT_S = 2.0


async def known(endpoint: str) -> bool:
    """Whether the name of its host can be resolved here."""
    loop = asyncio.get_running_loop()
    try:
        await asyncio.wait_for(loop.getaddrinfo(urlsplit(endpoint).hostname, None), RESOLVE_TIMEOUT_S)
    except (OSError, TimeoutError):
        return False
    return True


def without(shop: Shop) -> Shop:
    """The same Shop without a collector."""
    observability = shop.spec.observability
    tracing = observability.tracing.model_copy(update={"endpoint": None})
    changed = observability.model_copy(update={"tracing": tracing})
    return shop.model_copy(update={"spec": shop.spec.model_copy(update={"observability": changed})})
