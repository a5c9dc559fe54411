"""The least gRPC server: grpc.aio answers a message with a message, nothing else. The floor for calls of a service."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop
from google.protobuf.wrappers_pb2 import StringValue

from shop.contracts.grpc import recommendation_v1_pb2 as messages

SERVICE = "bare.v1.Greeter"


async def hello(request: StringValue, _context: Any) -> StringValue:
    return StringValue(value=f"Hello {request.value}")


def recommend_as(answer: messages.RecommendResponse) -> Any:
    """A method that writes the same answer anew for each request."""
    rows = [{field.name: value for field, value in one.ListFields()} for one in answer.recommendations]

    async def recommend(request: messages.RecommendRequest, _context: Any) -> messages.RecommendResponse:
        chosen = rows[: request.max_results]
        return messages.RecommendResponse(recommendations=[messages.Recommendation(**one) for one in chosen])

    return grpc.unary_unary_rpc_method_handler(
        recommend,
        request_deserializer=messages.RecommendRequest.FromString,
        response_serializer=messages.RecommendResponse.SerializeToString,
    )


async def serve(port: int, answer: bytes = b"") -> None:
    """``Hello``, and ``Recommend`` with the stored ``answer``."""
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(
        hello, request_deserializer=StringValue.FromString, response_serializer=StringValue.SerializeToString
    )
    methods = {"Hello": method, "Recommend": recommend_as(messages.RecommendResponse.FromString(answer))}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def main(port: str, answer_file: str = "") -> None:
    await serve(int(port), await asyncio.to_thread(Path(answer_file).read_bytes) if answer_file else b"")


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
