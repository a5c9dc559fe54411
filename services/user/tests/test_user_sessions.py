from __future__ import annotations

import asyncio
from typing import Any

import pytest
from argon2 import PasswordHasher

from services.user.tests.conftest import PASSWORD, Start, Users, bearer
from shop.devkit.testing import Logged
from shop.kit.errors import Problem
from shop.user import domain, passwords
from shop.user.passwords import Passwords

WRONG = "not the password"


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(users: Users) -> None:
    await users.register("ada@example.com")
    wrong, unknown = await users.sign_in("ada@example.com", WRONG), await users.sign_in("eve@example.com", WRONG)
    for answer in (wrong, unknown):
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert {**wrong.json(), "trace_id": ""} == {**unknown.json(), "trace_id": ""}


async def test_an_unknown_address_costs_as_much_work_as_a_known_one(users: Users) -> None:
    """Not timed: the same hash function is run with the same parameters, and the same rows are written."""
    await users.register("ada@example.com")
    service: Any = users.service
    hasher = service._passwords._hasher
    parameters: list[str] = []
    verify = hasher.verify

    def noted(stored: str, password: str) -> bool:
        parameters.append(stored.rsplit("$", 2)[0])
        result: bool = verify(stored, password)
        return result

    service._passwords._hasher = _Noting(hasher, noted)
    await users.sign_in("ada@example.com", WRONG)
    await users.sign_in("eve@example.com", WRONG)
    assert len(parameters) == 2
    assert parameters[0] == parameters[1]
    assert await users.database.fetchval("SELECT array_agg(failures) FROM sign_in_failures") == [1, 1]


class _Noting:
    def __init__(self, hasher: PasswordHasher, verify: Any) -> None:
        self.verify = verify
        self.hash = hasher.hash
        self.check_needs_rehash = hasher.check_needs_rehash


@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
async def test_repeated_failures_lock_known_and_unknown_addresses(users: Users, logged: Logged, email: str) -> None:
    await users.register("ada@example.com")
    for _ in range(domain.FREE_FAILURES):
        assert (await users.sign_in(email, WRONG)).status_code == 401
    refused = await users.sign_in(email, PASSWORD)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_attempts")
    assert int(refused.headers["retry-after"]) == domain.FIRST_LOCK_S
    lines = logged(event="sign_in_refused")
    reason = "wrong_password" if email.startswith("ada") else "unknown_address"
    assert [line["reason"] for line in lines] == [reason] * domain.FREE_FAILURES + ["locked"]
    assert not any(email in f"{line}" for line in lines)
    users.clock.advance(domain.FIRST_LOCK_S)
    assert (await users.sign_in(email, WRONG)).status_code == 401
    assert int((await users.sign_in(email, WRONG)).headers["retry-after"]) == 2 * domain.FIRST_LOCK_S


async def test_after_the_wait_the_right_password_works_and_the_count_starts_anew(users: Users) -> None:
    await users.register("ada@example.com")
    for _ in range(domain.FREE_FAILURES):
        await users.sign_in("ada@example.com", WRONG)
    users.clock.advance(domain.FIRST_LOCK_S)
    assert (await users.sign_in("ada@example.com")).status_code == 200
    for _ in range(domain.FREE_FAILURES - 1):
        await users.sign_in("ada@example.com", WRONG)
    assert (await users.sign_in("ada@example.com")).status_code == 200


async def test_failures_are_forgotten_with_time(users: Users) -> None:
    await users.register("ada@example.com")
    for _ in range(domain.FREE_FAILURES - 1):
        await users.sign_in("ada@example.com", WRONG)
    users.clock.advance(domain.FAILURE_MEMORY_S + 1)
    await users.sign_in("ada@example.com", WRONG)
    assert (await users.sign_in("ada@example.com")).status_code == 200


async def test_concurrent_guesses_do_not_bypass_the_lock(users: Users) -> None:
    """The lock is checked again when the session is stored."""
    await users.register("ada@example.com")
    account = await _account(users)
    for _ in range(domain.FREE_FAILURES):
        await users.service.sessions.record_failure("ada@example.com")
    with pytest.raises(Problem) as refused:
        await users.service.sessions._start(account)
    assert refused.value.code == "too_many_attempts"
    assert await users.database.fetchval("SELECT count(*) FROM token_families") == 0


