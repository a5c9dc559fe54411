"""Which service answers a path, and who may call it: pure functions over the table in services.py."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from shop.gateway import services
from shop.kit.errors import Problem
from shop.kit.idempotency import IDEMPOTENCY_KEY
from shop.kit.methods import IDEMPOTENT, READS

API_PREFIX = "/api/v1/"

OWN: Final = frozenset({"health", "metrics", "docs", "redoc", "openapi.json"})
"""First segments that the gateway answers itself."""
OWN_API: Final = "services"
"""The segment after /api/v1/ that the gateway answers itself."""
NOT_ROUTED: Final = frozenset({"internal", "api"})
"""First segments that are not routed: calls between services, and paths beside the API's version."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SIGN_IN: Final = frozenset(services.SIGN_IN)
PUBLIC_READS: Final = frozenset(services.PUBLIC_READS)


def routes_of_services() -> Iterator[tuple[str, str]]:
    """Each service with the routes that metrics name for it."""
    for noun, service in services.API.items():
        yield service, f"{API_PREFIX}{noun}"
    for path in services.EVENT_STREAMS:
        yield services.API[path.removeprefix(API_PREFIX).split("/", 1)[0]], path
    for first, service in services.PREFIXES.items():
        yield service, f"/{first}"
    yield services.FALLBACK, PAGES


def _pattern(template: str, ending: str = "") -> str:
    """A regular expression of a path such as /api/v1/orders/{id}/events."""
    return re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)) + ending


PUBLIC_POSTS = re.compile("|".join(_pattern(path) for path in services.PUBLIC_POSTS))
KEYED = re.compile("|".join(_pattern(path, "/?") for path in services.IDEMPOTENCY_KEYS))
EVENT_STREAMS = tuple((re.compile(_pattern(path)), path) for path in services.EVENT_STREAMS)
ENCODED_SEPARATOR = re.compile(rb"%(?:2f|5c|00)", re.IGNORECASE)
BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
REPLACEMENT = "\ufffd"
MAX_PATH_BYTES = 2_048


@dataclass(frozen=True, slots=True)
class Target:
    """The service of a request. ``path`` names the route in metrics: there are only as many as the table has."""

    service: str
    path: str
    api: bool
    needs_token: bool = False
    signs_in: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    code: str
    detail: str

    def problem(self) -> Problem:
        """The answer; a 405 names the allowed methods, as RFC 9110 requires."""
        headers = {"Allow": ", ".join(sorted(METHODS))} if self.status == 405 else None
        return Problem(self.status, self.code, self.detail, headers=headers)


PAGES: Final = "/{page}"
OWN_TARGET = Target("gateway", "own", api=False)
STOREFRONT_TARGET = Target(services.FALLBACK, PAGES, api=False)
STOREFRONT_SIGN_IN = Target(services.FALLBACK, PAGES, api=False, signs_in=True)
NOT_FOUND = Refusal(404, "not_found", "There is no such path.")
UNKNOWN_SERVICE = Refusal(404, "unknown_service", "No service of this shop has this name.")


def route(method: str, path: str, raw_path: bytes) -> Target | Refusal:
    """The target of a request; ``path`` is decoded, as the service will decode it, ``raw_path`` is as sent.

    A path that two programs could read differently is refused: encoded slashes, dot segments, doubled slashes,
    backslashes, control characters, and what is not UTF-8.
    """
    refusal = _check_path(path, raw_path)
    if refusal:
        return refusal
    if method not in METHODS:
        return Refusal(405, "method_not_allowed", "This method is not supported.")
    if path.startswith(API_PREFIX):
        return _route_api(method, path)
    first = path[1:].split("/", 1)[0]
    if first in OWN:
        return OWN_TARGET
    if first in NOT_ROUTED:
        return NOT_FOUND
    if first in services.PREFIXES:
        return Target(services.PREFIXES[first], f"/{first}", api=False)
    return STOREFRONT_SIGN_IN if _signs_in(method, path) else STOREFRONT_TARGET


def _signs_in(method: str, path: str) -> bool:
    return method == "POST" and path.rstrip("/") in SIGN_IN


def _route_api(method: str, path: str) -> Target | Refusal:
    noun = path[len(API_PREFIX) :].split("/", 1)[0]
    if noun == OWN_API:
        return OWN_TARGET
    service = services.API.get(noun)
    if service is None:
        return UNKNOWN_SERVICE
    name = next((template for pattern, template in EVENT_STREAMS if pattern.fullmatch(path)), f"{API_PREFIX}{noun}")
    return Target(service, name, True, not is_public(method, path, noun), _signs_in(method, path))


def is_public(method: str, path: str, noun: str) -> bool:
    """Whether the request needs no access token. The methods of a path (OPTIONS) are public."""
    if method == "OPTIONS":
        return True
    if method in READS:
        return noun in PUBLIC_READS or noun == OWN_API
    return method == "POST" and bool(PUBLIC_POSTS.fullmatch(path.rstrip("/")))


def is_repeatable(method: str, path: str, headers: Iterable[tuple[str, str]]) -> bool:
    """Whether a request may be carried out twice with the effect of once; header names in lower case."""
    return method in IDEMPOTENT or _is_keyed(method, path, headers)


def is_safe(method: str, path: str, headers: Iterable[tuple[str, str]]) -> bool:
    """Whether it may be sent again after an answer: a read, or what its service keeps the answer of by a key.

    A second DELETE or PUT has no further effect, but after the first one its answer may be another.
    """
    return method in READS or _is_keyed(method, path, headers)


def _is_keyed(method: str, path: str, headers: Iterable[tuple[str, str]]) -> bool:
    return (
        method == "POST" and bool(KEYED.fullmatch(path)) and any(name == IDEMPOTENCY_KEY.lower() for name, _ in headers)
    )


def _check_path(path: str, raw_path: bytes) -> Refusal | None:
    if len(raw_path) > MAX_PATH_BYTES:
        return Refusal(414, "path_too_long", f"A path has at most {MAX_PATH_BYTES} bytes.")
    if b"%" in raw_path and (ENCODED_SEPARATOR.search(raw_path) or BAD_ESCAPE.search(raw_path)):
        return _malformed("an escape that is not allowed")
    if not path.startswith("/") or "//" in path or CONTROL.search(path):
        return _malformed("a character or an empty segment that is not allowed")
    if REPLACEMENT in path and not _is_utf8(raw_path):
        return _malformed("bytes that are not UTF-8")
    if "/." in path and any(segment in (".", "..") for segment in path.split("/")):
        return _malformed("a dot segment")
    return None


def _is_utf8(raw_path: bytes) -> bool:
    try:
        unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _malformed(what: str) -> Refusal:
    return Refusal(400, "malformed_path", f"The path has {what}.")
