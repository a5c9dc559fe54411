from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.user.tests.conftest import Start, Users
from shop.kit.auth import AUDIENCE, ISSUER
from shop.user import domain

DAY_S = 24 * 3600


async def jwks(users: Users) -> list[dict[str, str]]:
    answer = await users.client.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    keys: list[dict[str, str]] = answer.json()["keys"]
    return keys


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def test_an_access_token_is_what_its_jwks_verifies(users: Users) -> None:
    tokens = await users.signed_in("ada@example.com")
    header = jwt.get_unverified_header(tokens["access_token"])
    assert header == {"alg": "EdDSA", "typ": "at+jwt", "kid": header["kid"]}
    (published,) = await jwks(users)
    claims = jwt.decode(
        tokens["access_token"], jwt.PyJWK(published), algorithms=["EdDSA"], audience=AUDIENCE, issuer=ISSUER
    )
    assert claims["role"] == "customer"
    assert claims["email"] == "ada@example.com"
    assert claims["exp"] - claims["iat"] == domain.ACCESS_TOKEN_TTL_S


async def test_the_jwks_may_be_cached_and_holds_no_private_part(users: Users) -> None:
    answer = await users.client.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == f"public, max-age={domain.JWKS_MAX_AGE_S}"
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "crv", "use", "alg", "kid", "x"}


async def test_private_keys_are_encrypted_at_rest(users: Users) -> None:
    service: Any = users.service
    row = await users.database.fetchrow("SELECT kid, private_key FROM signing_keys")
    assert row is not None
    raw = service.keys._private[row["kid"]].private_bytes_raw()
    assert raw not in row["private_key"]
    assert base64.urlsafe_b64decode(row["private_key"]) != raw
    assert service.keys._secrets.fernet.decrypt(row["private_key"]) == raw


def _hmac_with_the_public_key(users: Users, claims: dict[str, Any], header: dict[str, str]) -> str:
    """Algorithm confusion: HS256 with the public key as the secret, in raw bytes since PyJWT refuses PEM."""
    service: Any = users.service
    public = service.keys._private[header["kid"]].public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return jwt.encode(claims, public, algorithm="HS256", headers={"kid": header["kid"], "typ": "at+jwt"})


def _signed(users: Users, claims: dict[str, Any], header: dict[str, str]) -> str:
    service: Any = users.service
    key = service.keys._private[header["kid"]]
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": header["kid"], "typ": "at+jwt"})


Forge = Callable[[Users, dict[str, Any], dict[str, str]], str]
FORGERIES: dict[str, Forge] = {
    "alg none": lambda _, claims, header: jwt.encode(
        claims, "", algorithm="none", headers={"kid": header["kid"], "typ": "at+jwt"}
    ),
    "HS256 with the public key": _hmac_with_the_public_key,
    "another key": lambda _, claims, header: jwt.encode(
        claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"kid": header["kid"], "typ": "at+jwt"}
    ),
    "unknown kid": lambda _, claims, header: jwt.encode(
        claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"kid": "unknown", "typ": "at+jwt"}
    ),
    "no kid": lambda users, claims, header: jwt.encode(
        claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"typ": "at+jwt"}
    ),
    "wrong type": lambda users, claims, header: jwt.encode(
        claims, _key(users, header), algorithm="EdDSA", headers={"kid": header["kid"], "typ": "JWT"}
    ),
    "wrong audience": lambda users, claims, header: _signed(users, claims | {"aud": "other"}, header),
    "wrong issuer": lambda users, claims, header: _signed(users, claims | {"iss": "other"}, header),
    "not yet valid": lambda users, claims, header: _signed(users, claims | {"nbf": claims["iat"] + 3600}, header),
    "issued in the future": lambda users, claims, header: _signed(
        users, claims | {"iat": claims["iat"] + 3600}, header
    ),
    "no expiry": lambda users, claims, header: _signed(users, {k: v for k, v in claims.items() if k != "exp"}, header),
    "no subject": lambda users, claims, header: _signed(users, {k: v for k, v in claims.items() if k != "sub"}, header),
    "unknown role": lambda users, claims, header: _signed(users, claims | {"role": "root"}, header),
    "subject is no id": lambda users, claims, header: _signed(users, claims | {"sub": "admin"}, header),
}


def _key(users: Users, header: dict[str, str]) -> Ed25519PrivateKey:
    service: Any = users.service
    key: Ed25519PrivateKey = service.keys._private[header["kid"]]
    return key


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forged_token_is_refused(users: Users, forge: Forge) -> None:
    good = (await users.signed_in("ada@example.com"))["access_token"]
    claims = jwt.decode(good, options={"verify_signature": False})
    answer = await users.me(forge(users, claims, jwt.get_unverified_header(good)))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


async def test_an_expired_token_is_refused_as_expired(users: Users) -> None:
    good = (await users.signed_in("ada@example.com"))["access_token"]
    claims = jwt.decode(good, options={"verify_signature": False})
    old = claims | {"iat": claims["iat"] - 3600, "exp": claims["exp"] - 3600}
    answer = await users.me(_signed(users, old, jwt.get_unverified_header(good)))
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "." * 100, "x" * 5000])
async def test_invalid_tokens_are_refused(users: Users, token: str) -> None:
    answer = await users.me(token)
    assert answer.status_code == 401


async def test_keys_rotate_without_a_gap(start_users: Start) -> None:
    """The next key is published before it signs; the old one stays until its last token has expired."""
    async with start_users(key_rotation_days=30) as users:
        keys = users.service.keys
        old = kid((await users.signed_in("ada@example.com"))["access_token"])

        users.clock.advance(30 * DAY_S - domain.KEY_PUBLISH_LEAD_S)
        await keys.refresh()
        published = {key["kid"] for key in await jwks(users)}
        assert old in published
        assert len(published) == 2
        assert kid((await users.sign_in("ada@example.com")).json()["access_token"]) == old

        users.clock.advance(domain.KEY_PUBLISH_LEAD_S)
        (new,) = published - {old}
        assert kid((await users.sign_in("ada@example.com")).json()["access_token"]) == new
        await keys.refresh()
        assert {key["kid"] for key in await jwks(users)} == {old, new}

        users.clock.advance(domain.ACCESS_TOKEN_TTL_S + domain.CLOCK_SKEW_S + domain.JWKS_MAX_AGE_S + 1)
        await keys.refresh()
        assert {key["kid"] for key in await jwks(users)} == {new}


async def test_a_restart_keeps_the_key(start_users: Start) -> None:
    async with start_users() as users:
        token = (await users.signed_in("ada@example.com"))["access_token"]
    async with start_users() as users:
        assert [key["kid"] for key in await jwks(users)] == [kid(token)]
        assert (await users.me(token)).status_code == 200


async def test_with_another_secret_a_new_key_signs_and_the_old_one_still_verifies(start_users: Start) -> None:
    async with start_users() as users:
        old = (await users.signed_in("ada@example.com"))["access_token"]
    async with start_users(key_encryption_key="another secret") as users:
        assert (await users.me(old)).status_code == 200
        fresh = (await users.sign_in("ada@example.com")).json()["access_token"]
        assert kid(fresh) != kid(old)
        assert (await users.me(fresh)).status_code == 200
        assert {key["kid"] for key in await jwks(users)} == {kid(old), kid(fresh)}


async def test_without_any_secret_the_service_does_not_start(start_users: Start) -> None:
    with pytest.raises(ValueError, match="SHOP_KEY_ENCRYPTION_KEY"):
        async with start_users(internal_token=""):
            pass
