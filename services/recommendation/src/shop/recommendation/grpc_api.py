"""gRPC: parse, call the service, answer."""

from __future__ import annotations

import grpc

from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.contracts.grpc import recommendation_v1_pb2_grpc as stubs
from shop.kit.grpc import GrpcServer
from shop.kit.grpc.fields import uuid_of
from shop.recommendation.service import RecommendationService
from shop.recommendation.settings import Settings


class RecommendationServicer(stubs.RecommendationServicer):
    def __init__(self, service: RecommendationService) -> None:
        self._service = service

    async def GetEntry(  # noqa: N802 - the .proto file's name
        self, request: messages.GetEntryRequest, _context: object
    ) -> messages.Entry:
        user_id, entry_id = uuid_of("user_id", request.user_id), uuid_of("entry_id", request.entry_id)
        entry = await self._service.entry(user_id, entry_id)
        return messages.Entry(id=str(entry.id), note=entry.note, origin=entry.origin)


def _register(service: RecommendationService, server: grpc.aio.Server) -> None:
    stubs.add_RecommendationServicer_to_server(RecommendationServicer(service), server)


def server(settings: Settings) -> GrpcServer:
    return GrpcServer(settings, _register, [messages.DESCRIPTOR])
