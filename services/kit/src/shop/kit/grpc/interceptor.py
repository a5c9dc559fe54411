"""What every call of a gRPC server passes: trace context, request id, authentication, deadline, errors, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from prometheus_client import Counter, Histogram

from shop.kit import spans
from shop.kit.errors import MAX_DETAIL_CHARACTERS, Problem, known_problem
from shop.kit.exposition import LATENCY_BUCKETS_S, exemplar
from shop.kit.grpc import deadline, problems
from shop.kit.grpc.caller import Authentication
from shop.kit.http.connections import FIRST_FAULT_STATUS

log = logging.getLogger(__name__)

CALLS = Counter("shop_grpc_requests_total", "gRPC calls answered", ["method", "code"])
DURATION = Histogram(
    "shop_grpc_request_duration_seconds", "Time to the end of the answer", ["method"], buckets=LATENCY_BUCKETS_S
)
UNMATCHED = "unmatched"
EXPECTED_CODES = (grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
"""Whose time series exist before the first call."""
REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
AUTHORIZATION = "authorization"
STATUS_ATTRIBUTE = "rpc.grpc.status_code"
FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Statuses that are failures of the server by OpenTelemetry's conventions."""
WITHOUT_TOKEN = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Probes have no token, and what reflection returns is in the .proto file."""

type Handler = grpc.RpcMethodHandler[Any, Any]
type Context = grpc.aio.ServicerContext[Any, Any]


@functools.cache
def _calls(method: str, code: str) -> Counter:
    """Kept, because finding it takes longer than adding to it. Methods that exist are few."""
    return CALLS.labels(method, code)


@functools.cache
def _duration(method: str) -> Histogram:
    return DURATION.labels(method)


def expect(methods: Iterable[str]) -> None:
    """Make the time series of ``methods``."""
    for method in methods:
        _duration(method)
        for code in EXPECTED_CODES:
            _calls(method, code.name)


class ServerInterceptor(grpc.aio.ServerInterceptor):
    """Only methods that exist become labels of metrics."""

    def __init__(self, authentication: Authentication) -> None:
        self._authentication = authentication
        self._handlers: dict[str, Handler] = {}
        """By method: what grpc would otherwise look up and make anew for each call."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method = str(handler_call_details.method)
        known = self._handlers.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None:
            CALLS.labels(UNMATCHED, grpc.StatusCode.UNIMPLEMENTED.name).inc()
            return None
        self._handlers[method] = self._wrapped(method, handler)
        return self._handlers[method]

    def _wrapped(self, method: str, handler: Any) -> Handler:
        """With a function for most calls: grpc asks at each whether it is a coroutine function, and a partial object
        takes twice as long to answer."""
        inner = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream

        async def respond_once(request: Any, context: Context) -> Any:
            return await self._respond_once(method, inner, request, context)

        often = functools.partial(self._respond_often, method, inner)
        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        wrapped: Handler = make(
            often if handler.response_streaming else respond_once,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return wrapped

    async def _respond_once(self, method: str, inner: Callable[..., Any], request: Any, context: Context) -> Any:
        async with self._call(method, context):
            allowed_s = deadline.allowed_s(context.time_remaining())
            deadline.begin(allowed_s)
            limit = asyncio.timeout(allowed_s)
            try:
                async with limit:
                    return await inner(request, context)
            except TimeoutError:
                if limit.expired():
                    raise deadline.exceeded() from None
                raise

    async def _respond_often(
        self, method: str, inner: Callable[..., Any], request: Any, context: Context
    ) -> AsyncIterator[Any]:
        """Streams have no limit of their own; they end with their connection's age at the latest."""
        async with self._call(method, context):
            responses = inner(request, context)
            if hasattr(responses, "__aiter__"):
                async for response in responses:
                    yield response
            else:
                await responses

    @contextlib.asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[None]:
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        server = spans.ServerSpan(metadata.get(TRACEPARENT), metadata.get(REQUEST_ID))
        context.set_trailing_metadata(((REQUEST_ID, server.request_id),))
        outcome = _Outcome()
        try:
            try:
                if not method.startswith(WITHOUT_TOKEN):
                    await self._authentication.begin(metadata.get(AUTHORIZATION, ""))
                yield
                outcome.code = _code_of(context)
            except grpc.aio.AbortError as error:
                outcome = _Outcome(_code_of(context), aborted=error)
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                # Of something that the method waited for; grpc would send no answer (grpc#29248).
                outcome = _failed(method, RuntimeError("cancelled, but not by the caller"))
            except Exception as error:  # noqa: BLE001 - reported as a status
                outcome = _failed(method, error)
            await outcome.send(context, server.request_id)
        finally:
            seconds = server.seconds()
            _calls(method, outcome.code.name).inc()
            _duration(method).observe(seconds, exemplar())
            _record(server, method, outcome, seconds)


def _record(server: spans.ServerSpan, method: str, outcome: _Outcome, seconds: float) -> None:
    failed = outcome.error is not None or outcome.code in FAULTS
    if server.is_recorded(seconds, failed=failed):
        spans.annotate(outcome.error)
        attributes = {**span_attributes(method), STATUS_ATTRIBUTE: outcome.code.value[0]}
        server.end(method[1:], attributes, failed=outcome.code.name if failed else "")


@dataclass(slots=True)
class _Outcome:
    """How a call ends: with a status of the method's own, by its ``abort()``, or with a problem."""

    code: grpc.StatusCode = grpc.StatusCode.CANCELLED
    aborted: grpc.aio.AbortError | None = None
    problem: Problem | None = None
    error: Exception | None = None
    """What went wrong on our side."""

    async def send(self, context: Context, request_id: str) -> None:
        if self.aborted is not None:
            raise self.aborted
        if self.problem is not None:
            trailers = ((REQUEST_ID, request_id), *problems.trailing_metadata(self.problem))
            await context.abort(self.code, self.problem.detail[:MAX_DETAIL_CHARACTERS], trailers)


def _failed(method: str, error: Exception) -> _Outcome:
    problem = _problem(method, error)
    fault = error if problem.status >= FIRST_FAULT_STATUS else None
    return _Outcome(problems.status_code(problem), problem=problem, error=fault)


def _is_cancelled() -> bool:
    """Whether the current task itself is cancelled: the caller is gone, or the server has stopped waiting."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _code_of(context: Context) -> grpc.StatusCode:
    """What the method set or aborted with; nothing is OK."""
    code: Any = context.code()
    return problems.BY_NUMBER.get(code, grpc.StatusCode.OK) if isinstance(code, int) else code or grpc.StatusCode.OK


def span_attributes(method: str) -> dict[str, str | int | float | bool]:
    """OpenTelemetry's names for /package.Service/Method."""
    service, _, name = method[1:].rpartition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


def _problem(method: str, error: Exception) -> Problem:
    """What the caller learns of an error; one line of the log has the rest."""
    problem = known_problem(error)
    if problem is None:
        log.error("call failed", exc_info=error, extra={"event": "call_failed", "method": method})
        return Problem(500, "internal_error", "Something went wrong on our side.")
    level = logging.INFO if problem.status < FIRST_FAULT_STATUS else logging.WARNING
    log.log(level, "call refused: %s", error, extra={"event": "call_refused", "method": method, "code": problem.code})
    return problem