async def test_many_concurrent_sign_ins_succeed(users: Users) -> None:
    await users.register("ada@example.com")
    answers = await asyncio.gather(*(users.sign_in("ada@example.com") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}


async def test_refresh_tokens_follow_each_other(users: Users) -> None:
    tokens = await users.signed_in("ada@example.com")
    seen = {tokens["refresh_token"]}
    for _ in range(5):
        answer = await users.refresh(tokens["refresh_token"])
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        tokens = answer.json()
        seen.add(tokens["refresh_token"])
        assert (await users.me(tokens["access_token"])).status_code == 200
    assert len(seen) == 6


async def test_refresh_tokens_are_stored_as_hashes(users: Users) -> None:
    token = (await users.signed_in("ada@example.com"))["refresh_token"]
    stored = await users.database.fetchval("SELECT string_agg(t::text, '') FROM refresh_tokens t")
    assert token not in stored
    assert token.encode().hex() not in stored


async def test_a_stolen_refresh_token_ends_the_session(users: Users) -> None:
    first = (await users.signed_in("ada@example.com"))["refresh_token"]
    second = (await users.refresh(first)).json()["refresh_token"]
    users.clock.advance(domain.REFRESH_REPEAT_S + 1)
    reused = await users.refresh(first)
    assert (reused.status_code, reused.json()["code"]) == (401, "refresh_token_reused")
    after = await users.refresh(second)
    assert (after.status_code, after.json()["code"]) == (401, "invalid_refresh_token")


async def test_a_token_whose_successor_is_in_use_is_stolen_at_once(users: Users) -> None:
    first = (await users.signed_in("ada@example.com"))["refresh_token"]
    second = (await users.refresh(first)).json()["refresh_token"]
    third = (await users.refresh(second)).json()["refresh_token"]
    assert (await users.refresh(first)).json()["code"] == "refresh_token_reused"
    assert (await users.refresh(third)).status_code == 401


async def test_other_sessions_survive_a_theft(users: Users) -> None:
    first = (await users.signed_in("ada@example.com"))["refresh_token"]
    other = (await users.sign_in("ada@example.com")).json()["refresh_token"]
    await users.refresh(first)
    users.clock.advance(domain.REFRESH_REPEAT_S + 1)
    await users.refresh(first)
    assert (await users.refresh(other)).status_code == 200


async def test_concurrent_refreshes_get_the_same_successor(start_users: Start) -> None:
    """Two tabs, or a retry after a lost response, on two replicas: the session goes on and the chain does not fork."""
    async with start_users() as one, start_users() as two:
        first = (await one.signed_in("ada@example.com"))["refresh_token"]
        answers = await asyncio.gather(*(replica.refresh(first) for replica in (one, two) * 6))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1
        assert await one.database.fetchval("SELECT count(*) FROM refresh_tokens") == 2
        assert (await two.refresh(answers[0].json()["refresh_token"])).status_code == 200


async def test_a_refresh_token_expires_with_its_sign_in(start_users: Start) -> None:
    async with start_users(refresh_token_days=1) as users:
        token = (await users.signed_in("ada@example.com"))["refresh_token"]
        users.clock.advance(24 * 3600 - 1)
        token = (await users.refresh(token)).json()["refresh_token"]
        users.clock.advance(1)
        assert (await users.refresh(token)).json()["code"] == "invalid_refresh_token"


@pytest.mark.parametrize("token", ["x", "A" * 43, "ü" * 43])
async def test_an_unknown_refresh_token_is_refused(users: Users, token: str) -> None:
    answer = await users.refresh(token)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_refresh_token")


async def test_signing_out_ends_this_session_only(users: Users) -> None:
    here = await users.signed_in("ada@example.com")
    there = (await users.sign_in("ada@example.com")).json()
    assert (await users.client.delete("/api/v1/tokens", headers=bearer(here["access_token"]))).status_code == 204
    assert (await users.refresh(here["refresh_token"])).status_code == 401
    assert (await users.refresh(there["refresh_token"])).status_code == 200


async def test_expired_rows_are_deleted(users: Users) -> None:
    await users.signed_in("ada@example.com")
    await users.sign_in("eve@example.com", WRONG)
    assert await users.service.sessions.delete_expired() == 0
    users.clock.advance(31 * 24 * 3600)
    assert await users.service.sessions.delete_expired() == 2
    assert await users.database.fetchval("SELECT count(*) FROM refresh_tokens") == 0


async def test_a_hash_of_old_parameters_is_replaced_at_the_next_sign_in(start_users: Start) -> None:
    async with start_users() as users:
        await users.register("ada@example.com")
    async with start_users(argon2_memory_kib=128) as users:
        assert (await users.sign_in("ada@example.com", WRONG)).status_code == 401
        assert "m=64," in await users.database.fetchval("SELECT password_hash FROM users")
        assert (await users.sign_in("ada@example.com")).status_code == 200
        assert "m=128," in await users.database.fetchval("SELECT password_hash FROM users")
        assert (await users.sign_in("ada@example.com")).status_code == 200


async def test_more_passwords_than_the_queue_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MAX_WAITING", 2)
    pool = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1), threads=1)
    results = await asyncio.gather(*(pool.hash("a password") for _ in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Problem)]
    assert [(problem.status, problem.code) for problem in refused] == [(503, "overloaded")] * 3
    assert await pool.verify(await pool.hash("a password"), "a password")
    pool.close()


async def _account(users: Users) -> domain.Account:
    from shop.user import repository

    account = await repository.find_account_by_email(users.database, "ada@example.com")
    assert account is not None
    return account
