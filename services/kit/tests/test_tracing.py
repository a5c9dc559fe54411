"""Spans reach a standard OTLP/HTTP collector; only those of sampled, failed or slow requests are recorded."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.kit.tests.grpc_service import calling, serving
from shop.devkit.testing import WAIT_TIMEOUT_S, Tokens, wait_until
from shop.kit import spans, telemetry
from shop.kit.application import NO_FRAMEWORK_TELEMETRY
from shop.kit.auth import Authenticator
from shop.kit.batch import Batcher
from shop.kit.errors import OutcomeUnknown, Problem
from shop.kit.ids import new_id
from shop.kit.observe import Observe
from shop.kit.span_export import EXPORT_TIMEOUT_S, traces_url
from shop.kit.spans import SAMPLED_LATE, Kind
from shop.kit.store_spans import summary_of
from tests.telemetry.otlp import Receiver, orphans, receiving

MARKER = "marker-of-a-person"


@pytest.fixture(scope="module")
def one_receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
async def collector(one_receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """What a service exports with everything sampled; tests in this process go on without tracing."""
    monkeypatch.setattr("shop.kit.span_export.FLUSH_TIMEOUT_S", WAIT_TIMEOUT_S)  # spans that come later are lost
    one_receiver._requests.clear()
    one_receiver.answering.set()
    spans.configure("order", one_receiver.url, 1.0)
    yield one_receiver
    await spans.close()
    telemetry.set_sampling(0.0)
    telemetry.current.set(telemetry.NO_TRACE)
    spans._active.set(None)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://otlp.example.com/tenant/a", "https://otlp.example.com/tenant/a/v1/traces"),
        ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
    ],
)
def test_the_path_of_the_signal_is_added_to_a_base_endpoint(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


async def test_a_collector_gets_spans_where_and_as_it_expects_them(
    collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=bookshop,k8s.pod.name=order-1")
    spans.configure("order", collector.url, 1.0)
    trace = telemetry.begin()
    with spans.span("saga.reserve", {"shop.saga.phase": "action"}), spans.span("POST product", kind=Kind.CLIENT):
        pass
    await spans.close()
    await wait_until(lambda: bool(collector.requests))
    (request,) = collector.requests
    assert request.line == "POST /v1/traces HTTP/1.1"
    assert request.headers["content-type"] == "application/x-protobuf"
    (resource,) = request.message.resource_spans
    about = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert (about["service.name"], about["service.version"]) == ("order", "0.1.0")
    assert about["service.instance.id"]
    assert (about["service.namespace"], about["k8s.pod.name"]) == ("bookshop", "order-1")
    step, call = collector.trace(trace.trace_id)
    assert (step.name, step.kind, step.parent_id) == ("saga.reserve", "internal", "")
    assert (call.name, call.kind, call.parent_id) == ("POST product", "client", step.span_id)
    assert step.attributes == {"shop.saga.phase": "action"}
    assert step.started_ns <= call.started_ns <= call.ended_ns <= step.ended_ns


async def test_a_failed_span_has_the_kind_of_its_error_and_nothing_of_its_message(collector: Receiver) -> None:
    telemetry.begin()
    with pytest.raises(ValueError, match=MARKER), spans.span("saga.charge"):
        raise ValueError(MARKER)
    (span,) = await _exported(collector)
    assert span.failed
    assert span.attributes == {"error.type": "ValueError"}
    assert span.events["exception"]["exception.type"] == "ValueError"
    assert "test_tracing" in span.events["exception"]["exception.stacktrace"]
    assert MARKER not in str(collector.requests)


async def test_a_collector_that_does_not_answer_does_not_delay_shutdown(
    collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop.kit.span_export.FLUSH_TIMEOUT_S", 0.2)
    collector.answering.clear()
    telemetry.begin()
    with spans.span("saga.reserve"):
        pass
    async with asyncio.timeout(EXPORT_TIMEOUT_S / 2):
        await spans.close()
    assert not spans.exported()


async def test_both_sides_of_a_grpc_call_have_spans_of_one_trace(one_receiver: Receiver) -> None:
    one_receiver._requests.clear()
    async with serving(tracing_endpoint=one_receiver.url, trace_sample_ratio=1.0) as running:
        trace = telemetry.begin()
        async with calling(running.address) as caller:
            assert await caller.say("hello") == "said hello"
            with pytest.raises(OutcomeUnknown):
                await caller.say("secret")
    await wait_until(lambda: len(one_receiver.trace(trace.trace_id)) == 4)
    found = one_receiver.trace(trace.trace_id)
    assert {span.name for span in found} == {"shop.test.v1.Echo/Say"}
    made = [span for span in found if span.kind == "client"]
    served = [next(span for span in found if span.parent_id == one.span_id) for one in made]
    assert [span.kind for span in served] == ["server", "server"]
    for pair, status in zip(zip(made, served, strict=True), (0, 13), strict=True):
        for span in pair:
            assert span.attributes["rpc.service"] == "shop.test.v1.Echo"
            assert span.attributes["rpc.grpc.status_code"] == status
            assert span.failed == (status != 0)
    assert "exception" in served[1].events


async def test_a_request_is_a_span_of_its_callers_trace_named_by_its_route(collector: Receiver) -> None:
    telemetry.set_sampling(0.0)
    caller = telemetry.Trace("ab" * 16, "cd" * 8, sampled=True)
    await _request(_answering(204), caller.traceparent())
    (span,) = await _exported(collector)
    assert (span.name, span.kind) == ("GET /orders/{order_id}", "server")
    assert (span.trace_id, span.parent_id) == (caller.trace_id, caller.span_id)
    assert span.attributes["http.response.status_code"] == 204
    assert MARKER not in str(collector.requests)


def test_the_first_traces_of_each_second_are_sampled() -> None:
    first = telemetry.FirstOfEachSecond(2)
    moments = (10.0, 10.1, 10.2, 10.9, 11.0, 11.5, 11.9, 30.0)
    assert [first.take(now) for now in moments] == [True, True, False, False, True, True, False, True]
    assert not telemetry.FirstOfEachSecond(0).take(10.0)


def test_traces_that_begin_here_are_sampled_up_to_a_number_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.kit.telemetry.time.monotonic", lambda: 10.0)
    telemetry.set_sampling(0.0, 3)
    assert [telemetry.new_trace().sampled for _ in range(5)] == [True, True, True, False, False]
    assert telemetry.new_trace(change=True).sampled, "reads before it do not count"
    telemetry.set_sampling(0.0)


async def test_spans_name_the_user_and_the_order_by_their_ids(collector: Receiver, tokens: Tokens) -> None:
    order_id, (person, token) = new_id(), tokens.customer()
    app = FastAPI(telemetry=NO_FRAMEWORK_TELEMETRY)
    app.add_middleware(Observe, max_body_bytes=1_024)
    authenticator = Authenticator(tokens.jwks_url)

    @app.get("/orders/{order_id}")
    async def read(order_id: str) -> Response:
        await authenticator.principal(token)
        return Response(status_code=204)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        await client.get(f"/orders/{order_id}")
        await client.get("/orders/no-id")
    first, second = await _exported(collector)
    assert first.attributes["user.id"] == str(person.user_id)
    assert first.attributes["shop.order.id"] == str(order_id)
    assert "shop.order.id" not in second.attributes


@pytest.mark.parametrize("status", [200, 404, 499])
async def test_an_unsampled_request_that_is_answered_is_not_recorded(collector: Receiver, status: int) -> None:
    telemetry.set_sampling(0.0)
    await _request(_answering(status))
    assert await _exported(collector) == []


async def test_an_unsampled_request_that_fails_is_recorded_late(collector: Receiver) -> None:
    telemetry.set_sampling(0.0)
    caller = telemetry.Trace("ab" * 16, "cd" * 8, sampled=False)
    await _request(_answering(503), caller.traceparent())
    (span,) = await _exported(collector)
    assert span.failed
    assert span.attributes[SAMPLED_LATE] is True
    assert span.attributes["error.type"] == "503"
    assert (span.trace_id, span.parent_id) == (caller.trace_id, caller.span_id)


async def test_an_unsampled_request_that_is_slow_is_recorded_late_with_its_whole_duration(
    collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "SLOW_REQUEST_S", 0.0)
    telemetry.set_sampling(0.0)
    ids: list[str] = []
    await _request(_answering(200, lambda: ids.append(telemetry.current.get().span_id)))
    (span,) = await _exported(collector)
    assert (span.attributes[SAMPLED_LATE], span.failed) == (True, False)
    assert span.span_id == ids[0]
    assert span.parent_id == ""
    assert span.ended_ns > span.started_ns


async def test_callers_of_one_trace_continue_it_in_their_batch(collector: Receiver) -> None:
    batcher = Batcher(_double)
    telemetry.begin()
    with spans.span("saga.quote"):
        assert await batcher.submit(2) == 4
    step, work = sorted(await _exported(collector), key=lambda span: span.name)
    assert (step.name, work.name) == ("saga.quote", "work")
    assert work.parent_id == step.span_id


async def test_callers_of_several_traces_and_their_batch_are_linked(collector: Receiver) -> None:
    batcher = Batcher(_double)

    async def call(number: int) -> int:
        telemetry.begin()
        with spans.span(f"caller {number}"):
            return await batcher.submit(number)

    assert list(await asyncio.gather(call(1), call(2))) == [2, 4]
    found = {span.name: span for span in await _exported(collector)}
    batch, callers = found["batch"], [found["caller 1"], found["caller 2"]]
    assert found["work"].parent_id == batch.span_id
    assert len({batch.trace_id, *(one.trace_id for one in callers)}) == 3
    assert batch.links == [(one.trace_id, one.span_id) for one in callers]
    assert all(one.links == [(batch.trace_id, batch.span_id)] for one in callers)
    assert orphans(list(found.values())) == []


async def test_background_work_outside_of_a_trace_is_not_recorded(collector: Receiver) -> None:
    telemetry.current.set(telemetry.NO_TRACE)
    with spans.span("SELECT outbox"):
        pass
    assert await Batcher(_double).submit(1) == 2
    assert await _exported(collector) == []


@pytest.mark.parametrize(
    ("sql", "summary"),
    [
        ("SELECT id FROM orders WHERE id = $1 FOR UPDATE SKIP LOCKED", "SELECT orders"),
        (
            "WITH new AS (INSERT INTO orders VALUES ($1)) INSERT INTO outbox SELECT 1",
            "INSERT orders INSERT outbox",
        ),
        ("INSERT INTO inbox VALUES ($1) ON CONFLICT (id) DO UPDATE SET a = 1", "INSERT inbox"),
        ("UPDATE sagas s SET status = $1 FROM unnest($2::int[]) AS t(id)", "UPDATE sagas"),
        ("DELETE FROM inbox WHERE ctid IN (SELECT ctid FROM inbox)", "DELETE inbox"),
        ("SELECT * FROM unnest($1::int[])", "SELECT"),
        ("COMMIT", "COMMIT"),
    ],
)
def test_a_statement_is_summarised_by_its_operations_and_tables(sql: str, summary: str) -> None:
    assert summary_of(sql) == summary


def test_without_an_endpoint_nothing_of_the_sdk_is_loaded() -> None:
    program = """
