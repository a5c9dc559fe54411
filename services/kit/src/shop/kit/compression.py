"""Compression of public answers.

The length of a compressed answer reveals secrets beside text that an attacker controls (BREACH). So only answers whose
handler declares them ``public`` in Cache-Control are compressed: files, documents, the catalogue. Pages with a form's
token or personal data are never public, nor are answers that set a cookie. See ADR 0021.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable, Mapping
from functools import lru_cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIN_BYTES = 1_024
"""A smaller body fits into one packet."""
MAX_BYTES = 8_388_608
"""The body is buffered before it is compressed; a larger one is sent as it is."""
IN_THREAD_BYTES = 65_536
"""From this size on compression would block the event loop for more than about a millisecond."""
LEVEL = 6
SMALL_BYTES = 8_192
SMALL_LEVEL = 1
"""Of bodies up to SMALL_BYTES: a page of JSON of 2,460 bytes becomes 825 bytes instead of 802, in a quarter of the
time."""
KNOWN_HEADERS = 64
MAX_KNOWN_BYTES = 256
"""Of an Accept-Encoding that is remembered."""
CACHED_BODIES = 16
"""Compressed bodies kept in memory: those with an ETag, which are requested often."""

TYPES = frozenset(
    {
        *(b"application/javascript", b"application/json", b"application/problem+json", b"application/xml"),
        *(b"image/svg+xml", b"text/css", b"text/html", b"text/javascript", b"text/plain", b"text/xml"),
    }
)
PUBLIC_NOW = {"Cache-Control": "public, no-cache"}
"""For a public answer that must be revalidated each time."""
type Header = tuple[bytes, bytes]
GZIP = "gzip"
IDENTITY = "identity"


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip is preferred to no compression, or equally, by the q-values of RFC 9110, section 12.5.3."""
    weights = dict(_weights(accept_encoding))
    weight = weights.get(GZIP, weights.get("x-gzip", weights.get("*", 0.0)))
    return weight > 0 and weight >= weights.get(IDENTITY, 0.0)


def _weights(accept_encoding: str) -> Iterable[tuple[str, float]]:
    for part in accept_encoding.lower().split(","):
        coding, *parameters = (piece.strip() for piece in part.split(";"))
        yield coding, _weight(parameters)


def _weight(parameters: Iterable[str]) -> float:
    """A coding's q-value; 0 for one that is no number from 0 to 1."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0


def matches(if_none_match: str, etag: str) -> bool:
    """Whether the client has the version of ``etag``: RFC 9110's weak comparison with a list of tags, or ``*``."""
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in known or etag.removeprefix("W/") in known


def is_public(headers: Mapping[bytes, bytes]) -> bool:
    """Whether an answer is the same for everybody, so that its length reveals nothing."""
    if b"set-cookie" in headers or b"cache-control" not in headers:
        return False
    directives = {part.strip() for part in headers[b"cache-control"].lower().split(b",")}
    return b"public" in directives and b"no-transform" not in directives


class Compress:
    """Middleware, inside ``Methods``, which takes the headers of an answer to HEAD from the answer to GET."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _CompressedResponse(send, scope["headers"]).send)


class _CompressedResponse:
    def __init__(self, send: Send, request_headers: Iterable[Header]) -> None:
        self._send = send
        self._request_headers = request_headers
        self._start: Message | None = None
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start, bytes(self._body))

    async def _begin(self, start: Message) -> None:
        """Delay the head of an answer that will be compressed: its length is not known yet."""
        sent: list[Header] = list(start["headers"])
        given = {name.lower(): value for name, value in reversed(sent)}  # of two with one name the first one counts
        if not is_public(given) or not _may_be_compressed(start["status"], given):
            await self._send(start)
            return
        headers = _without(sent, b"vary", b"etag")
        vary = [value for name, value in sent if name.lower() == b"vary"]
        headers.append((b"vary", b", ".join([*vary, b"Accept-Encoding"])))
        if etag := given.get(b"etag"):
            # A tag shared by two encodings must be weak.
            headers.append((b"etag", etag if etag.startswith(b"W/") else b"W/" + etag))
        start["headers"] = headers
        if start["status"] == 200 and self._accepts():
            self._start = start
        else:
            await self._send(start)

    def _accepts(self) -> bool:
        accept = next((value for name, value in self._request_headers if name == b"accept-encoding"), b"")
        return _known(accept) if len(accept) <= MAX_KNOWN_BYTES else accepts_gzip(accept.decode("latin-1"))

    async def _finish(self, start: Message, body: bytes) -> None:
        compress = _cached if any(name == b"etag" for name, _ in start["headers"]) else _compressed
        small = await asyncio.to_thread(compress, body) if len(body) >= IN_THREAD_BYTES else compress(body)
        headers = _without(start["headers"], b"content-length", b"accept-ranges")
        start["headers"] = [*headers, (b"content-encoding", GZIP.encode()), (b"content-length", b"%d" % len(small))]
        await self._send(start)
        await self._send({"type": "http.response.body", "body": small})


def _may_be_compressed(status: int, headers: Mapping[bytes, bytes]) -> bool:
    """Whether this answer, or the one that a 304 stands for, has two encodings."""
    if status == 304:
        return True
    length = headers.get(b"content-length", b"")
    return (
        status == 200
        and b"content-encoding" not in headers
        and headers.get(b"content-type", b"").partition(b";")[0].strip().lower() in TYPES
        and length.isdigit()
        and MIN_BYTES <= int(length) <= MAX_BYTES
    )


def _without(headers: Iterable[Header], *names: bytes) -> list[Header]:
    return [(name, value) for name, value in headers if name.lower() not in names]


@lru_cache(KNOWN_HEADERS)
def _known(accept_encoding: bytes) -> bool:
    """What `accepts_gzip` says: clients send few different headers."""
    return accepts_gzip(accept_encoding.decode("latin-1"))


def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, SMALL_LEVEL if len(body) <= SMALL_BYTES else LEVEL, mtime=0)


_cached = lru_cache(CACHED_BODIES)(_compressed)
