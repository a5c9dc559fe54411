"""Who may call a gRPC server, and what its methods know of the caller."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.kit.tests.grpc_service import EchoStub, Running, serving
from shop.devkit.testing import INTERNAL_TOKEN, Tokens
from shop.kit.grpc import caller, problems
from shop.kit.ids import new_id


@pytest.fixture
async def running(tokens: Tokens) -> AsyncIterator[Running]:
    async with serving(users=True, jwks_url=tokens.jwks_url) as started:
        yield started


@pytest.fixture
async def channel(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(running.address) as plain:
        yield plain


async def say(channel: grpc.aio.Channel, text: str, token: str) -> str:
    metadata = (("authorization", f"Bearer {token}"),)
    return str((await EchoStub(channel).Say(StringValue(value=text), timeout=5.0, metadata=metadata)).value)


async def refused(channel: grpc.aio.Channel, text: str, token: str) -> tuple[grpc.StatusCode, str]:
    """Status and problem code of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await say(channel, text, token)
    return caught.value.code(), str(dict(caught.value.trailing_metadata() or ())[problems.CODE])


async def test_methods_know_the_user_of_an_access_token(
    running: Running, channel: grpc.aio.Channel, tokens: Tokens
) -> None:
    people = [tokens.customer(), tokens.admin()]
    for _, token in people:
        await say(channel, "hello", token)
    assert [one.user for one in running.echo.callers] == [person for person, _ in people]


async def test_methods_know_a_service_of_the_shop(running: Running, channel: grpc.aio.Channel) -> None:
    await say(channel, "hello", INTERNAL_TOKEN)
    assert running.echo.callers == [caller.Caller(None)]


async def test_customer_asks_about_nobody_else(running: Running, channel: grpc.aio.Channel, tokens: Tokens) -> None:
    person, token = tokens.customer()
    own, other = f"user {person.user_id}", f"user {new_id()}"
    assert await say(channel, own, token) == f"said {own}"
    assert await refused(channel, other, token) == (grpc.StatusCode.PERMISSION_DENIED, "other_user")
    for allowed in (tokens.admin()[1], INTERNAL_TOKEN):
        assert await say(channel, other, allowed) == f"said {other}"


@pytest.mark.parametrize(
    ("kind", "code"),
    [("expired", "token_expired"), ("forged", "invalid_token"), ("nonsense", "invalid_token"), ("", "token_missing")],
)
async def test_wrong_access_token_is_refused(
    running: Running, channel: grpc.aio.Channel, tokens: Tokens, kind: str, code: str
) -> None:
    token = {"expired": tokens.expired(), "forged": tokens.forged()}.get(kind, kind)
    assert await refused(channel, "hello", token) == (grpc.StatusCode.UNAUTHENTICATED, code)
    assert running.echo.seen == []


async def test_server_that_takes_no_users_refuses_their_tokens(tokens: Tokens) -> None:
    async with serving(jwks_url=tokens.jwks_url) as running, grpc.aio.insecure_channel(running.address) as channel:
        code = await refused(channel, "hello", tokens.admin()[1])
        assert code == (grpc.StatusCode.PERMISSION_DENIED, "internal_only")
        assert running.echo.seen == []


async def test_token_is_neither_accepted_nor_wrong_while_no_key_is_known() -> None:
    token = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCIsImtpZCI6IngifQ.e30.AAAA"
    async with (
        serving(users=True, jwks_url="file:///nonexistent/jwks.json") as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        assert await refused(channel, "hello", token) == (grpc.StatusCode.UNAVAILABLE, "user_unavailable")


async def test_health_and_reflection_need_no_token(channel: grpc.aio.Channel) -> None:
    untyped: Any = channel
    health: Any = health_pb2_grpc.HealthStub(untyped)
    await health.Check(health_pb2.HealthCheckRequest(), timeout=5.0)
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(untyped)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health")
    answers = [one async for one in reflection.ServerReflectionInfo(iter([request]), timeout=5.0)]
    assert answers[0].file_descriptor_response.file_descriptor_proto
