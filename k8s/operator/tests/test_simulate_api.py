"""The simulation's client against a real HTTP server, and the command line's advice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner

from shop.operator.cli.shopctl import app
from shop.operator.program import CHECKOUT
from shop.operator.simulate import __main__ as program
from shop.operator.simulate import shop_api as module
from shop.operator.simulate.appetite import Person
from shop.operator.simulate.customers import Customers, Market
from shop.operator.simulate.figures import Figures
from shop.operator.simulate.fleet import Plan, reason, simulate
from shop.operator.simulate.open_orders import Orders
from shop.operator.simulate.shop_api import Account, RefusedError, ShopApi, password_of, shop_api


class Gateway:
    """Answers of a shop, one after the other; what was asked is in ``requests``."""

    def __init__(self, *answers: tuple[int, dict[str, Any], dict[str, str]]) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path, request.headers.get("Authorization", "")))
        status, body, headers = self.answers.pop(0)
        return web.json_response(body, status=status, headers=headers)


@pytest.fixture
async def api() -> AsyncIterator[tuple[Gateway, ShopApi]]:
    gateway = Gateway()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", gateway.answer)
    async with TestServer(application) as server, shop_api(str(server.make_url("/"))) as client:
        yield gateway, client


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.001)


async def test_overload_is_tried_again_and_the_answer_given(api: tuple[Gateway, ShopApi]) -> None:
    gateway, client = api
    gateway.answers = [(429, {"code": "rate_limited"}, {"Retry-After": "0"}), (503, {}, {}), (200, {"id": "1"}, {})]
    assert await client.call("GET", "/orders/1") == {"id": "1"}
    assert [path for _, path, _ in gateway.requests] == ["/api/v1/orders/1"] * 3


async def test_tries_are_limited(api: tuple[Gateway, ShopApi]) -> None:
    gateway, client = api
    gateway.answers = [(503, {"code": "overloaded"}, {})] * 10
    with pytest.raises(RefusedError) as refused:
        await client.call("GET", "/orders/1")
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    assert len(gateway.requests) == module.MAX_TRIES


async def test_no_courier_is_an_answer_and_not_tried_again(api: tuple[Gateway, ShopApi]) -> None:
    gateway, client = api
    gateway.answers = [(503, {"code": "no_courier"}, {"Retry-After": "30"})]
    with pytest.raises(RefusedError) as refused:
        await client.call("POST", "/orders", body={}, key="k")
    assert refused.value.code == "no_courier"
    assert len(gateway.requests) == 1


async def test_what_has_an_effect_is_sent_once_without_a_key(api: tuple[Gateway, ShopApi]) -> None:
    gateway, client = api
    account = Account(client, "a@fleet.example.com", "p", _token="t", _expires_at=float("inf"))
    gateway.answers = [(503, {}, {})]
    with pytest.raises(RefusedError):
        await account.call("POST", "/couriers/me/positions", {})
    assert gateway.requests == [("POST", "/api/v1/couriers/me/positions", "Bearer t")]


async def test_an_account_of_an_earlier_run_is_used_again(api: tuple[Gateway, ShopApi]) -> None:
    gateway, client = api
    token = {"access_token": "t", "expires_in": 900}
    gateway.answers = [(409, {"code": "email_taken"}, {}), (200, token, {}), (200, {"id": "u1"}, {})]
    account = Account(client, "a@fleet.example.com", "p")
    await account.sign_up("Ada")
    assert account.user_id == "u1"


async def test_a_token_is_renewed_before_it_expires(api: tuple[Gateway, ShopApi]) -> None:
    gateway, client = api
    short = {"access_token": "short", "expires_in": module.RENEW_BEFORE_S - 1}
    gateway.answers = [(200, short, {}), (200, {"access_token": "next", "expires_in": 900}, {})]
    account = Account(client, "a@fleet.example.com", "p")
    assert [await account.token() for _ in range(3)] == ["short", "next", "next"]


def signed_in(client: ShopApi, name: str) -> Account:
    return Account(client, f"{name}@fleet.example.com", "p", _token=name, _expires_at=float("inf"))


async def test_the_customer_tells_the_code_of_the_delivery(api: tuple[Gateway, ShopApi]) -> None:
    gateway, client = api
    gateway.answers = [(200, {"eta": "2026-11-28T18:00:00Z"}, {}), (200, {"code": "0427"}, {})]
    orders = Orders(Figures(), lambda _: None)
    await orders.confirmed("o1", signed_in(client, "ada"))
    assert await orders.code("o1", "Ada") == "0427"


async def test_the_code_of_a_person_who_watches_is_asked_for_once_and_used_once() -> None:
    asked: list[str] = []
    orders = Orders(Figures(), asked.append)
    assert [await orders.code("o1", "Somebody"), await orders.code("o1", "Somebody")] == [None, None]
    assert len(asked) == 1
    for line in ("12", "12345", "code", "0427\n"):
        orders.tell(line)
    assert [await orders.code("o1", "Somebody"), await orders.code("o1", "Somebody")] == ["0427", None]


async def test_an_order_that_an_earlier_simulation_left_is_found_by_its_customer(api: tuple[Gateway, ShopApi]) -> None:
    gateway, client = api
    people = [Person(name, "1 Mill Lane", "Millbridge") for name in ("Ada A", "Ben B", "Ada A")]

    async def sign_up(number: int, _: str) -> Account:
        return signed_in(client, f"customer-{number}")

    figures = Figures()
    orders = Orders(figures, lambda _: None)
    orders.owner = Customers(people, sign_up, Market(client), orders, figures, Random(1), 1, 1).owner_of
    gateway.answers = [(404, {"code": "not_found"}, {}), (200, {}, {}), (200, {"code": "0427"}, {})]
    assert await orders.code("o1", "Ada A") == "0427"
    assert [token for _, _, token in gateway.requests] == ["Bearer customer-0", *["Bearer customer-2"] * 2]


async def test_a_shop_that_does_not_answer_is_named() -> None:
    plan = Plan("http://127.0.0.1:9", "admin@shop.local", "p", couriers=1)
    with pytest.raises(RefusedError) as refused:
        await simulate(plan, lambda _: None)
    assert "does not answer" in reason(refused.value, plan.url)


def test_passwords_differ_by_person_and_shop_and_stay_the_same() -> None:
    assert password_of("a", "x") == password_of("a", "x")
    assert len({password_of("a", "x"), password_of("a", "y"), password_of("b", "x")}) == 3


def test_another_shop_needs_its_password() -> None:
    result = CliRunner().invoke(app, ["simulate", "fleet", "--url", "http://localhost:1"])
    assert result.exit_code == 1
    assert "--url and --admin-password-file belong together" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "http://x"], "SHOP_ADMIN_PASSWORD"),
        (["--url", "http://x", "--couriers", "0"], "--couriers: between 1 and 500"),
        ([], "--url"),
    ],
)
def test_the_program_says_what_is_wrong_with_its_arguments(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SHOP_ADMIN_PASSWORD", raising=False)
    with pytest.raises(SystemExit) as ended:
        program.plan(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_job_of_the_samples_runs_the_program_with_options_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    job = yaml.safe_load((CHECKOUT / "k8s" / "samples" / "jobs" / "fleet.yaml").read_text(encoding="utf-8"))
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][1:] == ["-m", program.__name__.removesuffix(".__main__")]
    assert [one["name"] for one in container["env"]] == [program.PASSWORD_VARIABLE]
    monkeypatch.setenv(program.PASSWORD_VARIABLE, "secret")
    assert program.plan(container["args"]).url == "http://foodcourt-gateway:8000"


def test_the_program_needs_only_what_the_operators_image_has() -> None:
    code = (
        "import sys; import shop.operator.simulate.__main__;"
        "others = {'numpy', 'scipy', 'shop.devkit', 'asyncpg', 'nats'};"
        "sys.exit(sorted(others & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_program_takes_the_password_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_ADMIN_PASSWORD", "secret")
    plan = program.plan(["--url", "http://x", "--couriers", "3", "--drain-minutes", "1"])
    assert (plan.admin_password, plan.couriers, plan.drain_s) == ("secret", 3, 60)
