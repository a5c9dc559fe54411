"""The application factory: health, errors, limits, strict JSON."""

from __future__ import annotations

import importlib
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field

from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Running, Tokens, wait_until
from shop.kit.app import Context, create_app
from shop.kit.auth import CurrentAdmin, CurrentUser, internal_only
from shop.kit.errors import OutcomeUnknown, Problem
from shop.kit.redaction import SECRET_NAME
from shop.kit.routing import router
from shop.kit.settings import ServiceSettings
from tests.architecture.source import service_nouns

api = router(prefix="/api/v1/notes")
internal = router(prefix="/internal/notes", dependencies=[Depends(internal_only)])


class Settings(ServiceSettings):
    service = "kit"


class Note(BaseModel):
    text: str = Field(min_length=1, max_length=100)
    number: int = Field(ge=1, le=999, strict=True)


@api.post("", status_code=201)
async def create(note: Note) -> Note:
    return note


@api.get("/mine")
async def mine(user: CurrentUser) -> str:
    return user.email


@api.get("/all")
async def everything(admin: CurrentAdmin) -> str:
    return admin.role


@api.get("/broken")
async def broken() -> None:
    raise RuntimeError("a bug")


@api.get("/unavailable")
async def unavailable() -> None:
    raise OutcomeUnknown("payment")


@api.get("/sold-out")
async def sold_out() -> None:
    raise Problem(409, "insufficient_stock", "Only 2 left.", extra={"available": 2})


@internal.post("")
async def inside() -> str:
    return "inside"


@pytest.fixture
def app(tokens: Tokens) -> FastAPI:
    settings = Settings(jwks_url=tokens.jwks_url, internal_token=INTERNAL_TOKEN, max_body_bytes=1_024)
    return create_app(settings, title="Notes", routers=[api, internal], uses_bus=False)


