"""Access tokens of deleted accounts are refused before they expire."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import httpx
import orjson
import pytest

from shop.devkit.testing import Running, Tokens, wait_until
from shop.kit import auth
from shop.kit.app import create_app
from shop.kit.auth import CurrentUser
from shop.kit.ids import new_id
from shop.kit.routing import router
from shop.kit.settings import ServiceSettings

api = router()


class Settings(ServiceSettings):
    service: ClassVar[str] = "notes"


@api.get("/me")
async def me(user: CurrentUser) -> str:
    return str(user.user_id)


@pytest.fixture
def key_set(tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that services read for each request, with the keys of ``tokens``."""
    monkeypatch.setattr(auth, "DELETED_USERS_TTL_S", 0.0)
    monkeypatch.setattr(auth, "KEYS_MIN_REFRESH_S", 0.0)
    path = tmp_path / "jwks.json"
    path.write_bytes(Path(unquote(urlsplit(tokens.jwks_url).path)).read_bytes())
    return path


def publish(key_set: Path, **members: Any) -> None:
    key_set.write_bytes(orjson.dumps(orjson.loads(key_set.read_bytes()) | members))


async def test_a_token_of_a_deleted_user_is_refused(running: Running, tokens: Tokens, key_set: Path) -> None:
    deleted, other = new_id(), new_id()
    app = create_app(Settings(jwks_url=key_set.as_uri()), title="Notes", routers=[api], uses_bus=False)
    async with running(app) as client:
        tokens_of = {user_id: tokens.headers(user_id=user_id) for user_id in (deleted, other)}
        for headers in tokens_of.values():
            assert (await client.get("/me", headers=headers)).status_code == 200
        publish(key_set, deleted_users=[str(deleted)])

        async def refused() -> httpx.Response | None:
            answer = await client.get("/me", headers=tokens_of[deleted])
            return answer if answer.status_code == 401 else None

        assert (await wait_until(refused)).json()["code"] == "invalid_token"
        assert (await client.get("/me", headers=tokens_of[other])).status_code == 200
        assert (await client.get("/me", headers=tokens.headers(user_id=deleted))).status_code == 401


async def test_a_key_set_that_cannot_be_read_changes_nothing(running: Running, tokens: Tokens, key_set: Path) -> None:
    deleted, other = tokens.headers(user_id=(deleted_id := new_id())), tokens.headers()
    publish(key_set, deleted_users=[str(deleted_id)])
    app = create_app(Settings(jwks_url=key_set.as_uri()), title="Notes", routers=[api], uses_bus=False)
    async with running(app) as client:
        assert (await client.get("/me", headers=deleted)).status_code == 401
        for content in (b"no JSON", orjson.dumps({"keys": [], "deleted_users": ["nobody"]})):
            key_set.write_bytes(content)
            for _ in range(5):
                assert (await client.get("/me", headers=deleted)).status_code == 401
                assert (await client.get("/me", headers=other)).status_code == 200
