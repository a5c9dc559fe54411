"""Levers: only administrators who just typed their password, with this visitor's form, and each use is in the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.ops.tests.conftest import Browser
from shop.devkit.testing import Tokens, wait_until
from shop.ops.access import FRESH_S
from shop.ops.levers import actions
from shop.ops.supervisor import Component


def component(name: str, kind: str, state: str, pid: int | None) -> dict[str, Any]:
    known = {"healthy": state == "ready", "port": 1, "restarts": 0, "detail": ""}
    return {"name": name, "kind": kind, "state": state, "pid": pid, **known}


COMPONENTS = [
    component("postgres", "store", "ready", 7),
    component("order-1", "service", "ready", 8),
    component("order-2", "service", "stopped", None),
    component("gateway-1", "service", "ready", 9),
    component("ops-1", "service", "ready", 10),
]
AUDIT = {
    "ok": False,
    "oracles": [
        {"number": 1, "name": "no order is lost", "ok": True, "checked": 12, "violations": []},
        {"number": 4, "name": "nothing is oversold", "ok": False, "checked": 3, "violations": ["p1 has -1"]},
    ],
}
TOKEN = "token-of-the-supervisor"


def changed(request: dict[str, Any]) -> list[str]:
    if request["command"] == "scale":
        return [f"{request['service']}-{number}" for number in range(1, request["count"] + 1)]
    return [request["component"]]


class FakeSupervisor:
    """Answers one JSON line per connection, as that of a local shop; tests of the operator hold the real one to it."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.refusal = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = orjson.loads(await reader.readline())
        self.asked.append(request)
        done = AUDIT if request["command"] == "audit" else {"components": changed(request)}
        writer.write(orjson.dumps({"error": self.refusal} if self.refusal else done) + b"\n")
        await writer.drain()
        writer.close()

    @property
    def commands(self) -> list[tuple[str, str | None]]:
        return [(one["command"], one.get("component")) for one in self.asked]


@pytest.fixture
async def supervisor(data_dir: Path) -> AsyncIterator[FakeSupervisor]:
    made = FakeSupervisor()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    control = {"port": server.sockets[0].getsockname()[1], "token": TOKEN}
    (data_dir / "state.json").write_bytes(orjson.dumps({"components": COMPONENTS, "control": control}))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.close)
        yield made


async def test_a_lever_asks_and_then_does_it_and_says_so(
    browser: Browser, supervisor: FakeSupervisor, logged: Any
) -> None:
    browser.sign_in()
    assert "order-1" in (await browser.get("/ops/levers")).text
    asked = (await browser.post("/ops/levers/order-1/restart", 200)).text
    assert "Restart order-1?" in asked
    assert supervisor.asked == []
    answer = await browser.post("/ops/levers/order-1/restart", confirmed="1")
    assert answer.headers["location"] == "/ops/levers"
    assert supervisor.commands == [("stop", "order-1"), ("start", "order-1")]
    assert {one["token"] for one in supervisor.asked} == {TOKEN}
    assert "order-1 was restarted." in (await browser.get("/ops/levers")).text
    (line,) = logged(event="lever_used")
    assert browser.visitor.session is not None
    assert (line["action"], line["component"], line["outcome"]) == ("restart", "order-1", "done")
    assert line["admin_id"] == browser.visitor.session.user_id


async def test_a_service_is_scaled_after_a_confirmation(
    browser: Browser, supervisor: FakeSupervisor, logged: Any
) -> None:
    browser.sign_in()
    assert '<option value="order">order (2)</option>' in (await browser.get("/ops/levers")).text
    text = (await browser.post("/ops/levers/scale", 200, service="order", count="3")).text
    assert "Scale order to 3?" in text
    assert '<input type="hidden" name="count" value="3">' in text
    assert supervisor.asked == []
    await browser.post("/ops/levers/scale", service="order", count="3", confirmed="1")
    assert [(one["command"], one["service"], one["count"]) for one in supervisor.asked] == [("scale", "order", 3)]
    assert "order was scaled: order-1, order-2, order-3." in (await browser.get("/ops/levers")).text
    supervisor.refusal = "the shop is stopping"
    await browser.post("/ops/levers/scale", service="order", count="1", confirmed="1")
    assert "order was not scaled: the shop is stopping" in (await browser.get("/ops/levers")).text
    found = [(line["component"], line["outcome"]) for line in logged(event="lever_used")]
    assert found == [("order to 3", "done"), ("order to 1", "failed")]


