"""A gRPC server and its client over real connections."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY

from services.kit.tests.grpc_service import SERVICE, Caller, Echo, EchoStub, Running, calling, serving
from shop.devkit.processes import free_port
from shop.devkit.testing import INTERNAL_TOKEN, Logged, wait_until
from shop.kit import draining, spans
from shop.kit.balancing.breaker import FAILURES_TO_OPEN
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable
from shop.kit.grpc import channels, deadline, problems
from shop.kit.grpc import client as grpc_client

TRACE = "0af7651916cd43dd8448eb211c80319c"
AUTHORIZED = (("authorization", f"Bearer {INTERNAL_TOKEN}"),)
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr("shop.kit.grpc.server.READY_POLL_S", 0.05)
    async with serving() as started:
        yield started


@pytest.fixture
async def caller(running: Running) -> AsyncIterator[Caller]:
    async with calling(running.address) as made:
        yield made


@pytest.fixture
async def channel(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    """A plain channel, without what the kit's client adds."""
    async with grpc.aio.insecure_channel(running.address) as plain:
        yield plain


def say(channel: grpc.aio.Channel, text: str, **options: Any) -> Any:
    return EchoStub(channel).Say(StringValue(value=text), **{"timeout": 5.0, "metadata": AUTHORIZED, **options})


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5.0)).status)


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_call_is_answered(caller: Caller) -> None:
    assert await caller.say("hello") == "said hello"


async def test_trace_and_request_id_reach_the_service_and_come_back(running: Running, caller: Caller) -> None:
    spans.ServerSpan(f"00-{TRACE}-b7ad6b7169203331-01", "request-7")
    await caller.say("traced")
    assert running.echo.seen == [("traced", TRACE, "request-7")]
    call = caller.stub.Say(StringValue(value="again"), timeout=5.0, metadata=caller.client.metadata())
    await call
    assert dict(await call.trailing_metadata())["x-request-id"] == "request-7"


async def test_problem_comes_back_as_the_same_problem(caller: Caller) -> None:
    with pytest.raises(Problem) as caught:
        await caller.say("problem")
    problem = caught.value
    assert (problem.status, problem.code, problem.detail) == (409, "out_of_stock", "Two are left.")
    assert (problem.errors, problem.extra) == ([{"field": "text", "message": "is wrong"}], {"left": 2})


async def test_problem_that_is_too_large_for_metadata_keeps_its_code(caller: Caller) -> None:
    with pytest.raises(Problem) as caught:
        await caller.say("large problem")
    assert (caught.value.status, caught.value.code, caught.value.extra) == (422, "invalid_request", {})
    assert caught.value.detail == "Much is wrong."


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("problem", grpc.StatusCode.FAILED_PRECONDITION, "out_of_stock"),
        ("unavailable", grpc.StatusCode.UNAVAILABLE, "database_unavailable"),
        ("secret", grpc.StatusCode.INTERNAL, "internal_error"),
    ],
)
async def test_any_client_gets_status_and_code(
    channel: grpc.aio.Channel, text: str, status: grpc.StatusCode, code: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await say(channel, text)
    assert caught.value.code() is status
    assert dict(caught.value.trailing_metadata() or ())[problems.CODE] == code


async def test_unexpected_error_is_logged_once_and_not_disclosed(channel: grpc.aio.Channel, logged: Logged) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await say(channel, "secret")
    assert "swordfish" not in str(caught.value)
    lines = logged(method=f"/{SERVICE}/Say")
    assert len(lines) == 1
    assert "swordfish" in lines[0]["exception"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 422, 429, 500, 501, 503, 504])
def test_every_status_has_a_grpc_status(status: int) -> None:
    code = problems.status_code(Problem(status, "x", "y"))
    assert code not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
    assert (code is grpc.StatusCode.INTERNAL) == (status == 500)


