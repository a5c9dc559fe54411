"""Problems as gRPC statuses: the status for gRPC's own rules, and the problem document in trailing metadata."""

from __future__ import annotations

from typing import Any, Final

import grpc
import orjson

from shop.kit.errors import Problem

CODE: Final = "problem-code"
"""Trailing metadata with the problem's stable code."""
DOCUMENT: Final = "problem-bin"
"""Trailing metadata with the problem document as JSON, unless it is larger than MAX_DOCUMENT_BYTES."""
MAX_DOCUMENT_BYTES = 4_096
MAX_DETAIL_CHARACTERS = 500
STANDARD_MEMBERS = frozenset({"type", "title", "status", "detail", "code", "errors", "trace_id"})
FIRST_FAULT_STATUS = 500

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

Metadata = tuple[tuple[str, str | bytes], ...]


def status_code(problem: Problem) -> grpc.StatusCode:
    """The gRPC status of a problem's HTTP status."""
    other = grpc.StatusCode.FAILED_PRECONDITION if problem.status < FIRST_FAULT_STATUS else grpc.StatusCode.INTERNAL
    return STATUS_CODES.get(problem.status, other)


def trailing_metadata(problem: Problem) -> Metadata:
    document = orjson.dumps(problem.body(), default=str)
    if len(document) > MAX_DOCUMENT_BYTES:
        document = orjson.dumps({"status": problem.status, "code": problem.code})
    return (CODE, problem.code), (DOCUMENT, document)


def problem_of(error: grpc.aio.AioRpcError) -> Problem | None:
    """The problem that the service raised; None when it raised none, or one of its own faults (5xx)."""
    metadata: dict[str, Any] = dict(error.trailing_metadata() or ())
    try:
        document = orjson.loads(metadata[DOCUMENT])
        status = int(document["status"])
        if status >= FIRST_FAULT_STATUS:
            return None
        return Problem(
            status,
            str(document["code"]),
            str(document.get("detail") or error.details() or "")[:MAX_DETAIL_CHARACTERS],
            errors=document.get("errors"),
            extra={name: value for name, value in document.items() if name not in STANDARD_MEMBERS},
        )
    except (ValueError, KeyError, TypeError):
        return None
