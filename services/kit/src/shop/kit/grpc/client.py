"""Calls to another service's gRPC server: a deadline on each, a breaker, retries only for what is declared safe."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from prometheus_client import Counter, Gauge, Histogram

from shop.kit import spans, telemetry
from shop.kit.balancing.breaker import MEASURED, Breaker
from shop.kit.balancing.instance import About
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable
from shop.kit.exposition import LATENCY_BUCKETS_S, exemplar
from shop.kit.grpc import deadline, problems
from shop.kit.grpc.interceptor import (
    AUTHORIZATION,
    EXPECTED_CODES,
    REQUEST_ID,
    STATUS_ATTRIBUTE,
    TRACEPARENT,
    UNMATCHED,
    span_attributes,
)
from shop.kit.ids import new_id
from shop.kit.spans import Kind

CALLS = Counter("shop_grpc_client_requests_total", "gRPC calls to other services", ["upstream", "method", "code"])
BREAKER = Gauge("shop_grpc_client_breaker_state", "0 closed, 1 half open, 2 open", ["upstream"])
DURATION = Histogram(
    "shop_grpc_client_request_duration_seconds",
    "Time to the end of the answer",
    ["upstream", "method"],
    buckets=LATENCY_BUCKETS_S,
)
BREAKER_OPEN = "BREAKER_OPEN"
TIMEOUT_S = 3.0
MAX_TRIES = 3
"""Of a method that is declared idempotent, while its server is away or stops."""
FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 0.5
MAX_RECEIVE_BYTES = 4 << 20
KEEPALIVE_S = 30
KEEPALIVE_TIMEOUT_S = 10
FIRST_RECONNECT_S = 0.1
MAX_RECONNECT_S = 2.0
CLOSE_GRACE_S = 10.0
"""For the calls under way when the instances are others than before."""
NEVER_MS = 2**31 - 1
MIN_RESOLUTION_INTERVAL_S = 1.0
"""A name is resolved again when a connection ends, at most this often; servers end connections after some seconds
(``grpc_max_connection_age_s``), which is how a client finds new instances."""


def target_of(addresses: str) -> str:
    """The channel's target: one name such as dns:///loyalty-grpc:50051, or IP addresses separated by commas."""
    found = [one.strip() for one in addresses.split(",") if one.strip()]
    if not found:
        raise ValueError("no gRPC address is set")
    if len(found) == 1 and not _is_ip(found[0]):
        return found[0]
    kinds = {_ip(one).version for one in found}
    if len(kinds) != 1:
        raise ValueError(f"gRPC addresses must be all IPv4 or all IPv6: {addresses}")
    return f"ipv{kinds.pop()}:{','.join(found)}"


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))


def _is_ip(address: str) -> bool:
    try:
        _ip(address)
    except ValueError:
        return False
    return True


def methods_of(files: Sequence[FileDescriptor]) -> list[MethodDescriptor]:
    return [method for file in files for one in file.services_by_name.values() for method in one.methods]


