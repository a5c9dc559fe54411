"""Administrators look accounts up by email address."""

from __future__ import annotations

import pytest

from services.user.tests.conftest import PASSWORD, Start, Users, bearer

ADMIN = {"admin_email": "admin@shop.local", "admin_password": PASSWORD}


async def administrator(users: Users) -> dict[str, str]:
    return bearer((await users.sign_in(ADMIN["admin_email"])).json()["access_token"])


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@Example.COM", " ada@example.com "])
async def test_an_administrator_finds_an_account_by_its_address(start_users: Start, email: str) -> None:
    async with start_users(**ADMIN) as users:
        registered = (await users.register("ada@example.com")).json()
        headers = await administrator(users)
        answer = await users.client.get("/api/v1/users", params={"email": email}, headers=headers)
        assert answer.status_code == 200
        assert answer.json() == {"items": [registered], "next_cursor": None}


async def test_an_unknown_address_finds_nothing(start_users: Start) -> None:
    async with start_users(**ADMIN) as users:
        headers = await administrator(users)
        answer = await users.client.get("/api/v1/users", params={"email": "bo@example.com"}, headers=headers)
        assert (answer.status_code, answer.json()["items"]) == (200, [])


@pytest.mark.parametrize("params", [{}, {"email": "no address"}, {"email": ""}])
async def test_the_address_is_needed_and_checked(start_users: Start, params: dict[str, str]) -> None:
    async with start_users(**ADMIN) as users:
        answer = await users.client.get("/api/v1/users", params=params, headers=await administrator(users))
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "email")


async def test_customers_cannot_look_accounts_up(users: Users) -> None:
    own = bearer((await users.signed_in("ada@example.com"))["access_token"])
    answer = await users.client.get("/api/v1/users", params={"email": "ada@example.com"}, headers=own)
    assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")
    assert (await users.client.get("/api/v1/users", params={"email": "ada@example.com"})).status_code == 401
