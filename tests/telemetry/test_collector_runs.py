"""The collector's configuration in a real collector, where one is installed: which traces it keeps.

Any build with these components will do, such as otelcol-contrib; `SHOP_TEST_COLLECTOR` names a program elsewhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from shop.devkit.embedded import free_port
from shop.devkit.testing import wait_until
from shop.kit.span_export import SpanExport
from shop.kit.spans import SAMPLED_LATE, SLOW_REQUEST_S, Kind, Span
from shop.kit.telemetry import Trace, new_trace
from tests.telemetry.test_collector_config import FOLDER
from tests.telemetry.test_dead_collector import status

PROGRAMS = ("otelcol-contrib", "otelcol")
EXPORT = "opentelemetry.proto.collector.trace.v1.TraceService"
DECISION_WAIT_S = 3
"""Instead of the configuration's, for a test that does not take so long."""
STARTED_WITHIN_S = 60.0
KEPT_WITHIN_S = 60.0
NORMAL = 200
MOST_OF_NORMAL = 20
"""Of 200 traces 1 % is two; more than this has a probability of less than one in a billion."""


def program() -> str:
    """The collector; skips the test without one."""
    named = os.environ.get("SHOP_TEST_COLLECTOR")
    found = named or next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"there is no OpenTelemetry Collector on the PATH ({', '.join(PROGRAMS)})")
    return found


@asynccontextmanager
async def backend(port: int) -> AsyncIterator[list[SpanMessage]]:
    """What the collector sends on to a store of traces."""
    kept: list[SpanMessage] = []

    async def export(request: ExportTraceServiceRequest, _: object) -> ExportTraceServiceResponse:
        kept.extend(
            span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
        )
        return ExportTraceServiceResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        export, ExportTraceServiceRequest.FromString, ExportTraceServiceResponse.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(EXPORT, {"Export": handler})])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield kept
    finally:
        await server.stop(None)


@contextmanager
def collector(config: str, folder: Path, sends_to: int) -> Iterator[tuple[str, str]]:
    """The endpoint for spans and the address of its health; the process ends with the block."""
    http, rpc, health = free_port(), free_port(), free_port()
    places = {
        "receivers::otlp::protocols::http::endpoint": http,
        "receivers::otlp::protocols::grpc::endpoint": rpc,
        "extensions::health_check::endpoint": health,
    }
    options = [f"--set={key}=127.0.0.1:{port}" for key, port in places.items()]
    options += [f"--set=processors::tail_sampling::decision_wait={DECISION_WAIT_S}s"]
    options += ["--set=service::telemetry::metrics::level=none"]
    environment = {"TRACES_BACKEND": f"127.0.0.1:{sends_to}", "TRACES_BACKEND_INSECURE": "true"}
    with (folder / "collector.log").open("wb") as log:
        process = subprocess.Popen(
            [program(), f"--config={FOLDER / config}", *options], env=os.environ | environment, stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{http}", f"http://127.0.0.1:{health}"
    finally:
        process.terminate()
        process.wait()


class Services:
    """Gateway and order, which export the two spans of one request each."""

    def __init__(self, endpoint: str) -> None:
        self._gateway, self._order = (SpanExport(name, endpoint) for name in ("gateway", "order"))

    def trace(self, *, failed: bool = False, late: bool = False, seconds: float = 0.01) -> str:
        """Record one; its id. What fails is in order, and gateway's span says nothing of it."""
        root = new_trace(sampled=True)
        below = Trace(root.trace_id, new_trace().span_id, sampled=True)
        first = Span("POST /api/v1/orders", Kind.SERVER, root, "", {SAMPLED_LATE: True} if late else {})
        second = Span("POST /api/v1/orders", Kind.SERVER, below, root.span_id, {})
        if failed:
            second.fail("503")
        for export, span in ((self._gateway, first), (self._order, second)):
            export.add(span, span.started_ns + round(seconds * 1e9))
        return root.trace_id

    async def close(self) -> None:
        await self._gateway.close()
        await self._order.close()


def test_the_collector_takes_the_configuration() -> None:
    environment = {"TRACES_BACKEND": "127.0.0.1:4317", "TAIL_SAMPLING_HOST": "collector"}
    known = subprocess.run([program(), "components"], capture_output=True, text=True, check=True, timeout=60).stdout
    for name in ("tail-sampling.yaml", "load-balancing.yaml"):
        if name == "load-balancing.yaml" and "loadbalancing" not in known.replace("_", ""):
            continue
        command = [program(), "validate", f"--config={FOLDER / name}"]
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


async def test_errors_and_slow_traces_are_kept_whole_and_few_of_the_rest(tmp_path: Path) -> None:
    port = free_port()
    async with backend(port) as kept:
        with collector("tail-sampling.yaml", tmp_path, port) as (endpoint, health):
            await wait_until(lambda: status(health) == 200, STARTED_WITHIN_S, "the collector")
            services = Services(endpoint)
            wanted = {
                "failed": services.trace(failed=True),
                "slow": services.trace(seconds=SLOW_REQUEST_S * 1.5),
                "recorded late": services.trace(late=True),
            }
            normal = {services.trace() for _ in range(NORMAL)}
            await services.close()

            def spans_by_trace() -> dict[str, int]:
                ids = [span.trace_id.hex() for span in kept]
                return {one: ids.count(one) for one in ids}

            def all_kept() -> bool:
                return all(spans_by_trace().get(one) == 2 for one in wanted.values())

            await wait_until(all_kept, KEPT_WITHIN_S, f"two spans each of {wanted}")
            found = spans_by_trace()
    assert found.keys() <= normal | set(wanted.values())
    assert len(found.keys() & normal) <= MOST_OF_NORMAL
    assert set(found.values()) == {2}
    print(f"kept: failed, slow, recorded late, and {len(found.keys() & normal)} of {NORMAL} others")
