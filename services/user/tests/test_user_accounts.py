from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from argon2 import PasswordHasher

from services.user.tests.conftest import PASSWORD, Start, Users, bearer
from shop.devkit.testing import Tokens
from shop.kit.ids import new_id
from shop.user import domain

ADDRESS = {"name": "Ada", "street": "1 Main St", "city": "London", "postal_code": "N1 9GU", "country": "GB"}
Spec = dict[str, str]
FRENCH = {"city": "Paris", "postal_code": "75001", "country": "FR"}


async def test_a_registered_customer_can_sign_in_and_see_the_account(users: Users) -> None:
    answer = await users.register("Ada@Example.com")
    assert answer.status_code == 201
    assert set(answer.json()) == {"id", "email", "name", "role", "created_at"}
    assert answer.json() | {"email": "ada@example.com", "name": "Ada", "role": "customer"} == answer.json()
    tokens = (await users.sign_in("ADA@example.com")).json()
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == domain.ACCESS_TOKEN_TTL_S
    assert (await users.me(tokens["access_token"])).json() == answer.json()


async def test_registering_publishes_one_event(users: Users) -> None:
    user_id = (await users.register("ada@example.com")).json()["id"]
    assert (await users.register("ada@example.com")).status_code == 409
    rows = await users.database.fetch("SELECT type, payload FROM outbox")
    assert [row["type"] for row in rows] == ["user.registered.v1"]
    data = orjson.loads(rows[0]["payload"])["data"]
    assert data | {"user_id": user_id, "email": "ada@example.com", "name": "Ada"} == data


async def test_the_password_is_stored_as_an_argon2id_hash_only(users: Users) -> None:
    await users.register("ada@example.com")
    stored = await users.database.fetchval("SELECT password_hash FROM users")
    assert stored.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert PASSWORD not in await users.database.fetchval("SELECT string_agg(payload::text, '') FROM outbox")


async def test_of_concurrent_registrations_with_one_address_one_succeeds(users: Users) -> None:
    spellings = ["ada@example.com", "ADA@example.com", "Ada@Example.Com", " ada@example.com"] * 3
    answers = await asyncio.gather(*(users.register(email) for email in spellings))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] + [409] * (len(spellings) - 1)
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"email_taken"}
    assert await users.database.fetchval("SELECT count(*) FROM users") == 1
    assert await users.database.fetchval("SELECT count(*) FROM outbox") == 1


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"email": "no address"}, "email"),
        ({"email": None}, "email"),
        ({"email": "a" * 300 + "@example.com"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 129}, "password"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"name": "Ada\r\nBcc: all@example.com"}, "name"),
        ({"name": "Ada\x1b[2J"}, "name"),
        ({"name": "Ada\u200b"}, "name"),
        ({"name": "\u202eadA"}, "name"),
        ({"email": "müller@example.com"}, "email"),
        ({"password": "ten letters\n"}, "password"),
        ({"role": "admin"}, "role"),
    ],
)
async def test_a_registration_that_is_not_valid_names_the_field(
    users: Users, changed: dict[str, Any], field: str
) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"} | changed
    answer = await users.client.post("/api/v1/users", json=body)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_request"
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert PASSWORD not in answer.text
    assert await users.database.fetchval("SELECT count(*) FROM users") == 0