def service_config(files: Sequence[FileDescriptor]) -> str:
    """gRPC's own JSON: round robin, and retries for methods whose idempotency_level allows them."""
    safe = [
        {"service": method.containing_service.full_name, "method": method.name}
        for method in methods_of(files)
        if method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
    ]
    retries = {
        "maxAttempts": MAX_TRIES,
        "initialBackoff": f"{FIRST_PAUSE_S}s",
        "maxBackoff": f"{MAX_PAUSE_S}s",
        "backoffMultiplier": 2,
        # A server that stops cancels the calls that reach it meanwhile.
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if safe:
        config["methodConfig"] = [{"name": safe, "retryPolicy": retries}]
    return json.dumps(config)


class GrpcClient:
    """One service at one DNS name, or at several IP addresses separated by commas; calls go to them in turn.

    Make it on the running loop, to which its connections belong. It connects at once, and again whenever a connection
    ends, so that calls find one that is ready. Make stubs for each call: ``channel`` is another one when discovery has
    found other instances. A call with several parts (a stream) is made with the stub itself, with
    ``metadata()`` and a timeout.
    """

    def __init__(self, name: str, addresses: str, files: Sequence[FileDescriptor], internal_token: str = "") -> None:
        self.name = name
        self.breaker = Breaker()
        self._internal_token = internal_token
        methods = {f"/{one.containing_service.full_name}/{one.name}" for one in methods_of(files)}
        self._files = files
        self._methods = methods
        self._target = target_of(addresses)
        self._closing: set[asyncio.Task[None]] = set()
        self._expect(methods)
        self.channel = self._connected()

    def _connected(self) -> grpc.aio.Channel:
        channel = grpc.aio.insecure_channel(
            self._target,
            options=[
                ("grpc.service_config", service_config(self._files)),
                ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
                ("grpc.keepalive_time_ms", int(KEEPALIVE_S * 1_000)),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1_000),
                ("grpc.initial_reconnect_backoff_ms", int(FIRST_RECONNECT_S * 1_000)),
                ("grpc.min_reconnect_backoff_ms", int(FIRST_RECONNECT_S * 1_000)),
                ("grpc.max_reconnect_backoff_ms", int(MAX_RECONNECT_S * 1_000)),
                ("grpc.dns_min_time_between_resolutions_ms", int(MIN_RESOLUTION_INTERVAL_S * 1_000)),
                # A proxy of the environment leads out of the shop.
                ("grpc.enable_http_proxy", 0),
                # Connections are this client's own, and end with it.
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.client_idle_timeout_ms", NEVER_MS),
            ],
            interceptors=[_Measured(self, self._methods)],
        )
        channel.get_state(try_to_connect=True)
        return channel

    def replace(self, found: Mapping[str, About]) -> None:
        """Send further calls to the gRPC servers of the instances that discovery has found, once it knows all of them.

        Calls under way are finished.
        """
        addresses = sorted(one.grpc for one in found.values() if one.grpc)
        if not addresses or any(not one.id for one in found.values()):
            return
        target = target_of(",".join(addresses))
        if target != self._target:
            self._target = target
            old, self.channel = self.channel, self._connected()
            closing = asyncio.create_task(old.close(CLOSE_GRACE_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _expect(self, methods: Collection[str]) -> None:
        """Make the time series that alerts look for."""
        BREAKER.labels(self.name).set_function(lambda: MEASURED[self.breaker.state])
        CALLS.labels(self.name, UNMATCHED, BREAKER_OPEN)
        for method in methods:
            for code in EXPECTED_CODES:
                CALLS.labels(self.name, method, code.name)
            DURATION.labels(self.name, method)

    async def call[Q, R](
        self, method: Callable[..., grpc.aio.UnaryUnaryCall[Q, R]], request: Q, *, timeout_s: float = TIMEOUT_S
    ) -> R:
        """The answer to ``request``, with the caller's trace and within its deadline.

        A problem of the service (4xx) is raised as the Problem that it is. An open breaker is raised as Unavailable;
        every other failure as OutcomeUnknown, because the call may have been carried out.
        """
        timeout_s = deadline.within(timeout_s)
        if not self.breaker.allows():
            CALLS.labels(self.name, UNMATCHED, BREAKER_OPEN).inc()
            raise Unavailable(self.name, f"{self.name}: breaker open")
        try:
            response = await method(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        except asyncio.CancelledError:
            # Also what grpc raises when the server cancelled the call, for example at the end of its drain.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self.breaker.failed()
            raise OutcomeUnknown(self.name, f"{self.name}: the server cancelled the call") from None
        if response is None:
            # What grpc returns for bytes that are not the message.
            self.breaker.failed()
            raise OutcomeUnknown(self.name, f"{self.name}: the answer is not of the method's type")
        self.breaker.succeeded()
        return response

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries: trace context, request id, and the token that the services share."""
        return (
            (TRACEPARENT, telemetry.traceparent()),
            (REQUEST_ID, telemetry.request_id() or new_id().hex),
            (AUTHORIZATION, f"Bearer {self._internal_token}"),
        )

    def _failure(self, error: grpc.aio.AioRpcError) -> Problem | OutcomeUnknown:
        problem = problems.problem_of(error)
        if problem is not None:
            self.breaker.succeeded()
            return problem
        self.breaker.failed()
        return OutcomeUnknown(self.name, f"{self.name}: {error.code().name}: {error.details()}")

    async def close(self) -> None:
        for closing in self._closing:
            closing.cancel()
        await self.channel.close()


class _Measured(grpc.aio.UnaryUnaryClientInterceptor):
    """Gives each call a span and the client's metadata, and counts it by its final status."""

    def __init__(self, client: GrpcClient, methods: set[str]) -> None:
        self._client = client
        self._methods = methods

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        called = client_call_details.method
        text = called.decode() if isinstance(called, bytes) else str(called)
        method = text if text in self._methods else UNMATCHED
        name = self._client.name
        started = time.perf_counter()
        with spans.span(text[1:], span_attributes(text), Kind.CLIENT) as recorded:
            metadata = grpc.aio.Metadata(*self._client.metadata())
            call = await continuation(client_call_details._replace(metadata=metadata), request)
            try:
                code = await call.code()
            except asyncio.CancelledError:
                # Otherwise the service works on for a caller that is gone.
                call.cancel()
                CALLS.labels(name, method, grpc.StatusCode.CANCELLED.name).inc()
                raise
            if recorded is not None:
                recorded.attributes[STATUS_ATTRIBUTE] = code.value[0]
                if code is not grpc.StatusCode.OK:
                    recorded.fail(code.name)
        CALLS.labels(name, method, code.name).inc()
        DURATION.labels(name, method).observe(time.perf_counter() - started, exemplar())
        return call