@pytest.mark.parametrize(
    ("metadata", "status", "code"),
    [
        ((), grpc.StatusCode.UNAUTHENTICATED, "token_missing"),
        ((("authorization", "Basic eDp5"),), grpc.StatusCode.UNAUTHENTICATED, "token_missing"),
        ((("authorization", "Bearer wrong"),), grpc.StatusCode.PERMISSION_DENIED, "internal_only"),
    ],
)
async def test_wrong_token_is_refused(
    running: Running, channel: grpc.aio.Channel, metadata: Any, status: grpc.StatusCode, code: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await say(channel, "hello", metadata=metadata)
    assert caught.value.code() is status
    assert dict(caught.value.trailing_metadata() or ())[problems.CODE] == code
    assert running.echo.seen == []


async def test_service_without_a_token_refuses_every_token() -> None:
    async with serving(internal_token="") as running, calling(running.address, token="") as caller:
        with pytest.raises(Problem, match="token_missing"):
            await caller.say("hello")


async def test_stream_is_answered_and_needs_the_token(channel: grpc.aio.Channel) -> None:
    request = StringValue(value="3")
    call = EchoStub(channel).Count(request, timeout=5.0, metadata=AUTHORIZED)
    assert [answer.value async for answer in call] == ["0", "1", "2"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [answer async for answer in EchoStub(channel).Count(request, timeout=5.0)]
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_health_follows_readiness(running: Running, channel: grpc.aio.Channel) -> None:
    async def status_is(status: int) -> bool:
        return {await health(channel), await health(channel, SERVICE)} == {status}

    await wait_until(lambda: status_is(SERVING))
    running.echo.ready = False
    await wait_until(lambda: status_is(NOT_SERVING))
    running.echo.ready = True
    await wait_until(lambda: status_is(SERVING))


async def test_health_is_not_serving_until_readiness_is_known() -> None:
    echo = Echo()
    echo.readiness_known.clear()
    async with serving(echo) as started, grpc.aio.insecure_channel(started.address) as plain:
        assert [await health(plain), await health(plain, SERVICE)] == [NOT_SERVING, NOT_SERVING]
        echo.readiness_known.set()

        async def is_serving() -> bool:
            return await health(plain, SERVICE) == SERVING

        await wait_until(is_serving)


async def test_reflection_names_the_services(channel: grpc.aio.Channel) -> None:
    plain: Any = channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(plain)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = [one async for one in stub.ServerReflectionInfo(iter([request]), timeout=5.0)]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


async def test_call_without_a_deadline_gets_one(
    running: Running, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "DEFAULT_S", 0.05)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(say(channel, "wait", timeout=None), 30.0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert dict(caught.value.trailing_metadata() or ())[problems.CODE] == "deadline_exceeded"


def test_expired_call_is_not_started_and_long_deadlines_are_cut() -> None:
    with pytest.raises(Problem, match="deadline_exceeded"):
        deadline.allowed_s(0.0)
    assert deadline.allowed_s(None) == deadline.DEFAULT_S
    assert deadline.allowed_s(1.5) == 1.5
    assert deadline.allowed_s(1e9) == deadline.MAX_S


async def test_calls_made_for_a_call_end_with_it(running: Running, caller: Caller) -> None:
    deadline.begin(-1.0)
    with pytest.raises(Problem, match="deadline_exceeded"):
        await caller.say("too late")
    assert running.echo.seen == []
    deadline.begin(0.05)
    with pytest.raises(OutcomeUnknown, match="DEADLINE_EXCEEDED"):
        await caller.say("wait", timeout_s=600.0)


async def test_late_answer_leaves_the_outcome_unknown(caller: Caller) -> None:
    with pytest.raises(OutcomeUnknown, match="DEADLINE_EXCEEDED"):
        await caller.say("wait", timeout_s=0.05)


async def test_only_idempotent_methods_are_retried(running: Running, caller: Caller) -> None:
    running.echo.failures = grpc_client.MAX_TRIES - 1
    assert await caller.read("flaky") == "said flaky"
    assert len(running.echo.seen) == grpc_client.MAX_TRIES
    running.echo.failures = 1
    with pytest.raises(OutcomeUnknown):
        await caller.say("flaky")
    assert len(running.echo.seen) == grpc_client.MAX_TRIES + 1
    running.echo.failures = grpc_client.MAX_TRIES + 1
    with pytest.raises(OutcomeUnknown):
        await caller.read("flaky")
    assert len(running.echo.seen) == 2 * grpc_client.MAX_TRIES + 1


async def test_idempotent_method_is_not_retried_after_an_internal_error(running: Running, caller: Caller) -> None:
    with pytest.raises(OutcomeUnknown, match="INTERNAL"):
        await caller.read("secret")
    assert len(running.echo.seen) == 1


async def test_breaker_opens_after_failures_and_not_after_problems(running: Running, caller: Caller) -> None:
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(Problem):
            await caller.say("problem")
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(OutcomeUnknown):
            await caller.say("secret")
    running.echo.seen.clear()
    with pytest.raises(Unavailable, match="breaker open"):
        await caller.say("hello")
    assert running.echo.seen == []
    caller.client.balancer.instances[0].breaker.try_again()
    assert await caller.say("hello") == "said hello"


async def test_address_where_nobody_listens_is_unavailable() -> None:
    async with calling(f"127.0.0.1:{free_port()}") as caller:
        with pytest.raises(Unavailable, match="UNAVAILABLE"):
            await caller.say("hello")


async def test_calls_go_to_every_address() -> None:
    async with serving() as one, serving() as two, calling(f"{one.address},{two.address}") as caller:

        async def both_have_calls() -> bool:
            await caller.say("hello")
            return bool(one.echo.seen and two.echo.seen)

        await wait_until(both_have_calls)


async def test_drained_server_finishes_calls_and_clients_go_elsewhere() -> None:
    leaving = serving()
    one = await leaving.__aenter__()
    async with calling(one.address) as busy, grpc.aio.insecure_channel(one.address) as plain:
        call = asyncio.create_task(busy.say("wait"))
        await one.echo.started.wait()
        await wait_until(lambda: _is(health(plain), SERVING))
        draining.begin()
        await wait_until(lambda: _is(health(plain), NOT_SERVING))
        async with serving() as two, calling(f"{one.address},{two.address}") as caller:
            ended = asyncio.create_task(leaving.__aexit__(None, None, None))
            await wait_until(lambda: _refused(plain))
            for _ in range(10):
                assert await caller.read("hello") == "said hello"
            assert not ended.done()
            one.echo.proceed.set()
            assert await call == "said wait"
            await ended


async def _is(status: Any, expected: int) -> bool:
    return bool(await status == expected)


async def _refused(channel: grpc.aio.Channel) -> bool:
    try:
        await health(channel)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def test_drain_has_a_limit() -> None:
    async with serving(drain_seconds=0.0) as running, calling(running.address) as caller:
        call = asyncio.create_task(caller.say("wait", timeout_s=60.0))
        await running.echo.started.wait()
    with pytest.raises(OutcomeUnknown, match="cancelled"):
        await call


async def test_cancelled_call_ends_at_the_service_too(running: Running, caller: Caller) -> None:
    call = asyncio.create_task(caller.say("wait", timeout_s=60.0))
    await running.echo.started.wait()
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    await asyncio.wait_for(running.echo.cancelled.wait(), 10.0)


async def test_large_messages_are_refused(running: Running, caller: Caller) -> None:
    with pytest.raises(OutcomeUnknown, match="RESOURCE_EXHAUSTED"):
        await caller.say("x" * 100_000)
    assert running.echo.seen == []


async def test_calls_at_once_are_limited() -> None:
    async with serving(grpc_max_concurrent_calls=1) as running, calling(running.address) as caller:
        first = asyncio.create_task(caller.say("wait"))
        await running.echo.started.wait()
        with pytest.raises(OutcomeUnknown, match="RESOURCE_EXHAUSTED"):
            await caller.say("hello")
        running.echo.proceed.set()
        assert await first == "said wait"


async def test_calls_are_counted_by_method_and_status(channel: grpc.aio.Channel, caller: Caller) -> None:
    method = f"/{SERVICE}/Say"
    names = {"shop_grpc_requests_total": {}, "shop_grpc_client_requests_total": {"upstream": "echo"}}

    def counts(code: str) -> list[float]:
        return [count(name, method=method, code=code, **labels) for name, labels in names.items()]

    before = counts("OK"), counts("FAILED_PRECONDITION")
    await caller.say("hello")
    with pytest.raises(Problem):
        await caller.say("problem")

    def added() -> list[list[float]]:
        after = counts("OK"), counts("FAILED_PRECONDITION")
        return [[new - old for new, old in zip(*pair, strict=True)] for pair in zip(after, before, strict=True)]

    await wait_until(lambda: added() == [[1, 1]] * 2, what="a server counts after its answer")
    assert count("shop_grpc_request_duration_seconds_count", method=method) > 0
    assert count("shop_grpc_client_request_duration_seconds_count", method=method, upstream="echo") > 0


async def test_unknown_methods_are_one_label(channel: grpc.aio.Channel) -> None:
    before = count("shop_grpc_requests_total", method="unmatched", code="UNIMPLEMENTED")
    for name in ("A", "B"):
        call: Any = channel.unary_unary(f"/{SERVICE}/{name}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=5.0, metadata=AUTHORIZED)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert count("shop_grpc_requests_total", method="unmatched", code="UNIMPLEMENTED") == before + 2


async def test_port_in_use_is_an_error(running: Running) -> None:
    with pytest.raises(OSError, match="cannot listen for gRPC"):
        async with serving(grpc_port=running.port):
            pass


@pytest.mark.parametrize(
    ("addresses", "targets"),
    [
        ("dns:///loyalty:50051", ["dns:///loyalty:50051"]),
        ("127.0.0.1:1, 127.0.0.1:2,", ["ipv4:127.0.0.1:1", "ipv4:127.0.0.1:2"]),
        ("[::1]:1,loyalty:2", ["ipv6:[::1]:1", "loyalty:2"]),
    ],
)
def test_addresses_are_targets(addresses: str, targets: list[str]) -> None:
    assert [channels.target_of(one) for one in channels.addresses_of(addresses)] == targets


@pytest.mark.parametrize("addresses", ["", " , "])
def test_no_address_is_an_error(addresses: str) -> None:
    with pytest.raises(ValueError, match="no gRPC address"):
        channels.addresses_of(addresses)


def test_services_without_grpc_do_not_load_it() -> None:
    code = "import shop.kit.app, shop.kit.serve, sys; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