@pytest.mark.parametrize("length", [domain.MIN_PASSWORD_LENGTH, domain.MAX_PASSWORD_LENGTH])
async def test_passwords_of_the_shortest_and_longest_length_work(users: Users, length: int) -> None:
    password = ("pä" * length)[:length]
    assert (await users.register("ada@example.com", password)).status_code == 201
    assert (await users.sign_in("ada@example.com", password)).status_code == 200


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b'{"email": ', 400, "malformed_body"),
        (b'{"email": "\xff@example.com"}', 400, "invalid_utf8"),
        (b'{"email": "a@b.de", "email": "c@d.de"}', 400, "duplicate_key"),
        (b'{"email": "a@b.de", "password": "0123456789\\u0000", "name": "x"}', 400, "nul_character"),
        (b"[]", 422, "invalid_request"),
    ],
)
async def test_malformed_bodies_are_refused(users: Users, content: bytes, status: int, code: str) -> None:
    answer = await users.client.post("/api/v1/users", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_the_name_can_be_changed(users: Users) -> None:
    tokens = await users.signed_in("ada@example.com")
    headers = bearer(tokens["access_token"])
    answer = await users.client.patch("/api/v1/users/me", json={"name": " Ada Lovelace "}, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["name"] == "Ada Lovelace"
    assert (await users.me(tokens["access_token"])).json()["name"] == "Ada Lovelace"


async def test_a_domain_and_its_punycode_are_one_account(users: Users) -> None:
    answer = await users.register("a@münchen.de")
    assert (answer.status_code, answer.json()["email"]) == (201, "a@münchen.de")
    assert (await users.register("A@xn--mnchen-3ya.de")).status_code == 409
    for spelling in ("a@MÜNCHEN.de", "a@xn--mnchen-3ya.de", "a@mu\u0308nchen.de"):
        assert (await users.sign_in(spelling)).status_code == 200, spelling


async def test_a_password_is_normalized(users: Users) -> None:
    composed, decomposed = " pässwörd 12 ", " pa\u0308sswo\u0308rd 12\u00a0"
    await users.register("ada@example.com", decomposed)
    assert (await users.sign_in("ada@example.com", composed)).status_code == 200
    assert (await users.sign_in("ada@example.com", composed.strip())).status_code == 401
    long = "pa\u0308" * (domain.MAX_PASSWORD_LENGTH // 2)
    assert (await users.register("bea@example.com", long)).status_code == 201
    assert (await users.sign_in("bea@example.com", long)).status_code == 200


async def test_accounts_from_before_the_rules_still_work(users: Users) -> None:
    decomposed = "pa\u0308sswo\u0308rd 12"
    await users.register("ada@example.com")
    before = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(decomposed)
    change = "UPDATE users SET email = 'müller@example.com', name = E'Ada\\u200b\\n', password_hash = $1"
    await users.database.execute(change, before)
    tokens = (await users.sign_in("Müller@example.com", decomposed)).json()
    assert (await users.me(tokens["access_token"])).json()["name"] == "Ada\u200b\n"
    change_password = {"password": "another password", "current_password": decomposed}
    headers = bearer(tokens["access_token"])
    answer = await users.client.patch("/api/v1/users/me", json=change_password, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("field", ["name", "street", "city", "postal_code"])
async def test_an_address_has_no_invisible_characters(users: Users, field: str) -> None:
    headers = bearer((await users.signed_in("ada@example.com"))["access_token"])
    for character in ("\n", "\x1b", "\u202e", "\u200b"):
        body = ADDRESS | {field: f"N{character}1"}
        answer = await users.client.post("/api/v1/users/me/addresses", json=body, headers=headers)
        assert [error["field"] for error in answer.json()["errors"]] == [field]
    body = ADDRESS | {field: " n1  9gu " if field == "postal_code" else " A\u030a  1 "}
    answer = await users.client.post("/api/v1/users/me/addresses", json=body, headers=headers)
    assert answer.json()[field] == ("N1 9GU" if field == "postal_code" else "Å 1")


async def test_a_changed_password_ends_every_other_sign_in(users: Users) -> None:
    tokens = await users.signed_in("ada@example.com")
    elsewhere = (await users.sign_in("ada@example.com")).json()
    change = {"password": "another password", "current_password": PASSWORD}
    answer = await users.client.patch("/api/v1/users/me", json=change, headers=bearer(tokens["access_token"]))
    assert answer.status_code == 200
    assert (await users.sign_in("ada@example.com")).status_code == 401
    assert (await users.sign_in("ada@example.com", "another password")).status_code == 200
    assert (await users.refresh(tokens["refresh_token"])).status_code == 200
    assert (await users.refresh(elsewhere["refresh_token"])).status_code == 401


async def test_a_new_password_needs_the_current_one(users: Users) -> None:
    headers = bearer((await users.signed_in("ada@example.com"))["access_token"])
    wrong = {"password": "another password", "current_password": "not the password"}
    answer = await users.client.patch("/api/v1/users/me", json=wrong, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_password")
    alone = await users.client.patch("/api/v1/users/me", json={"password": "another password"}, headers=headers)
    assert alone.status_code == 422
    assert (await users.sign_in("ada@example.com")).status_code == 200


async def test_a_valid_token_of_an_unknown_user_finds_no_account(users: Users) -> None:
    await users.signed_in("ada@example.com")
    unknown = domain.User(new_id(), "gone@example.com", "Gone", "customer", users.clock.now())
    token = users.service.keys.access_token(unknown, new_id())
    for request in (
        users.client.get("/api/v1/users/me", headers=bearer(token)),
        users.client.patch("/api/v1/users/me", headers=bearer(token), json={"name": "Gone"}),
        users.client.post("/api/v1/users/me/addresses", headers=bearer(token), json=ADDRESS),
    ):
        answer = await request
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_user")


async def test_addresses_are_kept_changed_and_removed(users: Users) -> None:
    client, headers = users.client, bearer((await users.signed_in("ada@example.com"))["access_token"])
    made = await client.post("/api/v1/users/me/addresses", json=ADDRESS, headers=headers)
    assert made.status_code == 201
    assert made.json() == ADDRESS | {"id": made.json()["id"], "region": ""}
    url = f"/api/v1/users/me/addresses/{made.json()['id']}"
    changed = await client.put(url, json=ADDRESS | FRENCH, headers=headers)
    assert changed.json() == made.json() | FRENCH
    listed = await client.get("/api/v1/users/me/addresses", headers=headers)
    assert listed.json() == {"items": [changed.json()], "next_cursor": None}
    assert (await client.delete(url, headers=headers)).status_code == 204
    assert (await client.delete(url, headers=headers)).status_code == 404
    assert (await client.get("/api/v1/users/me/addresses", headers=headers)).json()["items"] == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"country": "HK", "city": "", "postal_code": "", "region": "kowloon"}, {"region": "Kowloon"}),
        ({"country": "AE", "city": "", "postal_code": "", "region": "Dubai"}, {}),
        ({"country": "IE", "city": "Cork", "postal_code": ""}, {}),
        (
            {"country": "us", "city": "Reno", "postal_code": "89501", "region": "nevada"},
            {"country": "US", "region": "NV"},
        ),
        ({"country": " de ", "city": "Bonn", "postal_code": "53111"}, {"country": "DE"}),
        ({"country": "GB", "city": "London", "postal_code": "n1 9gu"}, {"postal_code": "N1 9GU"}),
    ],
)
async def test_an_address_needs_what_its_country_needs(users: Users, given: Spec, kept: Spec) -> None:
    headers = bearer((await users.signed_in("ada@example.com"))["access_token"])
    body = {"name": "Ada", "street": "1 Main St", **given}
    made = await users.client.post("/api/v1/users/me/addresses", json=body, headers=headers)
    assert made.status_code == 201, made.text
    assert made.json() == {"region": "", **body, **kept, "id": made.json()["id"]}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        *(({"country": country}, "country") for country in ("ZZ", "XX", "UK", "Germany", "", "D")),
        ({"country": "DE", "postal_code": "ABC!!"}, "postal_code"),
        ({"country": "DE", "postal_code": ""}, "postal_code"),
        ({"country": "HK", "postal_code": "999077", "region": "Kowloon"}, "postal_code"),
        ({"country": "US", "postal_code": "94105", "region": "NY"}, "postal_code"),
        ({"country": "US", "postal_code": "94105", "region": "Bavaria"}, "region"),
        ({"country": "GB", "city": ""}, "city"),
    ],
)
async def test_what_does_not_fit_its_country_is_an_error_of_the_field(users: Users, changed: Spec, field: str) -> None:
    headers = bearer((await users.signed_in("ada@example.com"))["access_token"])
    answer = await users.client.post("/api/v1/users/me/addresses", json=ADDRESS | changed, headers=headers)
    assert (answer.status_code, [wrong["field"] for wrong in answer.json()["errors"]]) == (422, [field])


