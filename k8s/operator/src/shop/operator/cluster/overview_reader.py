"""Read the overview of a Shop from the cluster: its pods, their problems, its Events."""

import asyncio
from collections.abc import Awaitable

import orjson

from shop.operator.cluster.overview import Overview
from shop.operator.cluster.session import FORBIDDEN, Session
from shop.operator.engine.status.health import Phase, assess
from shop.operator.engine.status.pods import PodProblem, pod_problem
from shop.operator.kube.api_errors import ApiError
from shop.operator.kube.client import Request, path_of
from shop.operator.kube.kinds import EVENT, POD, RENDERED, Kind
from shop.operator.kube.objects import SHOP_LABEL, Object, Ref

WITH_PODS = tuple(kind for kind in RENDERED if kind.kind in ("Deployment", "StatefulSet", "Job"))
MAX_EVENTS_READ = 200


async def overview(session: Session, name: str) -> Overview:
    """The Shop as it is now; ShopctlError when there is none.

    Troubles and events are left out where the person may not read pods or events: the conditions name them too.
    """
    shop = await session.shop(name)
    troubles, events = await asyncio.gather(_allowed(troubled(session, name)), _allowed(_events(session, shop)))
    return Overview(shop, troubles, events)


async def _allowed[T](reading: Awaitable[list[T]]) -> list[T]:
    try:
        return await reading
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return []


async def troubled(session: Session, name: str) -> list[PodProblem]:
    """What keeps pods from running, by pod; those whose owner does its work all the same are left out."""
    pods, *owners = await asyncio.gather(*(_of_shop(session, kind, name) for kind in (POD, *WITH_PODS)))
    fine = {Ref.of(owner).display_name for found in owners for owner in found if assess(owner).phase is Phase.READY}
    found = sorted(filter(None, map(pod_problem, pods)), key=lambda one: one.pod)
    return [one for one in found if one.owner not in fine]


async def _of_shop(session: Session, kind: Kind, name: str) -> list[Object]:
    return await session.kube.list(kind, session.namespace, f"{SHOP_LABEL}={name}")


async def _events(session: Session, shop: Object) -> list[Object]:
    """Events about the Shop itself."""
    about = f"involvedObject.kind=Shop,involvedObject.uid={shop['metadata']['uid']}"
    params: dict[str, str | int] = {"fieldSelector": about, "limit": MAX_EVENTS_READ}
    answer = await session.kube.send(Request("GET", path_of(EVENT, session.namespace), params))
    found: list[Object] = orjson.loads(answer)["items"]
    return found
