from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from services.user.tests.conftest import PASSWORD, Start, Users, bearer
from shop.contracts.events import UserDeleted
from shop.user import domain
from shop.user import service as user_service
from shop.user.sessions import Sessions

ADA = "ada@example.com"
ADDRESS = {"name": "Ada", "street": "1 Main St", "city": "London", "postal_code": "N1 9GU", "country": "GB"}
ADMINS = {"admin_email": "admin@shop.local", "admin_password": PASSWORD}
SHORT_S = 0.1
PERSONAL_TABLES = ("users", "addresses", "token_families", "refresh_tokens", "sign_in_failures")


async def delete(users: Users, access_token: str, password: str = PASSWORD) -> httpx.Response:
    body, headers = {"password": password}, bearer(access_token)
    return await users.client.request("DELETE", "/api/v1/users/me", json=body, headers=headers)


async def rows(users: Users) -> dict[str, int]:
    return {name: await users.database.fetchval(f"SELECT count(*) FROM {name}") for name in PERSONAL_TABLES}


async def deletions(users: Users) -> list[dict[str, Any]]:
    found = await users.database.fetch("SELECT payload FROM outbox WHERE type = $1", UserDeleted.TYPE)
    return [orjson.loads(row["payload"])["data"] for row in found]


async def test_deleting_removes_everything_of_the_account(users: Users) -> None:
    tokens = await users.signed_in(ADA)
    await users.sign_in(ADA)
    headers = bearer(tokens["access_token"])
    await users.client.post("/api/v1/users/me/addresses", json=ADDRESS, headers=headers)
    await users.sign_in(ADA, "wrong password")
    assert all((await rows(users)).values())
    assert (await delete(users, tokens["access_token"])).status_code == 204
    assert await rows(users) == dict.fromkeys(PERSONAL_TABLES, 0)


async def test_deleting_keeps_other_accounts(users: Users) -> None:
    tokens, other = await users.signed_in(ADA), await users.signed_in("bea@example.com")
    await users.sign_in("bea@example.com", "wrong password")
    before = await rows(users)
    await delete(users, tokens["access_token"])
    assert await rows(users) == {name: (count + 1) // 2 for name, count in before.items()}
    assert (await users.me(other["access_token"])).json()["email"] == "bea@example.com"
    assert (await users.refresh(other["refresh_token"])).status_code == 200


async def test_deletion_is_published_once_and_without_personal_data(users: Users) -> None:
    tokens = await users.signed_in(ADA)
    user_id = (await users.me(tokens["access_token"])).json()["id"]
    answers = await asyncio.gather(*(delete(users, tokens["access_token"]) for _ in range(4)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 204
    assert set(statuses[1:]) <= {403, 404}
    (published,) = await deletions(users)
    assert published.keys() == {"user_id", "occurred_at"}
    assert published["user_id"] == user_id


async def test_tokens_of_a_deleted_account_are_refused(users: Users) -> None:
    tokens = await users.signed_in(ADA)
    await delete(users, tokens["access_token"])
    refreshed = await users.refresh(tokens["refresh_token"])
    assert (refreshed.status_code, refreshed.json()["code"]) == (401, "invalid_refresh_token")
    assert (await users.me(tokens["access_token"])).status_code in {401, 404}
    headers = bearer(tokens["access_token"])
    added = await users.client.post("/api/v1/users/me/addresses", json=ADDRESS, headers=headers)
    assert added.status_code in {401, 404}
    assert (await users.sign_in(ADA)).status_code == 401


async def test_the_address_can_be_registered_again_as_another_user(users: Users) -> None:
    tokens = await users.signed_in(ADA)
    first = (await users.me(tokens["access_token"])).json()["id"]
    await delete(users, tokens["access_token"])
    again = await users.register(ADA, "another long passphrase")
    assert again.status_code == 201
    assert again.json()["id"] != first
    assert (await users.sign_in(ADA)).status_code == 401
    assert (await users.sign_in(ADA, "another long passphrase")).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"password": "wrong password"}, 403, "wrong_password"),
        ({"password": ""}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
        ({"password": PASSWORD, "reason": "none"}, 422, "invalid_request"),
        (None, 422, "invalid_request"),
    ],
)
async def test_deletion_needs_the_password(users: Users, body: Any, status: int, code: str) -> None:
    tokens = await users.signed_in(ADA)
    headers = bearer(tokens["access_token"])
    answer = await users.client.request("DELETE", "/api/v1/users/me", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await users.me(tokens["access_token"])).status_code == 200
    assert await deletions(users) == []


