"""The API server's error responses as exceptions."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import orjson

from shop.operator.errors import reason_of
from shop.operator.kube.objects import Object

MAX_MESSAGE = 2_000


class ApiError(Exception):
    """An error response of the API server, or no response; `message` is one sentence for a person."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.retry_after_s = status, reason, message, retry_after_s


class NotFound(ApiError):
    """404: no such object, or no such kind."""


class Conflict(ApiError):
    """409: it exists already, has changed since, or other managers own the fields."""


class Gone(ApiError):
    """410: the resource version is too old; list again."""


class Invalid(ApiError):
    """422: the server refuses the object as it is."""


class Unreachable(ApiError):
    """No response. The request may have been carried out."""


class WatchIdleTimeout(Unreachable):
    """A stream was begun and nothing came for a long time."""


_ERRORS: Mapping[int, type[ApiError]] = {404: NotFound, 409: Conflict, 410: Gone, 422: Invalid}
TRANSIENT = frozenset({429, 500, 502, 503, 504})
"""Worth a retry a little later."""


async def error_from_response(response: aiohttp.ClientResponse) -> ApiError:
    """The error for a response of 400 and above."""
    body = await response.read()
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = {"message": body.decode(errors="replace").strip()}
    return error_of(response.status, status if isinstance(status, dict) else {}, response.headers.get("Retry-After"))


def error_of(code: int, status: Object, retry_after: str | None = None) -> ApiError:
    """The error for a status code and the Status object that came with it; `retry_after` is the header's."""
    wait = str((status.get("details") or {}).get("retryAfterSeconds") or retry_after or "")
    seconds = float(wait) if wait.isdigit() else None
    message = (status.get("message") or f"the API server answered {code}")[:MAX_MESSAGE]
    return _ERRORS.get(code, ApiError)(code, status.get("reason") or "", message, seconds)


def no_response(method: str, path: str, error: Exception) -> Unreachable:
    """The error for a request without a response; "NotSent" when it certainly was not carried out."""
    sent = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    return Unreachable(0, "NoAnswer" if sent else "NotSent", f"API server: {method} {path}: {reason_of(error)}")
