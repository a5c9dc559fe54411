"""Routes with strict JSON parsing: whatever reaches a handler is unambiguous and can be stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from shop.kit.errors import DOCUMENTED, Problem
from shop.kit.idempotency import IDEMPOTENCY_KEY

JSON_TYPES = ("application/json", "application/merge-patch+json")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise Problem(400, "duplicate_key", "A JSON object names the same key twice.")
    return document


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def parse_json(body: bytes) -> Any:
    """Parse ``body``; Problem 400 for malformed text, invalid UTF-8, duplicate keys, NaN and NUL characters."""
    try:
        text = body.decode("utf-8")
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Problem(400, "invalid_utf8", "The body is not valid UTF-8.") from None
    except (ValueError, RecursionError):
        raise Problem(400, "malformed_body", "The body is not valid JSON.") from None
    if "\\u0000" in text or "\\ud8" in text.lower() or "\\ud9" in text.lower() or "\\udc" in text.lower():
        _refuse_unstorable(document)
    return document


def _refuse_unstorable(document: Any) -> None:
    """NUL and lone surrogates are legal in JSON text but not in a database's."""
    text = json.dumps(document, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Problem(400, "invalid_utf8", "A string has a lone surrogate.") from None
    if "\\u0000" in text:
        raise Problem(400, "nul_character", "A string has a NUL character.")


class StrictRoute(APIRoute):
    """Answers 415 to a body that is not declared as JSON, and 400 to one that is not JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        reads_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            if "\x00" in request.scope["path"] or b"%00" in request.scope["query_string"]:
                raise Problem(400, "nul_character", "The address has a NUL character.")
            # With two keys, two programs could read different ones.
            if len(request.headers.getlist(IDEMPOTENCY_KEY)) > 1:
                raise Problem(400, "ambiguous_request", f"The header {IDEMPOTENCY_KEY} may be sent once.")
            if reads_body:
                await _read_strictly(request)
            return await handle(request)

        return strict


async def _read_strictly(request: Request) -> None:
    """Store the parsed body where the framework looks first: an error raised inside its own parsing loses its code."""
    body = await request.body()
    if not body:
        return
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared not in JSON_TYPES:
        raise Problem(415, "unsupported_media_type", "Send the body as application/json.")
    request._json = parse_json(body)


def operation_id(route: APIRoute) -> str:
    """The name of the handler: clients that are generated name their methods by it."""
    return route.name


def router(**options: Any) -> APIRouter:
    """An APIRouter whose routes read JSON strictly, and are complete without an application's defaults."""
    return APIRouter(route_class=StrictRoute, responses=DOCUMENTED, generate_unique_id_function=operation_id, **options)
