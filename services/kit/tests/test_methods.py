"""HEAD and OPTIONS on every path, complete Allow headers, and no HEAD that waits for the end of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.staticfiles import StaticFiles

from shop.devkit.testing import Running, Tokens
from shop.kit.app import create_app
from shop.kit.routing import router
from shop.kit.settings import ServiceSettings

api = router(prefix="/api/v1/notes")


class Settings(ServiceSettings):
    service = "kit"


@api.get("/{note}")
async def read(note: str) -> dict[str, str]:
    return {"note": note}


@api.patch("/{note}")
async def change(note: str) -> None: ...


@api.delete("/{note}", status_code=204)
async def remove(note: str) -> None: ...


@api.get("/{note}/events")
async def events(note: str) -> StreamingResponse:
    async def endless() -> AsyncIterator[bytes]:
        yield b": begun\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(endless(), media_type="text/event-stream")


@pytest.fixture
def app(tmp_path: Path, tokens: Tokens) -> FastAPI:
    (tmp_path / "shop.css").write_text("body {}", encoding="utf-8")
    app = create_app(Settings(jwks_url=tokens.jwks_url), title="Notes", routers=[api], uses_bus=False)
    app.mount("/static", StaticFiles(directory=tmp_path))
    return app


@pytest.fixture
async def client(app: FastAPI, running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with running(app) as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/api/v1/notes/a", "/health", "/health/live", "/health/ready", "/metrics", "/docs", "/static/shop.css"]
)
async def test_head_has_the_headers_of_get_and_no_body(client: httpx.AsyncClient, path: str) -> None:
    head, get = await client.head(path), await client.get(path)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # the requests themselves are counted there
        assert head.headers["content-length"] == str(len(get.content))


async def test_head_of_a_stream_ends(client: httpx.AsyncClient) -> None:
    head = await asyncio.wait_for(client.head("/api/v1/notes/a/events"), 5)
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


async def test_head_of_an_unknown_path_is_404(client: httpx.AsyncClient) -> None:
    assert (await client.head("/nothing")).status_code == 404


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/v1/notes/a", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/api/v1/notes/a/events", "GET, HEAD, OPTIONS"),
        ("/health/live", "GET, HEAD, OPTIONS"),
        ("/static/shop.css", "GET, HEAD, OPTIONS"),
    ],
)
async def test_every_method_of_a_path_is_named(client: httpx.AsyncClient, path: str, methods: str) -> None:
    options = await client.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, methods, b"")
    refused = await client.put(path)
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
    assert refused.headers.get_list("allow") == [methods]


async def test_options_of_an_unknown_path_is_404(client: httpx.AsyncClient) -> None:
    answer = await client.options("/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


PUBLIC = {"X-Forwarded-Host": "shop.example.com", "X-Forwarded-Proto": "https"}


async def test_redirects_lead_to_the_address_that_the_client_knows(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/notes/a/events/", headers=PUBLIC)
    assert (answer.status_code, answer.headers["location"]) == (307, "https://shop.example.com/api/v1/notes/a/events")


async def test_the_gateway_ignores_forwarded_headers_of_clients(tokens: Tokens, running: Running) -> None:
    edge = create_app(
        Settings(jwks_url=tokens.jwks_url), title="Edge", routers=[api], uses_bus=False, behind_gateway=False
    )
    async with running(edge) as client:
        answer = await client.get("/api/v1/notes/a/events/", headers=PUBLIC)
        assert answer.headers["location"] == f"{str(client.base_url).rstrip('/')}/api/v1/notes/a/events"
