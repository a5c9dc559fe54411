"""A real gRPC server with the recommendation service's contract and answers that a test sets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc
import orjson

from services.storefront.tests.scripted_data import product_id
from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.contracts.grpc import recommendation_v1_pb2_grpc as stubs
from shop.devkit.processes import free_port
from shop.devkit.testing import INTERNAL_TOKEN
from shop.kit.grpc import problems

BECAUSE = messages.REASON_KIND_BECAUSE_YOU_BOUGHT
ALSO = messages.REASON_KIND_OTHERS_ALSO_BOUGHT
TOGETHER = messages.REASON_KIND_BOUGHT_TOGETHER
POPULAR = messages.REASON_KIND_POPULAR
IN_CATALOGUE = messages.REASON_KIND_IN_CATALOGUE


def recommended(
    sku: str, kind: messages.ReasonKind.ValueType = POPULAR, reason: str = "", **changed: Any
) -> messages.Recommendation:
    fields: dict[str, Any] = {"id": product_id(sku), "title": sku, "score": 1.0, "reason": reason, "reason_kind": kind}
    return messages.Recommendation(**fields | changed)


@dataclass
class ScriptedRecommendations(stubs.RecommendationsServicer):
    """`answers` by method; `requests` are the calls that came, `waiting` those that hang while `hangs` is set."""

    answers: dict[str, list[messages.Recommendation]] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    refuse: tuple[grpc.StatusCode, str] | None = None
    problem: dict[str, Any] | None = None
    hangs: bool = False
    waiting: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = field(default_factory=free_port)
    _server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.max_send_message_length", 64 << 20)])
        stubs.add_RecommendationsServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        """End at once, in the middle of calls."""
        if self._server:
            await self._server.stop(None)
            self._server = None

    def asked(self, kind: type[Any]) -> list[Any]:
        return [request for request in self.requests if isinstance(request, kind)]

    async def Recommend(  # noqa: N802 - the .proto file's names
        self, request: messages.RecommendRequest, context: Any
    ) -> messages.RecommendResponse:
        return messages.RecommendResponse(recommendations=await self._answer("Recommend", request, context))

    async def SimilarTo(  # noqa: N802
        self, request: messages.SimilarToRequest, context: Any
    ) -> messages.SimilarToResponse:
        return messages.SimilarToResponse(recommendations=await self._answer("SimilarTo", request, context))

    async def BoughtTogether(  # noqa: N802
        self, request: messages.BoughtTogetherRequest, context: Any
    ) -> messages.BoughtTogetherResponse:
        return messages.BoughtTogetherResponse(recommendations=await self._answer("BoughtTogether", request, context))

    async def _answer(self, method: str, request: Any, context: Any) -> list[messages.Recommendation]:
        self.requests.append(request)
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {INTERNAL_TOKEN}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")
        if self.refuse:
            await context.abort(*self.refuse)
        if self.problem:
            metadata = ((problems.CODE, self.problem["code"]), (problems.DOCUMENT, orjson.dumps(self.problem)))
            await context.abort(grpc.StatusCode.NOT_FOUND, self.problem["detail"], metadata)
        if self.hangs:
            await self._hang()
        return self.answers.get(method, [])

    async def _hang(self) -> None:
        """Until the caller or the server gives up."""
        self.waiting += 1
        self.arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1
