"""A command's connection to the cluster; API errors become one line."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shop.operator.cluster.cluster_options import ClusterOptions
from shop.operator.errors import ShopctlError
from shop.operator.kube.api_errors import ApiError, Unreachable
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import SHOP
from shop.operator.kube.login import LoginError
from shop.operator.kube.objects import Object

FIRST_ANSWER_S = 10.0
"""For the first response; a person waits for it, so it is shorter than the operator's limit."""
ATTEMPTS = 2
UNAUTHORIZED, FORBIDDEN = 401, 403


@dataclass(frozen=True)
class Session:
    """A cluster that answered and knows Shops."""

    kube: Kube
    namespace: str
    namespace_given: bool

    async def shop(self, name: str) -> Object:
        """The Shop as it is; ShopctlError says where it was looked for."""
        found = await self.kube.get(SHOP, self.namespace, name)
        if found is None:
            raise ShopctlError(
                f"no Shop {name} in namespace {self.namespace} of {self.kube.server};"
                " `kubectl get shops --all-namespaces` lists those there are"
            )
        return found


def run[T](where: ClusterOptions, work: Callable[[Session], Awaitable[T]]) -> T:
    """Do `work` with a connection; what the API refuses is a ShopctlError."""
    return asyncio.run(_run(where, work))


async def _run[T](where: ClusterOptions, work: Callable[[Session], Awaitable[T]]) -> T:
    try:
        async with Kube(where.kubeconfig, where.context) as kube:
            kube.attempts = ATTEMPTS
            await _check(kube)
            return await work(Session(kube, where.namespace or kube.namespace, where.namespace is not None))
    except LoginError as error:
        raise ShopctlError(f"{error}; name a cluster with --kubeconfig or --context") from error
    except ApiError as error:
        raise ShopctlError(refusal(error)) from error


async def _check(kube: Kube) -> None:
    try:
        async with asyncio.timeout(FIRST_ANSWER_S):
            kinds = await kube.served(SHOP.api_version)
    except TimeoutError as error:
        raise ShopctlError(
            f"{kube.server} did not answer within {FIRST_ANSWER_S:g} s; another cluster: --context or --kubeconfig"
        ) from error
    except Unreachable as error:
        raise ShopctlError(f"{kube.server} does not answer: {_reason(error)}") from error
    if SHOP.kind not in kinds:
        raise ShopctlError(f"{kube.server} knows no Shops; install the operator there: charts/shop-operator")


def _reason(error: Unreachable) -> str:
    """Without the request, and of a connection that cannot be made what the system says about it."""
    text = error.message.partition(f"{SHOP.root}: ")[2] or error.message
    inner = re.search(r"\[(.+)\]$", text)
    return " ".join((inner[1] if inner else text).split())


def refusal(error: ApiError) -> str:
    """One line, since some messages of the API have several."""
    text = " ".join(error.message.split()) or f"the API server answered {error.status} {error.reason}"
    if error.status == UNAUTHORIZED:
        return f"the API server does not take the kubeconfig's credentials ({text}); they may have expired"
    return text
