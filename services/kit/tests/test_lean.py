"""Lean operations: answered without the framework when the request is right, and by its rules whatever it is."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from fastapi import Depends, Header, Path, Query, Request, Response
from prometheus_client import REGISTRY
from pydantic import Field

from shop.devkit.testing import Running, Tokens
from shop.kit.app import create_app
from shop.kit.auth import CurrentAdmin, CurrentUser
from shop.kit.bodies import RequestBody
from shop.kit.errors import Problem, Unavailable
from shop.kit.lean import lean
from shop.kit.routing import router
from shop.kit.settings import ServiceSettings

ID = UUID(int=7)
RIGHT = [
    ("", {}),
    ("?number=7", {}),
    ("?number=%2B7", {}),
    ("?number= 7", {}),
    ("?number=1&number=8", {}),
    ("?number=7&unknown=1", {}),
    ("?text=", {}),
    ("?text=a%20b+c%C3%A9", {}),
    ("?text=%FF", {}),
    ("?maybe=3", {}),
    ("", {"X-Mark": "one"}),
    ("?text=x&number=3&maybe=1", {"X-Mark": "two", "X-Other": "three"}),
]
"""Query and headers."""
LEFT_TO_THE_FRAMEWORK = [
    ("?number=", {}),
    ("?number=0", {}),
    ("?number=101", {}),
    ("?number=x", {}),
    ("?number=7.5", {}),
    ("?number=NaN", {}),
    (f"?number={2**63}", {}),
    (f"?number={'9' * 5_000}", {}),
    (f"?text={'x' * 11}", {}),
    ("?text=%00", {}),
    ("?maybe=0", {}),
    ("?number=x&maybe=x", {}),
    ("", {"X-Mark": "x" * 11}),
    ("", [("Idempotency-Key", "1"), ("Idempotency-Key", "2")]),
]


class Settings(ServiceSettings):
    service = "kit"


async def framed(request: Request) -> bool:
    """Whether the framework resolves the parameters."""
    return "fastapi_inner_astack" in request.scope


async def read(
    name: Annotated[str, Path(max_length=10)],
    number_id: UUID,
    framed: Annotated[bool, Depends(framed)],
    number: Annotated[int, Query(ge=1, le=100)] = 10,
    text: Annotated[str | None, Query(max_length=10)] = None,
    maybe: Annotated[int | None, Query(ge=1)] = None,
    x_mark: Annotated[str, Header(max_length=10)] = "",
) -> Response:
    if name == "problem":
        raise Problem(409, "sold_out", "None left.", headers={"X-More": "1"})
    if name == "away":
        raise Unavailable("product")
    if name == "bug":
        raise RuntimeError("a bug")
    content = repr((name, number_id, number, text, maybe, x_mark))
    return Response(content, media_type="text/plain", headers={"X-Framed": str(framed)})


async def mine(user: CurrentUser) -> Response:
    return Response(user.email, media_type="text/plain")


def copy_of(handler: Any) -> Any:
    async def copied(**arguments: Any) -> Any:
        return await handler(**arguments)

    copied.__signature__ = inspect.signature(handler, eval_str=True)  # type: ignore[attr-defined]
    return copied


class Written(RequestBody):
    name: Annotated[str, Field(max_length=5)]
    count: int = 1


async def mark(x_mark: Annotated[str, Header(max_length=10)] = "none") -> str:
    if x_mark == "refused":
        raise Problem(409, "refused", "No.")
    return x_mark


async def write(
    mark: Annotated[str, Depends(mark)], body: Written, framed: Annotated[bool, Depends(framed)], number: int = 0
) -> Response:
    return Response(repr((mark, body, number)), media_type="text/plain", headers={"X-Framed": str(framed)})


api = router()


async def by_id(some_id: UUID) -> Response:
    return Response(str(some_id))


async def all_kinds() -> Response:
    return Response("kinds")


for prefix in ("/lean", "/full"):
    api.get(f"{prefix}/things/kinds")(copy_of(all_kinds))
api.get("/lean/things/{some_id}")(lean(copy_of(by_id)))
api.get("/full/things/{some_id}")(copy_of(by_id))
for template, handler in (("mine", mine), ("{name}/numbers/{number_id}", read)):
    api.get(f"/lean/{template}")(lean(copy_of(handler)))
    api.get(f"/full/{template}")(copy_of(handler))
api.post("/lean/written")(lean(copy_of(write)))
api.post("/full/written")(copy_of(write))


@pytest.fixture
async def client(tokens: Tokens, running: Running) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(jwks_url=tokens.jwks_url), title="Reads", routers=[api], uses_bus=False)
    async with running(app) as client:
        yield client


async def both(client: httpx.AsyncClient, path: str, headers: Any = None, method: str = "GET") -> list[httpx.Response]:
    return [await client.request(method, f"{prefix}{path}", headers=headers) for prefix in ("/lean", "/full")]


def essence(answer: httpx.Response) -> Any:
    """What must be the same for both."""
    content: Any = answer.text
    if "json" in answer.headers.get("content-type", ""):
        content = {name: value for name, value in answer.json().items() if name != "trace_id"}
    left_out = ("x-request-id", "x-framed", "traceparent")
    return answer.status_code, content, {k: v for k, v in answer.headers.items() if k not in left_out}


@pytest.mark.parametrize(("query", "headers"), RIGHT)
async def test_a_right_request_is_answered_without_the_framework(
    client: httpx.AsyncClient, query: str, headers: Any
) -> None:
    answers = await both(client, f"/ada/numbers/{ID}{query}", headers)
    assert essence(answers[0]) == essence(answers[1])
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers["x-framed"] for answer in answers] == ["False", "True"]


@pytest.mark.parametrize(("query", "headers"), LEFT_TO_THE_FRAMEWORK)
async def test_whatever_is_wrong_is_refused_as_ever(client: httpx.AsyncClient, query: str, headers: Any) -> None:
    answers = await both(client, f"/ada/numbers/{ID}{query}", headers)
    assert essence(answers[0]) == essence(answers[1])
    assert answers[0].status_code in (400, 422)


@pytest.mark.parametrize(
    "path",
    [
        "/ada/numbers/7",
        "/ada/numbers/",
        f"/{'x' * 11}/numbers/{ID}",
        f"/a%00/numbers/{ID}",
        f"/a%2Fb/numbers/{ID}",
        f"/%C3%A9/numbers/{ID}",
        f"/ada/numbers/{ID}/",
        f"/ada/numbers/{ID}/more",
        f"/problem/numbers/{ID}",
        f"/away/numbers/{ID}",
        f"/bug/numbers/{ID}",
    ],
)
async def test_paths_and_errors_are_the_same(client: httpx.AsyncClient, path: str) -> None:
    answers = await both(client, path)
    assert essence(answers[0]) == tuple(
        {name: str(value).replace("/full/", "/lean/") for name, value in part.items()} if index == 2 else part
        for index, part in enumerate(essence(answers[1]))
    )


@pytest.mark.parametrize("last", ["kinds", str(ID), str(ID).upper(), ID.hex, "kind", "", "Kinds"])
async def test_what_is_no_id_is_another_route(client: httpx.AsyncClient, last: str) -> None:
    answers = await both(client, f"/things/{last}")
    assert answers[0].status_code == answers[1].status_code
    if answers[0].status_code == 200:
        assert answers[0].text == answers[1].text == {"kinds": "kinds"}.get(last, str(ID))


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "PUT"])
async def test_other_methods_are_the_same(client: httpx.AsyncClient, method: str) -> None:
    answers = await both(client, f"/ada/numbers/{ID}", method=method)
    assert essence(answers[0]) == essence(answers[1])


async def test_dependencies_are_asked(client: httpx.AsyncClient, tokens: Tokens) -> None:
    for headers, status in (({}, 401), ({"Authorization": "Bearer x"}, 401), (tokens.headers(), 200)):
        answers = await both(client, "/mine", headers)
        assert essence(answers[0]) == essence(answers[1])
        assert answers[0].status_code == status


async def test_requests_are_counted_by_their_template(client: httpx.AsyncClient) -> None:
    labels = {"method": "GET", "route": "/lean/{name}/numbers/{number_id}", "status": "200"}
    before = REGISTRY.get_sample_value("shop_http_requests_total", labels) or 0
    await both(client, f"/ada/numbers/{ID}")
    assert REGISTRY.get_sample_value("shop_http_requests_total", labels) == before + 1


@pytest.mark.parametrize(
    ("content", "headers", "framed"),
    [
        (b'{"name": "a"}', {}, False),
        (b' {"count": 2, "name": "\xc3\xa9"} ', {"X-Mark": "two"}, False),
        (b'{"name": "a"}', {"Idempotency-Key": "1"}, False),
        (b'{"name": "a"}', {"X-Mark": "refused"}, False),
        (b'{"name": "a"}', {"Content-Type": "Application/JSON;charset=utf-8"}, True),
        (b'{"name": "a"}', {"Content-Type": "text/plain"}, True),
        (b'{"name": "a"}', [("Idempotency-Key", "1"), ("Idempotency-Key", "2")], True),
        (b'{"name": "a"}', {"X-Mark": "x" * 11}, True),
        (b'{"name": "a", "name": "b"}', {}, True),
        (b'{"name": "a\\u0000"}', {}, True),
        (b'{"name": "a\xff"}', {}, True),
        (b'{"name": "a", "count": NaN}', {}, True),
        (b'{"name": "too long"}', {}, True),
        (b'{"name": "a", "more": 1}', {}, True),
        (b'{"count": 1}', {}, True),
        (b"null", {}, True),
        (b"[1]", {}, True),
        (b'{"name', {}, True),
        (b"", {}, True),
    ],
)
@pytest.mark.parametrize("pieces", [1, 3])
async def test_bodies_are_read_as_by_the_framework(
    client: httpx.AsyncClient, content: bytes, headers: Any, framed: bool, pieces: int
) -> None:
    sent = {"Content-Type": "application/json"} | dict(headers)
    given = [*sent.items(), *(headers[1:] if isinstance(headers, list) else [])]

    async def body() -> AsyncIterator[bytes]:
        size = max(1, len(content) // pieces + 1)
        for start in range(0, len(content), size):
            yield content[start : start + size]

    answers = [
        await client.post(f"{prefix}/written?number=7", content=body(), headers=given) for prefix in ("/lean", "/full")
    ]
    assert essence(answers[0]) == essence(answers[1])
    if answers[0].status_code == 200:
        assert [answer.headers["x-framed"] for answer in answers] == [str(framed), "True"]


async def many(values: Annotated[list[int], Query()]) -> Response:
    return Response(str(values))


async def of_admins(admin: CurrentAdmin) -> Response:
    return Response(admin.email)


async def with_response(response: Response) -> Response:
    return response


async def plain() -> Response:
    return Response()


async def two_bodies(first: Written, second: Written) -> Response:
    return Response(first.name + second.name)


async def optional_body(body: Written | None = None) -> Response:
    return Response(repr(body))


@pytest.mark.parametrize(
    ("path", "handler", "method"),
    [
        ("/new", many, "GET"),
        ("/new", of_admins, "GET"),
        ("/new", with_response, "GET"),
        ("/new", plain, "PUT"),
        ("/new", two_bodies, "POST"),
        ("/new", optional_body, "POST"),
        ("/full/{name}", plain, "GET"),
        ("/{prefix}/mine", plain, "GET"),
    ],
)
def test_what_cannot_be_lean_is_found_when_the_application_is_made(path: str, handler: Any, method: str) -> None:
    """A list, a dependency with dependencies, the framework's response, another method, two bodies or one that may be
    missing, an earlier route's paths."""
    added = router()
    added.add_api_route(path, lean(copy_of(handler)), methods=[method])
    with pytest.raises(TypeError, match=r"/(new|full/\{name\}|\{prefix\}/mine): "):
        create_app(Settings(jwks_url=""), title="Reads", routers=[api, added], uses_bus=False)
