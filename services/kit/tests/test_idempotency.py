"""The Idempotency-Key header of an endpoint that needs one, and of one that takes one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from fastapi import FastAPI

from shop.kit.errors import install_error_handlers
from shop.kit.idempotency import OptionalKey, RequiredKey

Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
MISSING = (400, "idempotency_key_missing")
MALFORMED = (422, "invalid_request")
LONGEST = "x" * 255


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install_error_handlers(app)

    @app.post("/required")
    async def required(key: RequiredKey) -> dict[str, str | None]:
        return {"key": key}

    @app.post("/optional")
    async def optional(key: OptionalKey = None) -> dict[str, str | None]:
        return {"key": key}

    async with served(app) as client:
        yield client


@pytest.mark.parametrize(
    ("value", "required", "optional"),
    [
        (None, MISSING, (200, None)),
        ("", MALFORMED, MALFORMED),
        ("key-1", (200, "key-1"), (200, "key-1")),
        (LONGEST, (200, LONGEST), (200, LONGEST)),
        (LONGEST + "x", MALFORMED, MALFORMED),
        ("two words", MALFORMED, MALFORMED),
        ("k\xe9y", MALFORMED, MALFORMED),
    ],
)
async def test_the_key_of_a_request(
    client: httpx.AsyncClient, value: str | None, required: tuple[int, str], optional: tuple[int, str | None]
) -> None:
    headers = [] if value is None else [(b"Idempotency-Key", value.encode("latin-1"))]
    for path, expected in (("/required", required), ("/optional", optional)):
        answer = await client.post(path, headers=headers)
        document = answer.json()
        assert (answer.status_code, document.get("code", document.get("key"))) == expected, path
