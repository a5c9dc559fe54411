"""Errors as RFC 9457 problem+json, each with a stable ``code`` for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypedDict

import asyncpg
import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from shop.kit import telemetry

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
INVALID_REQUEST = "The request is not valid."
MAX_FIELD_ERRORS = 20
STANDARD_MEMBERS = frozenset({"type", "title", "status", "detail", "code", "errors", "trace_id"})
MAX_DETAIL_CHARACTERS = 500
"""Of a problem that another service wrote."""

CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    503: "unavailable",
}

DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {
        "description": what,
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "title": "Problem",
                    "type": "object",
                    "required": ["type", "title", "status", "detail", "code", "trace_id"],
                    "properties": {
                        **{name: {"type": "string"} for name in ("type", "title", "detail", "code", "trace_id")},
                        "status": {"type": "integer"},
                        "errors": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["field", "message"],
                                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                            },
                        },
                    },
                }
            }
        },
    }
    for status, what in (("4XX", "The request was refused; `code` says why."), ("503", "Try again after Retry-After."))
}
"""Every operation's failures, for its OpenAPI document."""


class FieldError(TypedDict):
    field: str
    message: str


class Problem(Exception):
    """An error answer: HTTP ``status``, stable ``code``, a sentence for people in ``detail``.

    ``extra`` members are added to the standard ones, for example the remaining stock.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors or ())
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def body(self) -> dict[str, Any]:
        """The members of the problem document."""
        document: dict[str, Any] = {
            "type": f"urn:shop:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            document["errors"] = self.errors
        return document | self.extra | {"trace_id": telemetry.trace_id()}

    @classmethod
    def read(cls, status: int, document: Any, *, headers: Mapping[str, str] | None = None) -> Problem | None:
        """The problem of another service's document; None when it is none."""
        try:
            return cls(
                status,
                str(document["code"]),
                str(document["detail"])[:MAX_DETAIL_CHARACTERS],
                errors=document.get("errors"),
                headers=headers,
                extra={name: value for name, value in document.items() if name not in STANDARD_MEMBERS},
            )
        except (KeyError, TypeError):
            return None

    def response(self) -> Response:
        return Response(orjson.dumps(self.body()), self.status, headers=self.headers, media_type=MEDIA_TYPE)


class Unavailable(Exception):
    """A dependency (a service, the database, the broker) did not carry out the request, and may later."""

    def __init__(self, service: str, detail: str = "") -> None:
        super().__init__(detail or f"{service} is unavailable")
        self.service = service


class OutcomeUnknown(Unavailable):
    """The request was sent and not answered: it may have been carried out."""


def encoded_body(encoding: str) -> Problem | None:
    """The refusal of a compressed request body: a small one could decompress to a huge one."""
    if encoding.strip().lower() in ("", "identity"):
        return None
    headers = {"Accept-Encoding": "identity"}
    return Problem(415, "unsupported_content_encoding", "A request body is sent without compression.", headers=headers)


def unavailable_problem(error: Unavailable) -> Problem:
    return Problem(
        503,
        f"{error.service}_unavailable",
        f"{error.service} is not available at the moment; please try again.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def invalid_field(field: str, message: str) -> Problem:
    """The 422 for one field."""
    return Problem(422, "invalid_request", INVALID_REQUEST, errors=[{"field": field, "message": message}])


def validation_problem(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """A 422 that names each invalid field, at most MAX_FIELD_ERRORS of them."""
    fields: list[FieldError] = [
        {"field": ".".join(str(part) for part in error["loc"][1:]) or str(error["loc"][0]), "message": error["msg"]}
        for error in errors[:MAX_FIELD_ERRORS]
    ]
    return Problem(422, "invalid_request", INVALID_REQUEST, errors=fields)


def known_problem(error: Exception) -> Problem | None:
    """The problem that an error is answered with; None for an unexpected error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, asyncpg.TransactionRollbackError):
        # A deadlock or serialization failure: this transaction was rolled back.
        return unavailable_problem(Unavailable("database", str(error)))
    if isinstance(error, asyncpg.DataError):
        return Problem(422, "invalid_value", "A value is out of range or has characters that cannot be stored.")
    return unavailable_problem(error) if isinstance(error, Unavailable) else None


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of ``app`` with a problem document."""

    async def _known(_: Request, error: Exception) -> Response:
        problem = known_problem(error)
        assert problem is not None  # noqa: S101 - only these types are registered
        return problem.response()

    for kind in (Problem, Unavailable, asyncpg.TransactionRollbackError, asyncpg.DataError):
        app.exception_handler(kind)(_known)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> Response:
        return validation_problem(error.errors()).response()

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        code = CODES.get(error.status_code, "error")
        return Problem(error.status_code, code, str(error.detail), headers=error.headers).response()
