"""Which answers are compressed: what is the same for everybody, large enough and of a type that shrinks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi.responses import Response, StreamingResponse

from shop.devkit.testing import Running, Tokens
from shop.kit.app import create_app
from shop.kit.compression import MAX_BYTES, MIN_BYTES, accepts_gzip, matches
from shop.kit.routing import router
from shop.kit.settings import ServiceSettings

PUBLIC = "public, max-age=60"
TEXT = b"many words, and many words again. " * 200
GZIP = {"Accept-Encoding": "gzip"}
PLAIN = {"Accept-Encoding": "identity"}

api = router()


class Settings(ServiceSettings):
    service = "kit"


@api.get("/text")
async def text(
    cache: str = PUBLIC, media_type: str = "text/plain", size: int = len(TEXT), cookie: str = "", etag: str = ""
) -> Response:
    headers = {"Cache-Control": cache} | ({"ETag": etag} if etag else {})
    answer = Response((TEXT * (size // len(TEXT) + 1))[:size], media_type=media_type, headers=headers)
    if cookie:
        answer.set_cookie("session", cookie)
    return answer


@api.get("/encoded")
async def encoded() -> Response:
    return Response(TEXT, media_type="text/plain", headers={"Cache-Control": PUBLIC, "Content-Encoding": "br"})


@api.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield TEXT

    return StreamingResponse(pieces(), media_type="text/plain", headers={"Cache-Control": PUBLIC})


@pytest.fixture
async def client(tokens: Tokens, running: Running) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(jwks_url=tokens.jwks_url), title="Texts", routers=[api], uses_bus=False)
    async with running(app) as client:
        yield client


async def raw(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> tuple[httpx.Response, bytes]:
    """The answer and its body as it was sent."""
    async with client.stream("GET", path, headers=headers) as answer:
        return answer, b"".join([chunk async for chunk in answer.aiter_raw()])


async def test_public_answers_are_compressed_and_declare_it(client: httpx.AsyncClient) -> None:
    answer, body = await raw(client, "/text", GZIP)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Length"] == str(len(body))
    assert len(body) < len(TEXT) / 4
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert (await client.get("/text", headers=GZIP)).content == TEXT


async def test_the_same_answer_uncompressed_varies_too(client: httpx.AsyncClient) -> None:
    answer, body = await raw(client, "/text", PLAIN)
    assert "Content-Encoding" not in answer.headers
    assert (answer.headers["Vary"], body) == ("Accept-Encoding", TEXT)


@pytest.mark.parametrize(
    "query",
    [
        {"cache": "no-store"},
        {"cache": "private, no-cache"},
        {"cache": ""},
        {"cache": "public, no-transform"},
        {"cookie": "secret"},
        {"media_type": "image/png"},
        {"media_type": "text/event-stream"},
        {"size": MIN_BYTES - 1},
        {"size": MAX_BYTES + 1},
    ],
    ids=str,
)
async def test_personal_small_large_and_compressed_answers_are_sent_unchanged(
    client: httpx.AsyncClient, query: dict[str, str | int]
) -> None:
    answer = await client.get("/text", params=query, headers=GZIP)
    assert answer.status_code == 200
    assert "Content-Encoding" not in answer.headers
    assert "Vary" not in answer.headers


async def test_an_encoded_answer_is_not_encoded_again(client: httpx.AsyncClient) -> None:
    answer, body = await raw(client, "/encoded", GZIP)
    assert (answer.headers["Content-Encoding"], body) == ("br", TEXT)


async def test_a_stream_is_forwarded_chunk_by_chunk(client: httpx.AsyncClient) -> None:
    answer, body = await raw(client, "/stream", GZIP)
    assert ("Content-Encoding" in answer.headers, body) == (False, TEXT * 3)


@pytest.mark.parametrize("headers", [GZIP, PLAIN], ids=["gzip", "identity"])
async def test_head_has_the_headers_of_get(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    head, get = [await client.request(method, "/text", headers=headers) for method in ("HEAD", "GET")]
    assert head.content == b""
    for name in ("Content-Length", "Content-Encoding", "Content-Type", "Vary", "Cache-Control"):
        assert head.headers.get(name) == get.headers.get(name)


async def test_one_tag_for_two_encodings_is_weak(client: httpx.AsyncClient) -> None:
    for headers in (GZIP, PLAIN):
        assert (await client.get("/text?etag=%22a%22", headers=headers)).headers["ETag"] == 'W/"a"'


@pytest.mark.parametrize("asset", ["swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js"])
async def test_documentation_is_compressed_and_not_sent_twice(client: httpx.AsyncClient, asset: str) -> None:
    path = f"/docs/assets/{asset}"
    answer, body = await raw(client, path, GZIP)
    assert len(body) < len((await client.get(path, headers=PLAIN)).content) / 2
    again = await client.get(path, headers=GZIP | {"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content, again.headers["Vary"]) == (304, b"", "Accept-Encoding")


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("gzip", True),
        ("br, GZIP ; q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("gzip;q=1.0, identity;q=0.5", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("gzip;q=0.3, identity;q=0.8", False),
        ("gzip;q=much", False),
        ("gzip;q=7", False),
    ],
)
def test_weights_are_respected(accept: str, wanted: bool) -> None:
    assert accepts_gzip(accept) is wanted


@pytest.mark.parametrize(
    ("if_none_match", "known"),
    [('"a"', True), ('W/"a"', True), ('"b", W/"a"', True), ("*", True), ('"b"', False), ("", False)],
)
def test_tags_are_compared_weakly(if_none_match: str, known: bool) -> None:
    assert matches(if_none_match, 'W/"a"') is known
    assert matches(if_none_match, '"a"') is known
