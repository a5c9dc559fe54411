"""From the export of a service to the pages and the API of administrators."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from services.ops.tests.conftest import Browser, send
from services.ops.tests.made import MS, ORDER_ID, TRACE_ID, USER_ID, export, message, pair, span_id
from shop.devkit.testing import Tokens

NASTY = "<script>alert(1)</script>"


def checkout() -> bytes:
    """An order's trace that has just begun."""
    now = time.time_ns()
    times: dict[str, Any] = {"start_time_unix_nano": now, "end_time_unix_nano": now + 80 * MS}
    root = message(1, name="POST /api/v1/orders", attributes=[pair("http.request.method", "POST")], **times)
    ids = [pair("shop.order.id", ORDER_ID), pair("user.id", USER_ID), pair("note", NASTY)]
    below = message(2, error="503", attributes=ids, parent_span_id=bytes.fromhex(span_id(1)), **times)
    return export(root, below).SerializeToString()


async def test_an_exported_trace_is_listed_and_shown_with_its_log_lines(
    client: httpx.AsyncClient, browser: Browser, data_dir: Path
) -> None:
    line = {"time": "2026-11-29T10:00:00+00:00", "level": "warning", "message": NASTY, "trace_id": TRACE_ID}
    (data_dir / "logs" / "order-1.log").write_bytes(orjson.dumps(line) + b"\n")
    answer = await send(client, checkout())
    assert answer.status_code == 200
    assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()
    browser.sign_in()
    listed = (await browser.get(f"/ops/traces?order={ORDER_ID.upper()}%20")).text
    assert f"/ops/traces/{TRACE_ID}" in listed
    assert "1 failed" in listed
    shown = (await browser.get(f"/ops/traces/{TRACE_ID}")).text
    assert "POST /api/v1/orders" in shown
    assert f"https://tempo.example.com/trace/{TRACE_ID}" in shown
    assert "layer-http" in shown
    assert shown.count("&lt;script&gt;") == 2, "of the span and of the log line"
    assert NASTY not in shown


async def test_the_api_finds_and_reads_traces(client: httpx.AsyncClient, tokens: Tokens) -> None:
    await send(client, checkout())
    headers = tokens.headers("admin")
    found = (await client.get("/api/v1/traces", params={"user_id": USER_ID, "failed": True}, headers=headers)).json()
    assert [(one["trace_id"], one["order_id"]) for one in found["items"]] == [(TRACE_ID, ORDER_ID)]
    whole = (await client.get(f"/api/v1/traces/{TRACE_ID}", headers=headers)).json()
    assert [one["span_id"] for one in whole["spans"]] == [span_id(1), span_id(2)]
    missing = await client.get(f"/api/v1/traces/{'0' * 32}", headers=headers)
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_trace")


@pytest.mark.parametrize("path", ["/api/v1/traces", f"/api/v1/traces/{TRACE_ID}"])
async def test_the_api_is_for_administrators(client: httpx.AsyncClient, tokens: Tokens, path: str) -> None:
    assert (await client.get(path)).status_code == 401
    assert (await client.get(path, headers=tokens.headers("customer"))).status_code == 403


async def test_an_export_that_is_none_is_refused(client: httpx.AsyncClient) -> None:
    assert (await send(client, b"{}", "application/json")).status_code == 415
    assert (await send(client, b"\xff\xff")).status_code == 400


@pytest.mark.parametrize("path", ["/ops", "/ops/traces", f"/ops/traces/{TRACE_ID}"])
async def test_pages_are_for_administrators(browser: Browser, path: str) -> None:
    if path != "/ops":
        answer = await browser.get(path, 303)
        assert answer.headers["location"] == f"/sign-in?next={path.replace('/', '%2F')}"
        browser.sign_in("customer")
        assert "administrators only" in (await browser.get(path, 403)).text
    browser.sign_in("admin", lasts_s=10)
    assert (await browser.get(path, 303)).headers["location"].startswith(("/sign-in", "/ops/"))


async def test_a_session_whose_token_is_refused_is_not_sent_in_a_circle(browser: Browser, tokens: Tokens) -> None:
    browser.sign_in()
    assert browser.visitor.session is not None
    forged = browser.visitor.session.model_copy(update={"access_token": tokens.forged()})
    browser.visitor.session = forged
    browser._send_cookies()
    assert "sign in again" in (await browser.get("/ops/traces", 403)).text


async def test_wrong_filters_are_said(browser: Browser) -> None:
    browser.sign_in()
    assert 'aria-invalid="true"' in (await browser.get("/ops/traces?order=7")).text
    await browser.get("/ops/traces?min_ms=-1", 404)
    await browser.get("/ops/traces/nothing", 404)
    assert "older than what is kept" in (await browser.get(f"/ops/traces/{'0' * 32}", 404)).text


async def test_pages_have_the_shops_headers_and_their_files(browser: Browser) -> None:
    browser.sign_in()
    answer = await browser.get("/ops/traces")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    for name in ("ops.css", "ops.js"):
        url = next(part for part in answer.text.split('"') if part.endswith(name))
        assert "immutable" in (await browser.get(url)).headers["cache-control"]
