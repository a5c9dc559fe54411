"""Recommendation over gRPC, with a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.contracts.grpc import recommendation_v1_pb2_grpc as stubs
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Logged, Running, Tokens, wait_until
from shop.kit import draining, telemetry
from shop.kit.app import create_app
from shop.kit.errors import OutcomeUnknown, Problem
from shop.kit.grpc import GrpcClient
from shop.kit.ids import new_id
from shop.recommendation import api, grpc_api
from shop.recommendation.domain import Entry
from shop.recommendation.service import RecommendationService
from shop.recommendation.settings import Settings

SERVICE = "shop.recommendation.v1.Recommendation"
TRACE = "0af7651916cd43dd8448eb211c80319c"
FILES = [messages.DESCRIPTOR]


@dataclass
class Started:
    service: RecommendationService
    address: str
    client: GrpcClient
    stub: stubs.RecommendationAsyncStub

    async def get(self, entry: Entry, **options: Any) -> messages.Entry:
        request = messages.GetEntryRequest(user_id=str(entry.user_id), entry_id=str(entry.id))
        return await self.client.call(self.stub.GetEntry, request, **options)

    async def health(self) -> int:
        stub: Any = health_pb2_grpc.HealthStub(self.client.channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5.0)).status)


@pytest.fixture
async def started(database_for: DatabaseFor, tokens: Tokens, running: Running) -> AsyncIterator[Started]:
    settings = Settings(
        database_url=await database_for("recommendation"),
        jwks_url=tokens.jwks_url,
        internal_token=INTERNAL_TOKEN,
        grpc_host="127.0.0.1",
        grpc_port=0,
    )
    server = grpc_api.server(settings)
    app = create_app(
        settings,
        title="Recommendation",
        routers=[api.router],
        build=RecommendationService.build,
        beside=[server],
        uses_bus=False,
    )
    async with running(app):
        address = f"127.0.0.1:{server.port}"
        client = GrpcClient("recommendation", address, FILES, INTERNAL_TOKEN)
        yield Started(app.state.service, address, client, stubs.RecommendationStub(client.channel))
        await client.close()


@pytest.fixture
async def entry(started: Started) -> Entry:
    return await started.service.add(new_id(), "first note")


async def test_entry_is_read(started: Started, entry: Entry) -> None:
    assert await started.get(entry) == messages.Entry(id=str(entry.id), note="first note", origin="user")


async def test_unknown_entry_is_the_same_problem_as_over_http(started: Started, entry: Entry) -> None:
    request = messages.GetEntryRequest(user_id=str(new_id()), entry_id=str(entry.id))
    with pytest.raises(Problem) as caught:
        await started.client.call(started.stub.GetEntry, request)
    assert (caught.value.status, caught.value.code) == (404, "unknown_entry")


async def test_wrong_id_is_refused_with_its_field(started: Started) -> None:
    with pytest.raises(Problem) as caught:
        await started.client.call(started.stub.GetEntry, messages.GetEntryRequest(user_id="x"))
    assert (caught.value.status, [error["field"] for error in caught.value.errors]) == (422, ["user_id"])


@pytest.mark.parametrize(("token", "code"), [("", "token_missing"), ("wrong", "internal_only")])
async def test_internal_token_is_needed(started: Started, entry: Entry, token: str, code: str) -> None:
    client = GrpcClient("recommendation", started.address, FILES, token)
    other = Started(started.service, started.address, client, stubs.RecommendationStub(client.channel))
    with pytest.raises(Problem) as caught:
        await other.get(entry)
    await client.close()
    assert caught.value.code == code


async def test_refused_call_is_logged_with_the_callers_trace(started: Started, entry: Entry, logged: Logged) -> None:
    telemetry.begin_request(f"00-{TRACE}-b7ad6b7169203331-01", "request-7")
    with pytest.raises(Problem):
        await started.client.call(started.stub.GetEntry, messages.GetEntryRequest(user_id="x"))
    assert len(logged(method=f"/{SERVICE}/GetEntry", code="invalid_request", trace_id=TRACE)) == 1


async def test_deadline_is_kept(started: Started, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    never = asyncio.Event()
    monkeypatch.setattr(started.service, "entry", lambda *_: never.wait())
    with pytest.raises(OutcomeUnknown, match="DEADLINE_EXCEEDED"):
        await started.get(entry, timeout_s=0.05)


async def test_health_is_that_of_the_service_until_it_drains(started: Started) -> None:
    async def has(status: int) -> bool:
        return await started.health() == status

    await wait_until(lambda: has(health_pb2.HealthCheckResponse.SERVING))
    draining.begin()
    await wait_until(lambda: has(health_pb2.HealthCheckResponse.NOT_SERVING))


async def test_reflection_knows_the_service(started: Started) -> None:
    channel: Any = started.client.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)])
    call = stub.ServerReflectionInfo(requests, timeout=5.0, metadata=started.client.metadata())
    answers = [answer async for answer in call]
    assert answers[0].file_descriptor_response.file_descriptor_proto


def test_only_reads_are_retried() -> None:
    methods = messages.DESCRIPTOR.services_by_name["Recommendation"].methods
    safe = [method.name for method in methods if method.GetOptions().idempotency_level]
    assert safe == ["GetEntry"]