async def test_addresses_of_other_users_are_not_found(users: Users) -> None:
    owner = bearer((await users.signed_in("ada@example.com"))["access_token"])
    other = bearer((await users.signed_in("eve@example.com"))["access_token"])
    made = (await users.client.post("/api/v1/users/me/addresses", json=ADDRESS, headers=owner)).json()
    url = f"/api/v1/users/me/addresses/{made['id']}"
    for answer in (
        await users.client.put(url, json=ADDRESS | {"city": "Here"}, headers=other),
        await users.client.delete(url, headers=other),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_address")
    assert (await users.client.get("/api/v1/users/me/addresses", headers=other)).json()["items"] == []
    assert (await users.client.get("/api/v1/users/me/addresses", headers=owner)).json()["items"] == [made]


async def test_addresses_are_limited_also_in_a_race(users: Users) -> None:
    headers = bearer((await users.signed_in("ada@example.com"))["access_token"])
    answers = await asyncio.gather(
        *(
            users.client.post("/api/v1/users/me/addresses", json=ADDRESS, headers=headers)
            for _ in range(domain.MAX_ADDRESSES + 4)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201] * domain.MAX_ADDRESSES + [409] * 4


async def test_requests_without_a_token_are_refused(users: Users, tokens: Tokens) -> None:
    missing = await users.client.get("/api/v1/users/me")
    assert (missing.status_code, missing.json()["code"]) == (401, "token_missing")
    assert missing.headers["www-authenticate"].startswith("Bearer")
    foreign = await users.me(tokens.customer()[1])
    assert (foreign.status_code, foreign.json()["code"]) == (401, "invalid_token")


async def test_the_administrator_is_created_at_start_and_follows_the_settings(start_users: Start) -> None:
    admin = {"admin_email": "Admin@shop.local", "admin_password": "first password"}
    async with start_users(**admin) as users:
        tokens = (await users.sign_in("admin@shop.local", "first password")).json()
        assert (await users.me(tokens["access_token"])).json()["role"] == "admin"
        before = await users.database.fetchval("SELECT password_hash FROM users")
    async with start_users(**admin) as users:
        assert await users.database.fetchval("SELECT password_hash FROM users") == before
        assert (await users.refresh(tokens["refresh_token"])).status_code == 200
    async with start_users(**admin | {"admin_password": "second password"}) as users:
        assert (await users.sign_in("admin@shop.local", "first password")).status_code == 401
        assert (await users.sign_in("admin@shop.local", "second password")).status_code == 200
        assert (await users.refresh(tokens["refresh_token"])).status_code == 401
        assert await users.database.fetchval("SELECT count(*) FROM users") == 1


async def test_the_administrators_password_is_normalized(start_users: Start) -> None:
    async with start_users(admin_email="admin@shop.local", admin_password="pa\u0308ssword 12") as users:
        assert (await users.sign_in("admin@shop.local", "p\u00e4ssword 12")).status_code == 200


async def test_replicas_that_start_together_agree_on_administrator_and_key(start_users: Start) -> None:
    admin = {"admin_email": "admin@shop.local", "admin_password": "first password"}
    async with start_users(**admin) as one, start_users(**admin) as two:
        await asyncio.gather(*(replica.service.keys.refresh() for replica in (one, two) * 4))
        assert await one.database.fetchval("SELECT count(*) FROM signing_keys") == 1
        assert await one.database.fetchval("SELECT count(*) FROM users") == 1
        tokens = (await one.sign_in("admin@shop.local", "first password")).json()
        assert (await two.me(tokens["access_token"])).status_code == 200