@pytest.fixture
async def client(app: FastAPI, running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with running(app) as client:
        yield client


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "malformed_body"),
        (b"", JSON, 422, "invalid_request"),
        (b'{"text":"a","number":1,"number":2}', JSON, 400, "duplicate_key"),
        (b'{"text":"a\\u0000","number":1}', JSON, 400, "nul_character"),
        (b'{"text":"\\ud800","number":1}', JSON, 400, "invalid_utf8"),
        (b'{"text":"\xff","number":1}', JSON, 400, "invalid_utf8"),
        (b'{"text":"a","number":NaN}', JSON, 400, "malformed_body"),
        (b"[" * 900, JSON, 400, "malformed_body"),
        (b'{"text":"a","number":1}', {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b'{"text":"a","number":1}', {}, 415, "unsupported_media_type"),
        (b"\x1f\x8b", JSON | {"content-encoding": "gzip"}, 415, "unsupported_content_encoding"),
        (b'{"text":"a","number":1}', JSON | {"content-encoding": "br"}, 415, "unsupported_content_encoding"),
        (b'{"text":"a","number":-1}', JSON, 422, "invalid_request"),
        (b'{"text":"a","number":1e400}', JSON, 422, "invalid_request"),
        (b'{"text":"a","number":"1"}', JSON, 422, "invalid_request"),
        (b'{"text":"' + b"a" * 2_000 + b'","number":1}', JSON, 413, "body_too_large"),
    ],
)
async def test_bad_bodies_are_refused_with_a_stable_code(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await client.post("/api/v1/notes", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["trace_id"] != "0" * 32


async def test_a_chunked_body_is_limited_too(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    answer = await client.post("/api/v1/notes", content=chunks(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_an_escaped_surrogate_pair_is_text(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/notes", content=b'{"text":"\\ud83d\\ude00","number":1}', headers=JSON)
    assert answer.json() == {"text": "😀", "number": 1}


async def test_problems_carry_code_extra_and_trace(client: httpx.AsyncClient) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = await client.get(
        "/api/v1/notes/sold-out", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01", "x-request-id": "abc"}
    )
    assert answer.json() == {
        "type": "urn:shop:problem:insufficient_stock",
        "title": "Conflict",
        "status": 409,
        "detail": "Only 2 left.",
        "code": "insufficient_stock",
        "available": 2,
        "trace_id": trace,
    }
    assert answer.headers["x-request-id"] == "abc"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("broken", 500, "internal_error"), ("unavailable", 503, "payment_unavailable"), ("nowhere", 404, "not_found")],
)
async def test_failures_are_problems(client: httpx.AsyncClient, path: str, status: int, code: str) -> None:
    answer = await client.get(f"/api/v1/notes/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_roles_limit_access(client: httpx.AsyncClient, tokens: Tokens) -> None:
    person, token = tokens.customer()
    mine = await client.get("/api/v1/notes/mine", headers={"Authorization": f"Bearer {token}"})
    assert mine.json() == person.email
    refused = await client.get("/api/v1/notes/all", headers=tokens.headers())
    assert (refused.status_code, refused.json()["code"]) == (403, "admin_only")
    assert (await client.get("/api/v1/notes/all", headers=tokens.headers("admin"))).json() == "admin"


@pytest.mark.parametrize("path", ["mine", "all"])
async def test_bad_tokens_are_refused(client: httpx.AsyncClient, tokens: Tokens, path: str) -> None:
    good = tokens.claims()
    bad = {
        "expired": (tokens.expired(), "token_expired"),
        "forged": (tokens.forged(), "invalid_token"),
        "none": (tokens.sign(good, key="", algorithm="none"), "invalid_token"),
        "symmetric": (tokens.sign(good, key="k" * 32, algorithm="HS256"), "invalid_token"),
        "audience": (tokens.sign(good | {"aud": "other"}), "invalid_token"),
        "issuer": (tokens.sign(good | {"iss": "other"}), "invalid_token"),
        "type": (tokens.sign(good, typ="JWT"), "invalid_token"),
        "key": (tokens.sign(good, kid="other"), "invalid_token"),
        "subject": (tokens.sign(good | {"sub": "someone"}), "invalid_token"),
        "role": (tokens.sign(good | {"role": "owner"}), "invalid_token"),
        "missing": (tokens.sign({name: value for name, value in good.items() if name != "jti"}), "invalid_token"),
        "garbage": ("a.b.c", "invalid_token"),
        "long": ("a" * 5_000, "invalid_token"),
    }
    for name, (token, code) in bad.items():
        answer = await client.get(f"/api/v1/notes/{path}", headers={"Authorization": f"Bearer {token}"})
        assert (name, answer.status_code, answer.json()["code"]) == (name, 401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    answer = await client.get(f"/api/v1/notes/{path}")
    assert answer.json()["code"] == "token_missing"


async def test_internal_routes_need_the_shared_token(client: httpx.AsyncClient, tokens: Tokens) -> None:
    refused = await client.post("/internal/notes", headers=tokens.headers("admin"))
    assert (refused.status_code, refused.json()["code"]) == (403, "internal_only")
    given = await client.post("/internal/notes", headers={"Authorization": f"Bearer {INTERNAL_TOKEN}"})
    assert given.json() == "inside"


async def test_metrics_and_documentation_are_served(client: httpx.AsyncClient) -> None:
    await client.get("/api/v1/notes/sold-out")
    metrics = (await client.get("/metrics")).text
    assert 'shop_http_requests_total{method="GET",route="/api/v1/notes/sold-out",status="409"}' in metrics
    for path in ("/docs", "/redoc", "/openapi.json", "/health/live"):
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_the_documentation_loads_no_external_files(client: httpx.AsyncClient, page: str) -> None:
    text = (await client.get(page)).text
    assets = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(assets) >= 2
    for asset in assets:
        answer = await client.get(asset)
        assert (asset.startswith("/docs/assets/"), answer.status_code, len(answer.content) > 1_000) == (True, 200, True)
    assert (await client.get("/docs/assets/passwd")).status_code == 404


async def test_readiness_fails_without_the_database_and_degrades_without_the_broker(
    tokens: Tokens, database_for: DatabaseFor, nats_url: str, running: Running
) -> None:
    async def nothing(_: Context) -> None:
        return None

    url = await database_for("kit")
    settings = Settings(database_url=url, nats_url=nats_url, jwks_url=tokens.jwks_url)
    async with running(create_app(settings, title="Notes", build=nothing)) as client:

        async def ready() -> bool:
            return bool((await client.get("/health/ready")).json()["status"] == "ok")

        await wait_until(ready)
    without_broker = Settings(database_url=url, nats_url="nats://127.0.0.1:1", jwks_url=tokens.jwks_url)
    async with running(create_app(without_broker, title="Notes", build=nothing)) as client:
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


async def test_a_service_is_not_ready_before_it_can_check_tokens(
    tokens: Tokens, tmp_path: Path, running: Running
) -> None:
    published = tmp_path / "jwks.json"
    settings = Settings(jwks_url=published.as_uri())
    async with running(create_app(settings, title="Notes", uses_bus=False)) as client:
        answer = await client.get("/health/ready")
        assert answer.status_code == 503
        assert "keys" in answer.json()["checks"]
        published.write_bytes(Path(unquote(urlsplit(tokens.jwks_url).path)).read_bytes())

        async def ready() -> bool:
            return (await client.get("/health/ready")).status_code == 200

        await wait_until(ready)
        published.unlink()
        assert await ready()


async def test_a_service_is_not_ready_before_others_can_find_it(nats_url: str, running: Running) -> None:
    with socket.socket() as address:
        address.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{address.getsockname()[1]}"
        settings = Settings(nats_url=nats_url, jwks_url="", discovery="registry", instance_url=url, instance_id="kit-1")
        async with running(create_app(settings, title="Notes", uses_bus=False)) as client:
            answer = await client.get("/health/ready")
            assert answer.status_code == 503
            assert answer.json()["checks"] == {"registration": "not registered yet"}
            address.listen()

            async def ready() -> bool:
                return (await client.get("/health/ready")).status_code == 200

            await wait_until(ready)


async def test_services_say_their_settings_without_secrets(client: httpx.AsyncClient, tokens: Tokens) -> None:
    path = "/internal/settings"
    assert (await client.get(path)).status_code == 401
    assert (await client.get(path, headers=tokens.headers("admin"))).status_code == 403
    answer = await client.get(path, headers={"Authorization": f"Bearer {INTERNAL_TOKEN}"})
    assert INTERNAL_TOKEN not in answer.text
    found = answer.json()
    assert (found["SHOP_MAX_BODY_BYTES"], found["SHOP_INTERNAL_TOKEN"]) == ("1024", "(hidden)")


def test_no_secret_of_any_service_is_shown() -> None:
    """Each has a name that says so, or a URL with a password; both are declared without a repr."""
    for noun in service_nouns():
        fields = importlib.import_module(f"shop.{noun}.settings").Settings.model_fields
        texts = {name: field for name, field in fields.items() if field.annotation is str}
        secret = {name for name, field in texts.items() if field.repr and SECRET_NAME.search(name)}
        assert secret == set(), noun