@pytest.mark.parametrize(
    ("service", "count"),
    [("postgres", "2"), ("ops", "2"), ("gateway", "2"), ("order", "0"), ("order", "17"), ("order", "x")],
)
async def test_what_cannot_be_scaled_is_refused(
    browser: Browser, supervisor: FakeSupervisor, service: str, count: str
) -> None:
    browser.sign_in()
    await browser.post("/ops/levers/scale", 422, service=service, count=count, confirmed="1")
    assert supervisor.asked == []


async def test_what_the_supervisor_refuses_is_said_and_logged(
    browser: Browser, supervisor: FakeSupervisor, logged: Any
) -> None:
    browser.sign_in()
    supervisor.refusal = "postgres was never ready"
    await browser.post("/ops/levers/postgres/stop", confirmed="1")
    assert "postgres was not changed: postgres was never ready" in (await browser.get("/ops/levers")).text
    assert [line["outcome"] for line in logged(event="lever_used")] == ["failed"]


@pytest.mark.parametrize("path", ["/ops/levers/order-1/stop", "/ops/levers/audit", "/ops/levers/scale"])
async def test_an_old_sign_in_changes_nothing_and_leads_to_the_password(
    browser: Browser, supervisor: FakeSupervisor, path: str
) -> None:
    browser.sign_in(ago_s=FRESH_S + 5)
    answer = await browser.post(path, confirmed="1")
    assert answer.headers["location"] == "/sign-in?next=%2Fops%2Flevers&again=1"
    assert supervisor.asked == []


@pytest.mark.parametrize("path", ["/ops/levers/order-1/stop", "/ops/levers/audit", "/ops/levers/scale"])
async def test_a_form_of_another_visitor_changes_nothing(
    browser: Browser, supervisor: FakeSupervisor, path: str
) -> None:
    browser.sign_in()
    await browser.post(path, 403, confirmed="1", csrf_token="0" * 64)
    assert supervisor.asked == []


async def test_customers_and_visitors_change_nothing(
    browser: Browser, supervisor: FakeSupervisor, tokens: Tokens
) -> None:
    await browser.post("/ops/levers/order-1/stop", 303, confirmed="1")
    browser.sign_in("customer")
    await browser.post("/ops/levers/order-1/stop", 403, confirmed="1")
    assert supervisor.asked == []


@pytest.mark.parametrize(
    ("name", "action", "reason"),
    [
        ("nothing-1", "stop", "Nothing of this shop"),
        ("order-1", "start", "not possible now"),
        ("order-2", "stop", "not possible now"),
    ],
)
async def test_what_is_not_possible_is_said(
    browser: Browser, supervisor: FakeSupervisor, name: str, action: str, reason: str
) -> None:
    browser.sign_in()
    await browser.post(f"/ops/levers/{name}/{action}", confirmed="1")
    assert reason in (await browser.get("/ops/levers")).text
    assert supervisor.asked == []


@pytest.mark.parametrize(
    ("noun", "possible"),
    [
        ("ops", []),
        ("gateway", []),
        ("storefront", ["restart"]),
        ("order", ["restart", "stop"]),
        ("postgres", ["restart", "stop"]),
    ],
)
def test_nobody_locks_themselves_out(noun: str, possible: list[str]) -> None:
    kind = "store" if noun == "postgres" else "service"
    name = noun if kind == "store" else f"{noun}-1"
    assert actions(Component(name, kind, "ready", True, 1, 1, 0, "")) == possible


async def test_the_audit_shows_each_promise(browser: Browser, supervisor: FakeSupervisor) -> None:
    browser.sign_in()
    await browser.post("/ops/levers/audit")

    async def shown() -> str:
        text = (await browser.get("/ops/levers")).text
        return text if 'id="audit"' in text else ""

    text = await wait_until(shown)
    assert "nothing is oversold" in text
    assert "p1 has -1" in text
    assert "not all right" in text


async def test_without_a_supervisor_the_page_says_so(browser: Browser) -> None:
    browser.sign_in()
    assert "not available" in (await browser.get("/ops/levers", 503)).text.lower()
