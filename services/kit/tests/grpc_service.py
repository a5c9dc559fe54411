"""A small gRPC service for tests of ``shop.kit.grpc``: its descriptor, its servicer, and an application with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import StringValue

from shop.devkit.testing import INTERNAL_TOKEN, wait_until
from shop.kit import telemetry
from shop.kit.app import create_app
from shop.kit.balancing.rules import Rules
from shop.kit.errors import Problem, Unavailable
from shop.kit.grpc import GrpcClient, GrpcServer, GrpcSettings, caller
from shop.kit.grpc.fields import uuid_of

SERVICE = "shop.test.v1.Echo"
METHODS = ("Say", "Read", "Count")


def _file() -> Any:
    """test/echo.proto: ``Read`` has no side effects, and ``Count`` answers with a stream."""
    file = descriptor_pb2.FileDescriptorProto(
        name="test/echo.proto", package="shop.test.v1", syntax="proto3", dependency=["google/protobuf/wrappers.proto"]
    )
    service = file.service.add(name="Echo")
    for name in METHODS:
        text = ".google.protobuf.StringValue"
        method = service.method.add(name=name, input_type=text, output_type=text, server_streaming=name == "Count")
        if name == "Read":
            method.options.idempotency_level = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(file.name)


FILE = _file()


class Settings(GrpcSettings):
    service: ClassVar[str] = "echo"


def _set(event: asyncio.Event) -> asyncio.Event:
    event.set()
    return event


@dataclass
class Echo:
    """Acts as the request's text says; ``seen`` are the requests that reached it, with their trace and request ids.

    A text that is a path is answered when there is such a file, ``process`` with the process's id, and ``user ID`` if
    the caller may ask about that user.
    """

    seen: list[tuple[str, str, str]] = field(default_factory=list)
    callers: list[caller.Caller] = field(default_factory=list)
    ready: bool = True
    readiness_known: asyncio.Event = field(default_factory=lambda: _set(asyncio.Event()))
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    proceed: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    delay_s: float = 0.0
    fails: bool = False

    async def answer(self, request: StringValue, context: Any) -> StringValue:
        text = request.value
        self.seen.append((text, telemetry.trace_id(), telemetry.request_id()))
        self.callers.append(caller.current())
        if self.fails:
            raise RuntimeError("ill")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if text.startswith("user "):
            caller.current().check_user(uuid_of("user_id", text.removeprefix("user ")))
        if text.startswith("/"):
            Path(f"{text}.started").touch()
            await wait_until(Path(text).exists)
        if text == "process":
            return StringValue(value=str(os.getpid()))
        if act := getattr(self, f"_{text.replace(' ', '_')}", None):
            await act(context)
        return StringValue(value=f"said {text}")

    async def _problem(self, _context: Any) -> None:
        errors: list[Any] = [{"field": "text", "message": "is wrong"}]
        raise Problem(409, "out_of_stock", "Two are left.", errors=errors, extra={"left": 2})

    async def _large_problem(self, _context: Any) -> None:
        raise Problem(422, "invalid_request", "Much is wrong.", extra={"much": "x" * 10_000})

    async def _long_sentence(self, _context: Any) -> None:
        raise Problem(404, "not_found", "x" * 100_000)

    async def _unavailable(self, _context: Any) -> None:
        raise Unavailable("database", "no connection")

    async def _secret(self, _context: Any) -> None:
        raise RuntimeError("the password is swordfish")

    async def _abort(self, context: Any) -> None:
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "no such page")

    async def _status(self, context: Any) -> None:
        context.set_code(grpc.StatusCode.DATA_LOSS)

    async def _cancelled_inside(self, _context: Any) -> None:
        other: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        other.cancel()
        await other

    async def _wait(self, _context: Any) -> None:
        self.started.set()
        try:
            await self.proceed.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def _flaky(self, _context: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("database", "no connection yet")

    async def count(self, request: StringValue, _context: Any) -> AsyncIterator[StringValue]:
        for number in range(int(request.value)):
            yield StringValue(value=str(number))

    def register(self, _service: Any, server: grpc.aio.Server) -> None:
        codec: dict[str, Any] = {
            "request_deserializer": StringValue.FromString,
            "response_serializer": StringValue.SerializeToString,
        }
        handlers = {
            "Say": grpc.unary_unary_rpc_method_handler(self.answer, **codec),
            "Read": grpc.unary_unary_rpc_method_handler(self.answer, **codec),
            "Count": grpc.unary_stream_rpc_method_handler(self.count, **codec),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


@dataclass
class Running:
    """A served Echo."""

    echo: Echo
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serving(echo: Echo | None = None, *, users: bool = False, **settings: Any) -> AsyncIterator[Running]:
    """The application of an Echo service, with its gRPC server on a port of its own."""
    echo = echo or Echo()
    made: dict[str, Any] = {
        "grpc_host": "127.0.0.1",
        "grpc_port": 0,
        "jwks_url": "",
        "internal_token": INTERNAL_TOKEN,
        "drain_seconds": 10.0,
    }
    chosen = Settings(**(made | settings))
    server = GrpcServer(chosen, echo.register, [FILE], users=users)

    async def check(_service: Any) -> None:
        await echo.readiness_known.wait()
        if not echo.ready:
            raise RuntimeError("not ready")

    app = create_app(chosen, title="Echo", readiness=[("echo", check)], beside=[server], uses_bus=False)
    async with app.router.lifespan_context(app):
        yield Running(echo, server.port)


class EchoStub:
    """As generated code has it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        codec: dict[str, Any] = {
            "request_serializer": StringValue.SerializeToString,
            "response_deserializer": StringValue.FromString,
        }
        self.Say: Any = channel.unary_unary(f"/{SERVICE}/Say", **codec)
        self.Read: Any = channel.unary_unary(f"/{SERVICE}/Read", **codec)
        self.Count: Any = channel.unary_stream(f"/{SERVICE}/Count", **codec)


@dataclass
class Caller:
    client: GrpcClient
    stub: EchoStub

    async def say(self, text: str, **options: Any) -> str:
        return str((await self.client.call(self.stub.Say, StringValue(value=text), **options)).value)

    async def read(self, text: str, **options: Any) -> str:
        return str((await self.client.call(self.stub.Read, StringValue(value=text), **options)).value)


@contextlib.asynccontextmanager
async def calling(addresses: str, token: str = INTERNAL_TOKEN, rules: Rules | None = None) -> AsyncIterator[Caller]:
    client = GrpcClient("echo", addresses, [FILE], token, rules)
    try:
        yield Caller(client, EchoStub(client.channel))
    finally:
        await client.close()


__all__ = ["SERVICE", "Caller", "Echo", "EchoStub", "Running", "calling", "serving", "wait_until"]
