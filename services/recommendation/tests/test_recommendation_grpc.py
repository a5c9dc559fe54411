"""The gRPC server of recommendation: tokens, deadlines, health, reflection."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.recommendation.tests.recommending import Replica, Shop
from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.contracts.grpc import recommendation_v1_pb2_grpc as stubs
from shop.devkit.testing import Logged, wait_until
from shop.kit import draining, telemetry
from shop.kit.errors import OutcomeUnknown, Problem
from shop.kit.grpc import GrpcClient

SERVICE = "shop.recommendation.v1.Recommendations"
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def health(replica: Replica) -> int:
    stub: Any = health_pb2_grpc.HealthStub(replica.grpc.channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5.0)).status)


@pytest.mark.parametrize(("token", "code"), [("", "token_missing"), ("wrong", None)])
async def test_token_is_needed(shop: Shop, token: str, code: str | None) -> None:
    server = shop.replica
    client = GrpcClient("recommendation", server.address, [messages.DESCRIPTOR], token)
    with pytest.raises(Problem) as caught:
        await client.call(stubs.RecommendationsStub(client.channel).Recommend, messages.RecommendRequest())
    await client.close()
    assert caught.value.status in {401, 403}
    assert code in {None, caught.value.code}


async def test_customer_asks_about_themselves_only(shop: Shop, user: UUID) -> None:
    one, other = await shop.products.add("Middlemarch"), await shop.products.add("Emma")
    await shop.catalogue_is_read()
    await shop.buy(user, one)
    client = GrpcClient("recommendation", shop.replica.address, [messages.DESCRIPTOR], shop.tokens.customer(user)[1])
    stub = stubs.RecommendationsStub(client.channel)
    for user_id in ("", str(user)):
        answer = await client.call(stub.Recommend, messages.RecommendRequest(user_id=user_id))
        assert [found.id for found in answer.recommendations] == [str(other)], "what they bought is left out"
    calls: list[tuple[Any, Any]] = [
        (stub.Recommend, messages.RecommendRequest(user_id=str(other))),
        (stub.SimilarTo, messages.SimilarToRequest(user_id=str(other), product_id=str(one))),
        (stub.BoughtTogether, messages.BoughtTogetherRequest(user_id=str(other), product_ids=[str(one)])),
    ]
    for method, request in calls:
        with pytest.raises(Problem) as caught:
            await client.call(method, request)
        assert (caught.value.status, caught.value.code) == (403, "other_user")
    await client.close()


async def test_refused_call_is_logged_with_the_callers_trace(shop: Shop, logged: Logged) -> None:
    telemetry.begin(f"00-{TRACE}-b7ad6b7169203331-01")
    with pytest.raises(Problem):
        await shop.replica.recommend(count=101)
    assert len(logged(method=f"/{SERVICE}/Recommend", code="invalid_request", trace_id=TRACE)) == 1


async def test_deadline_is_kept(shop: Shop, user: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    never = asyncio.Event()
    monkeypatch.setattr(shop.replica.service, "recommend", lambda *_: never.wait())
    call = shop.replica.grpc.call(shop.replica.stub.Recommend, messages.RecommendRequest(), timeout_s=0.05)
    with pytest.raises(OutcomeUnknown, match="DEADLINE_EXCEEDED"):
        await call


async def test_health_is_that_of_the_service_until_it_drains(shop: Shop) -> None:
    async def has(status: int) -> bool:
        return await health(shop.replica) == status

    await wait_until(lambda: has(health_pb2.HealthCheckResponse.SERVING))
    draining.begin()
    await wait_until(lambda: has(health_pb2.HealthCheckResponse.NOT_SERVING))


async def test_reflection_knows_the_service(shop: Shop) -> None:
    client = shop.replica.grpc
    channel: Any = client.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)])
    call = stub.ServerReflectionInfo(requests, timeout=5.0, metadata=client.metadata())
    answers = [one async for one in call]
    assert answers[0].file_descriptor_response.file_descriptor_proto


def test_every_method_is_retried_because_it_only_reads() -> None:
    methods = messages.DESCRIPTOR.services_by_name["Recommendations"].methods
    safe = [method.name for method in methods if method.GetOptions().idempotency_level]
    assert safe == ["Recommend", "SimilarTo", "BoughtTogether"]
