"""Problems as gRPC statuses, with google.rpc's details for any client and the problem document for the kit's own."""

from __future__ import annotations

from typing import Any, Final

import grpc
import orjson
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from shop.kit import telemetry
from shop.kit.errors import MAX_DETAIL_CHARACTERS, Problem
from shop.kit.http.connections import FIRST_FAULT_STATUS

CODE: Final = "problem-code"
"""Trailing metadata with the problem's stable code."""
DOCUMENT: Final = "problem-bin"
"""Trailing metadata with the problem document as JSON, unless it is larger than MAX_DOCUMENT_BYTES."""
DETAILS: Final = "grpc-status-details-bin"
"""Trailing metadata with a google.rpc.Status: ErrorInfo, and BadRequest for fields that are not valid."""
DOMAIN: Final = "shop"
"""Of ErrorInfo, whose reason is the problem's code."""
MAX_DOCUMENT_BYTES = 2_048
MAX_DETAILS_BYTES = 2_048
"""Clients refuse metadata above 8 KiB; binary values are a third larger on the wire."""

STATUS_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
BY_NUMBER: Final = {code.value[0]: code for code in grpc.StatusCode}

Metadata = tuple[tuple[str, str | bytes], ...]


def status_code(problem: Problem) -> grpc.StatusCode:
    """The gRPC status of a problem's HTTP status."""
    other = grpc.StatusCode.FAILED_PRECONDITION if problem.status < FIRST_FAULT_STATUS else grpc.StatusCode.INTERNAL
    return STATUS_CODES.get(problem.status, other)


def trailing_metadata(problem: Problem) -> Metadata:
    document = orjson.dumps(problem.body(), default=str)
    if len(document) > MAX_DOCUMENT_BYTES:
        document = orjson.dumps({"status": problem.status, "code": problem.code})
    return (CODE, problem.code), (DOCUMENT, document), (DETAILS, _details(problem))


def _details(problem: Problem) -> bytes:
    info = ErrorInfo(reason=problem.code, domain=DOMAIN, metadata={"trace_id": telemetry.trace_id()})
    for name, value in problem.extra.items():
        info.metadata[name] = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    fields = BadRequest(
        field_violations=[
            BadRequest.FieldViolation(field=error["field"], description=error["message"]) for error in problem.errors
        ]
    )
    encoded = _status(problem, info, *([fields] if problem.errors else []))
    if len(encoded) <= MAX_DETAILS_BYTES:
        return encoded
    return _status(problem, ErrorInfo(reason=problem.code, domain=DOMAIN))


def _status(problem: Problem, *details: ErrorInfo | BadRequest) -> bytes:
    number: int = status_code(problem).value[0]
    status = Status(code=number, message=problem.detail[:MAX_DETAIL_CHARACTERS])
    for detail in details:
        status.details.add().Pack(detail)
    encoded: bytes = status.SerializeToString()
    return encoded


def problem_of(error: grpc.aio.AioRpcError) -> Problem | None:
    """The problem that the service raised; None when it raised none, or one of its own faults (5xx)."""
    metadata: dict[str, Any] = dict(error.trailing_metadata() or ())
    try:
        document = orjson.loads(metadata[DOCUMENT])
        status = int(document["status"])
    except (ValueError, KeyError, TypeError):
        return None
    if status >= FIRST_FAULT_STATUS:
        return None
    return Problem.read(status, document | {"detail": document.get("detail") or error.details() or ""})
