"""Wait until the operator has observed a change that a command made to a Shop."""

import asyncio
from collections.abc import Callable

from shop.operator.cluster.session import Session
from shop.operator.engine.kube.objects import Object
from shop.operator.errors import ShopctlError

POLL_S = 0.25


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
