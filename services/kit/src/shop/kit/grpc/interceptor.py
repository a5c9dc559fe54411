"""What every call of a gRPC server passes: trace context, request id, token, deadline, errors, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from prometheus_client import Counter, Histogram

from shop.kit import telemetry
from shop.kit.errors import Problem, known_problem
from shop.kit.grpc import deadline, problems

log = logging.getLogger(__name__)

BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CALLS = Counter("shop_grpc_requests_total", "gRPC calls answered", ["method", "code"])
DURATION = Histogram("shop_grpc_request_duration_seconds", "Time to the end of the answer", ["method"], buckets=BUCKETS)
UNMATCHED = "unmatched"
REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
AUTHORIZATION = "authorization"
WITHOUT_TOKEN = "/grpc.health.v1.Health/"
"""Probes have no token."""

type Handler = grpc.RpcMethodHandler[Any, Any]
type Context = grpc.aio.ServicerContext[Any, Any]


class ServerInterceptor(grpc.aio.ServerInterceptor):
    """Only methods that exist become labels of metrics. Callers must have the token that the services share."""

    def __init__(self, internal_token: str) -> None:
        self._internal_token = internal_token

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler: Any = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None:
            CALLS.labels(UNMATCHED, grpc.StatusCode.UNIMPLEMENTED.name).inc()
            return None
        make, respond = {
            (False, False): (grpc.unary_unary_rpc_method_handler, self._respond_once),
            (True, False): (grpc.stream_unary_rpc_method_handler, self._respond_once),
            (False, True): (grpc.unary_stream_rpc_method_handler, self._respond_often),
            (True, True): (grpc.stream_stream_rpc_method_handler, self._respond_often),
        }[handler.request_streaming, handler.response_streaming]
        inner = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream
        return make(
            functools.partial(respond, method, inner),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

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
        started = time.perf_counter()
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        request_id = telemetry.begin_request(metadata.get(TRACEPARENT), metadata.get(REQUEST_ID))
        context.set_trailing_metadata(((REQUEST_ID, request_id),))
        code = grpc.StatusCode.CANCELLED
        try:
            self._authorize(method, metadata.get(AUTHORIZATION, ""))
            yield
            code = _code_of(context)
        except grpc.aio.AbortError:
            code = _code_of(context)
            raise
        except Exception as error:  # noqa: BLE001 - reported as a status
            problem = _problem(method, error)
            code = problems.status_code(problem)
            await context.abort(code, problem.detail, ((REQUEST_ID, request_id), *problems.trailing_metadata(problem)))
        finally:
            CALLS.labels(method, code.name).inc()
            DURATION.labels(method).observe(time.perf_counter() - started)

    def _authorize(self, method: str, authorization: str) -> None:
        if method.startswith(WITHOUT_TOKEN):
            return
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Problem(401, "token_missing", "This needs the token that the shop's services share.")
        if not self._internal_token or not hmac.compare_digest(token.strip().encode(), self._internal_token.encode()):
            raise Problem(403, "internal_only", "Only the shop's own services may ask this.")


def _code_of(context: Context) -> grpc.StatusCode:
    """What the servicer set; nothing and 0 are OK."""
    code: Any = context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.OK


def _problem(method: str, error: Exception) -> Problem:
    """What the caller learns of an error; one line of the log has the rest."""
    problem = known_problem(error)
    if problem is None:
        log.error("call failed", exc_info=error, extra={"method": method})
        return Problem(500, "internal_error", "Something went wrong on our side.")
    level = logging.INFO if problem.status < problems.FIRST_FAULT_STATUS else logging.WARNING
    log.log(level, "call refused: %s", error, extra={"method": method, "code": problem.code})
    return problem
