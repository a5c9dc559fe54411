"""The least gRPC server: grpc.aio answers a message with a message, nothing else. The floor for calls of a service."""

from __future__ import annotations

import sys
from typing import Any

import grpc
import uvloop
from google.protobuf.wrappers_pb2 import StringValue

SERVICE = "bare.v1.Greeter"


async def hello(request: StringValue, _context: Any) -> StringValue:
    return StringValue(value=f"Hello {request.value}")


async def serve(port: int) -> None:
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(
        hello, request_deserializer=StringValue.FromString, response_serializer=StringValue.SerializeToString
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Hello": method}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