import asyncio, sys
from shop.kit import app, batch, inbox, outbox, spans, telemetry
spans.configure("order", "", 1.0)
telemetry.begin()
with spans.span("work") as recorded:
    assert recorded is None
asyncio.run(spans.close())
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def _double(items: list[int]) -> Sequence[int]:
    with spans.span("work"):
        return [2 * item for item in items]


async def _exported(collector: Receiver) -> list[Any]:
    """Everything that was recorded, once tracing is closed."""
    await spans.close()
    return collector.spans()


class _Route:
    path = "/orders/{order_id}"


def _answering(status: int, before: Callable[[], None] = lambda: None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = _Route()
        before()
        if status >= 500:
            raise Problem(status, "unavailable", MARKER)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


async def _request(app: ASGIApp, traceparent: str = "") -> None:
    async def ignore(_: Any) -> None:
        pass

    receive: Callable[[], Awaitable[Any]] = asyncio.Event().wait
    headers = [(b"host", MARKER.encode()), (b"authorization", MARKER.encode())]
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": f"/orders/{MARKER}",
        "query_string": MARKER.encode(),
        "headers": [*headers, (b"traceparent", traceparent.encode())] if traceparent else headers,
    }
    await Observe(app, max_body_bytes=1_024)(scope, receive, ignore)
