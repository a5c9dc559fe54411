"""gRPC: parse, call the service, answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import grpc

from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.contracts.grpc import recommendation_v1_pb2_grpc as stubs
from shop.kit.errors import invalid_field
from shop.kit.grpc import GrpcServer, caller
from shop.kit.grpc.fields import uuid_of
from shop.recommendation.domain import DEFAULT_RESULTS, MAX_IDS, MAX_RESULTS, Kind, Recommended, Wanted
from shop.recommendation.service import RecommendationService
from shop.recommendation.settings import Settings

KINDS: Final = {
    Kind.BECAUSE_YOU_BOUGHT: messages.REASON_KIND_BECAUSE_YOU_BOUGHT,
    Kind.OTHERS_ALSO_BOUGHT: messages.REASON_KIND_OTHERS_ALSO_BOUGHT,
    Kind.BOUGHT_TOGETHER: messages.REASON_KIND_BOUGHT_TOGETHER,
    Kind.POPULAR: messages.REASON_KIND_POPULAR,
    Kind.IN_CATALOGUE: messages.REASON_KIND_IN_CATALOGUE,
}
MAX_CATEGORY_CHARACTERS = 60


class RecommendationsServicer(stubs.RecommendationsServicer):
    def __init__(self, service: RecommendationService) -> None:
        self._service = service

    async def Recommend(  # noqa: N802 - the .proto file's name
        self, request: messages.RecommendRequest, _context: object
    ) -> messages.RecommendResponse:
        wanted = _wanted(request.max_results, request.excluded_product_ids, request.category)
        found = await self._service.recommend(_user_id(request.user_id), wanted)
        return messages.RecommendResponse(recommendations=_messages(found))

    async def SimilarTo(  # noqa: N802 - the .proto file's name
        self, request: messages.SimilarToRequest, _context: object
    ) -> messages.SimilarToResponse:
        product_id = uuid_of("product_id", request.product_id)
        wanted = _wanted(request.max_results, request.excluded_product_ids)
        found = await self._service.similar_to(product_id, _user_id(request.user_id), wanted)
        return messages.SimilarToResponse(recommendations=_messages(found))

    async def BoughtTogether(  # noqa: N802 - the .proto file's name
        self, request: messages.BoughtTogetherRequest, _context: object
    ) -> messages.BoughtTogetherResponse:
        if not request.product_ids:
            raise invalid_field("product_ids", "needs at least one id")
        product_ids = _ids("product_ids", request.product_ids)
        wanted = _wanted(request.max_results, request.excluded_product_ids)
        found = await self._service.bought_together(product_ids, _user_id(request.user_id), wanted)
        return messages.BoughtTogetherResponse(recommendations=_messages(found))


def _user_id(text: str) -> UUID | None:
    """The customer of a request; without an id in it that of the access token, as over HTTP.

    Problem 403 ``other_user`` for a customer who asks about another user.
    """
    current = caller.current()
    if text:
        user_id = uuid_of("user_id", text)
        current.check_user(user_id)
        return user_id
    return current.user.user_id if current.user and current.user.role == "customer" else None


def _ids(field: str, texts: Sequence[str]) -> list[UUID]:
    if len(texts) > MAX_IDS:
        raise invalid_field(field, f"has more than {MAX_IDS} ids")
    return [uuid_of(field, text) for text in texts]


def _wanted(max_results: int, excluded: Sequence[str], category: str = "") -> Wanted:
    if not 0 <= max_results <= MAX_RESULTS:
        raise invalid_field("max_results", f"is not between 0 and {MAX_RESULTS}")
    if len(category) > MAX_CATEGORY_CHARACTERS:
        raise invalid_field("category", f"is longer than {MAX_CATEGORY_CHARACTERS} characters")
    return Wanted(max_results or DEFAULT_RESULTS, category, _ids("excluded_product_ids", excluded))


def _messages(found: Iterable[Recommended]) -> list[messages.Recommendation]:
    return [
        messages.Recommendation(
            id=one.product.text_id,
            title=one.product.title,
            score=one.score,
            reason=one.reason,
            reason_kind=KINDS[one.kind],
            reason_product_id=str(one.because) if one.because else "",
            reason_product_title=one.because_title,
        )
        for one in found
    ]


def _register(service: RecommendationService, server: grpc.aio.Server) -> None:
    stubs.add_RecommendationsServicer_to_server(RecommendationsServicer(service), server)


def server(settings: Settings) -> GrpcServer:
    return GrpcServer(settings, _register, [messages.DESCRIPTOR], users=True)
