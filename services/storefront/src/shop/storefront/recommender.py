"""Questions to the recommendation service. Each is answered within a fixed time or not at all."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.contracts.grpc import recommendation_v1_pb2_grpc as stubs
from shop.kit.app import Context
from shop.kit.balancing.breaker import State
from shop.kit.balancing.rules import Rules
from shop.kit.errors import Problem, Unavailable
from shop.kit.grpc import GrpcClient
from shop.kit.text import printable

MAX_RESULTS = 100
"""Of one request, by the contract, and what is read of a response."""
MAX_REASON_CHARACTERS = 160
PROBE_EVERY_S = 1.0
"""How often a service that failed is asked again, by a task that no page waits for."""
RULES = Rules(failures_to_open=1, reset_s=PROBE_EVERY_S)

NAME = "recommendation"
Method = Literal["Recommend", "SimilarTo", "BoughtTogether"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recommended:
    """A product's id, the kind of reason and the sentence for customers, which may be empty."""

    product_id: UUID
    kind: messages.ReasonKind.ValueType
    reason: str


class Recommender:
    """Every method raises Unavailable when the service is off, has failed lately or takes longer than `timeout_s`.

    Make it on the running loop. One failure opens an instance's breaker: one that hangs delays only the pages that were
    being made when it began to, and while others work a page each time that it is tried again.
    """

    def __init__(self, addresses: str, timeout_s: float, internal_token: str) -> None:
        self._timeout_s = timeout_s
        self._probing: asyncio.Task[None] | None = None
        self._client: GrpcClient | None = None
        if addresses.strip():
            self._client = GrpcClient(NAME, addresses, [messages.DESCRIPTOR], internal_token, RULES)

    @property
    def on(self) -> bool:
        """Whether this shop has recommendations."""
        return self._client is not None

    def join(self, context: Context) -> None:
        """Ask the instances that the application's discovery finds, and obey the levers on its calls."""
        if self._client is not None:
            self._client.follow(context.discovery)
            context.grpc_clients.append(self._client)

    async def recommend(
        self, user_id: str, category: str, limit: int, excluded: Collection[UUID] = ()
    ) -> list[Recommended]:
        """For one customer, or with an empty `user_id` what sells well; best first."""
        request = messages.RecommendRequest(
            user_id=user_id, category=category, max_results=limit, excluded_product_ids=_texts(excluded)
        )
        return await self._ask("Recommend", request)

    async def similar_to(
        self, product_id: UUID, limit: int, excluded: Collection[UUID] = (), user_id: str = ""
    ) -> list[Recommended]:
        """Nothing that the customer has bought."""
        request = messages.SimilarToRequest(
            product_id=str(product_id), max_results=limit, excluded_product_ids=_texts(excluded), user_id=user_id
        )
        return await self._ask("SimilarTo", request)

    async def bought_together(
        self, product_ids: Collection[UUID], limit: int, excluded: Collection[UUID] = (), user_id: str = ""
    ) -> list[Recommended]:
        """Nothing that the customer has bought."""
        request = messages.BoughtTogetherRequest(
            product_ids=_texts(product_ids), max_results=limit, excluded_product_ids=_texts(excluded), user_id=user_id
        )
        return await self._ask("BoughtTogether", request)

    async def _ask(self, method: Method, request: Any) -> list[Recommended]:
        client = self._client
        if client is None:
            raise Unavailable(NAME, "recommendations are turned off")
        if client.state is not State.CLOSED:
            self._probe(client, method, request)
            raise Unavailable(NAME, "recommendation: it failed a moment ago")
        return await self._call(client, method, request)

    async def _call(self, client: GrpcClient, method: Method, request: Any) -> list[Recommended]:
        """The response. A refusal, such as an unknown product, is no recommendation."""
        call: Any = getattr(stubs.RecommendationsStub(client.channel), method)
        try:
            response: messages.RecommendResponse = await client.call(call, request, timeout_s=self._timeout_s)
        except Problem as problem:
            log.info("no recommendations: %s", problem, extra={"event": "recommendations_refused"})
            return []
        except Unavailable as error:
            log.warning("no recommendations: %s", error, extra={"event": "recommendations_unavailable"})
            raise
        return _read(response)

    def _probe(self, client: GrpcClient, method: Method, request: Any) -> None:
        """Find out whether the service answers again, without a page waiting for it; one probe at a time."""
        if client.state is State.HALF_OPEN and self._probing is None:
            self._probing = asyncio.create_task(self._try(client, method, request))
            self._probing.add_done_callback(self._probed)

    async def _try(self, client: GrpcClient, method: Method, request: Any) -> None:
        try:
            await self._call(client, method, request)
        except Unavailable:
            return
        log.info("the recommendation service answers again", extra={"event": "recommendations_available"})

    def _probed(self, _: asyncio.Task[None]) -> None:
        self._probing = None

    async def close(self) -> None:
        if self._probing:
            self._probing.cancel()
            await asyncio.wait([self._probing])
        if self._client:
            await self._client.close()


def _texts(ids: Collection[UUID]) -> list[str]:
    return [str(product_id) for product_id in itertools.islice(ids, MAX_RESULTS)]


def _read(response: messages.RecommendResponse) -> list[Recommended]:
    """At most MAX_RESULTS products, each once; what is not a product's id is left out."""
    found: dict[UUID, Recommended] = {}
    for item in itertools.islice(response.recommendations, MAX_RESULTS):
        try:
            product_id = UUID(item.id)
        except ValueError:
            continue
        reason = printable(item.reason)[:MAX_REASON_CHARACTERS]
        found.setdefault(product_id, Recommended(product_id, item.reason_kind, reason))
    return list(found.values())