async def test_deletion_needs_a_token(users: Users) -> None:
    answer = await users.client.request("DELETE", "/api/v1/users/me", json={"password": PASSWORD})
    assert answer.status_code == 401


async def test_the_password_cannot_be_guessed_by_deleting(users: Users) -> None:
    tokens = await users.signed_in(ADA)
    for _ in range(domain.FREE_FAILURES):
        assert (await delete(users, tokens["access_token"], "wrong password")).status_code == 403
    assert (await delete(users, tokens["access_token"])).status_code == 429
    users.clock.advance(domain.MAX_LOCK_S)
    assert (await delete(users, tokens["access_token"])).status_code == 204


async def test_the_only_administrator_cannot_be_deleted(start_users: Start) -> None:
    async with start_users(**ADMINS) as users:
        token = (await users.sign_in(ADMINS["admin_email"])).json()["access_token"]
        refused = await delete(users, token)
        assert (refused.status_code, refused.json()["code"]) == (409, "last_admin")
        assert (await users.me(token)).json()["role"] == "admin"
        assert await deletions(users) == []


async def test_of_two_administrators_at_once_one_stays(start_users: Start) -> None:
    async with start_users(**ADMINS) as users:
        await users.service.ensure_admin("second@shop.local", PASSWORD)
        emails = (ADMINS["admin_email"], "second@shop.local")
        tokens = [(await users.sign_in(email)).json()["access_token"] for email in emails]
        answers = await asyncio.gather(*(delete(users, token) for token in tokens))
        assert sorted(answer.status_code for answer in answers) == [204, 409]
        assert await users.database.fetchval("SELECT count(*) FROM users WHERE role = 'admin'") == 1


async def deleted_users(users: Users) -> list[str]:
    found: list[str] = (await users.client.get("/.well-known/jwks.json")).json()["deleted_users"]
    return found


async def test_the_key_set_names_deleted_users_until_their_tokens_have_expired(users: Users) -> None:
    tokens = await users.signed_in(ADA)
    user_id = (await users.me(tokens["access_token"])).json()["id"]
    assert await deleted_users(users) == []
    await delete(users, tokens["access_token"])
    assert await deleted_users(users) == [user_id]
    users.clock.advance(domain.ACCESS_TOKEN_TTL_S)
    assert await deleted_users(users) == [user_id]
    users.clock.advance(domain.CLOCK_SKEW_S + 1)
    assert await deleted_users(users) == []
    assert await users.service.sessions.delete_expired() == 1
    assert await users.database.fetchval("SELECT count(*) FROM deleted_users") == 0


async def test_the_key_set_does_not_wait_for_the_database(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = await users.signed_in(ADA)
    await delete(users, tokens["access_token"])
    before = await deleted_users(users)
    monkeypatch.setattr(user_service, "KEY_SET_TIMEOUT_S", SHORT_S)
    async with users.database.transaction() as db:
        await db.execute("LOCK TABLE deleted_users IN ACCESS EXCLUSIVE MODE")
        answer = (await users.client.get("/.well-known/jwks.json")).json()
    assert (answer["deleted_users"], len(answer["keys"])) == (before, 1)


async def test_a_password_that_was_changed_meanwhile_deletes_nothing(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password is changed between its check and the deletion."""
    tokens, check = await users.signed_in(ADA), Sessions.check_password
    changed = {"current_password": PASSWORD, "password": "another long passphrase"}

    async def check_and_change(sessions: Sessions, account: domain.Account, password: str) -> bool:
        right = await check(sessions, account, password)
        monkeypatch.setattr(Sessions, "check_password", check)
        headers = bearer(tokens["access_token"])
        assert (await users.client.patch("/api/v1/users/me", json=changed, headers=headers)).is_success
        return right

    monkeypatch.setattr(Sessions, "check_password", check_and_change)
    answer = await delete(users, tokens["access_token"])
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_password")
    assert (await users.sign_in(ADA, "another long passphrase")).status_code == 200
    assert await deletions(users) == []
