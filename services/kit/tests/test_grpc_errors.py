"""How failed calls end: a status, google.rpc's details, and a count by that status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from prometheus_client import REGISTRY

from services.kit.tests.grpc_service import SERVICE, EchoStub, serving
from shop.devkit.testing import INTERNAL_TOKEN, Logged, wait_until
from shop.kit import telemetry
from shop.kit.errors import MAX_DETAIL_CHARACTERS, Problem
from shop.kit.grpc import problems

AUTHORIZED = (("authorization", f"Bearer {INTERNAL_TOKEN}"),)
METHOD = f"/{SERVICE}/Say"
MAX_METADATA_BYTES = 8 << 10
"""What clients accept by default."""


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    async with serving() as running, grpc.aio.insecure_channel(running.address) as plain:
        yield plain


async def failure(channel: grpc.aio.Channel, text: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await EchoStub(channel).Say(StringValue(value=text), timeout=5.0, metadata=AUTHORIZED)
    return caught.value


def details(metadata: Any) -> tuple[Status, ErrorInfo, BadRequest]:
    status = Status.FromString(dict(metadata)[problems.DETAILS])
    info, fields = ErrorInfo(), BadRequest()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(fields)
    return status, info, fields


def count(code: str) -> float:
    return REGISTRY.get_sample_value("shop_grpc_requests_total", {"method": METHOD, "code": code}) or 0.0


async def test_problem_has_an_error_info(channel: grpc.aio.Channel) -> None:
    error = await failure(channel, "problem")
    status, info, fields = details(error.trailing_metadata())
    assert (status.code, status.message) == (error.code().value[0], "Two are left.")
    assert (info.reason, info.domain, info.metadata["left"]) == ("out_of_stock", "shop", "2")
    assert [(one.field, one.description) for one in fields.field_violations] == [("text", "is wrong")]


async def test_reason_of_a_fault_is_its_code_and_no_more(channel: grpc.aio.Channel) -> None:
    status, info, _ = details((await failure(channel, "secret")).trailing_metadata())
    assert (info.reason, set(info.metadata)) == ("internal_error", {"trace_id"})
    assert "swordfish" not in str(status)


def test_details_name_the_trace() -> None:
    telemetry.begin()
    _, info, _ = details(problems.trailing_metadata(Problem(404, "unknown_product", "There is none.")))
    assert info.metadata["trace_id"] == telemetry.trace_id() != telemetry.NO_TRACE.trace_id


def test_trailing_metadata_fits_what_clients_accept() -> None:
    errors: Any = [{"field": f"items.{number}", "message": "is wrong" * 20} for number in range(100)]
    metadata = problems.trailing_metadata(Problem(422, "invalid_request", "x" * 100_000, errors=errors))
    _, info, fields = details(metadata)
    assert (info.reason, len(fields.field_violations)) == ("invalid_request", 0)
    assert sum(len(key) + len(value) * 4 // 3 + 32 for key, value in metadata) < MAX_METADATA_BYTES


async def test_long_sentence_reaches_the_client_cut(channel: grpc.aio.Channel) -> None:
    error = await failure(channel, "long sentence")
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "x" * MAX_DETAIL_CHARACTERS)


async def test_abort_is_counted_by_its_status_and_is_no_fault(channel: grpc.aio.Channel, logged: Logged) -> None:
    before = count("OUT_OF_RANGE"), count("INTERNAL"), count("OK")
    error = await failure(channel, "abort")
    assert (error.code(), error.details()) == (grpc.StatusCode.OUT_OF_RANGE, "no such page")
    await wait_until(lambda: count("OUT_OF_RANGE") > before[0], what="the call counted, which is after its answer")
    assert (count("OUT_OF_RANGE"), count("INTERNAL"), count("OK")) == (before[0] + 1, *before[1:])
    assert logged(method=METHOD) == []


async def test_status_that_a_method_sets_is_counted(channel: grpc.aio.Channel) -> None:
    before = count("DATA_LOSS")
    assert (await failure(channel, "status")).code() is grpc.StatusCode.DATA_LOSS
    await wait_until(lambda: count("DATA_LOSS") == before + 1)


async def test_method_that_waited_for_something_cancelled_is_answered(
    channel: grpc.aio.Channel, logged: Logged
) -> None:
    """Not only at the caller's deadline."""
    before = count("INTERNAL")
    error = await failure(channel, "cancelled inside")
    assert error.code() is grpc.StatusCode.INTERNAL
    await wait_until(lambda: count("INTERNAL") == before + 1)
    assert len(logged(method=METHOD)) == 1
