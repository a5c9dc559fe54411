"""The control room with a data folder of a shop, and browsers of an administrator and of others."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from shop.devkit.testing import INTERNAL_TOKEN, Running, Tokens
from shop.kit.sessions import Cookies, Session, Visitor, new_visitor_id
from shop.ops.app import make_app
from shop.ops.otlp import PROTOBUF
from shop.ops.settings import Settings

KEEP_MINUTES = 24 * 60.0


class Browser:
    """Requests with the cookies that the storefront would have written."""

    def __init__(self, client: httpx.AsyncClient, tokens: Tokens) -> None:
        self.client = client
        self._tokens = tokens
        self._cookies = Cookies(INTERNAL_TOKEN, Visitor)
        self.visitor = Visitor(new_visitor_id(), sign=self._cookies.form_token)

    def sign_in(self, role: Literal["admin", "customer"] = "admin", ago_s: float = 0, lasts_s: float = 900) -> str:
        """Signs in as the storefront does, some seconds ago; the access token."""
        person, _ = self._tokens.admin() if role == "admin" else self._tokens.customer()
        now = int(time.time())
        token = self._tokens.sign(self._tokens.claims(person, exp=int(now + lasts_s)))
        self.visitor.session = Session(
            access_token=token,
            refresh_token="refresh",
            user_id=str(person.user_id),
            role=role,
            email=person.email,
            name=person.name,
            expires_at=int(now + lasts_s),
            signed_in_at=int(now - ago_s),
        )
        self._send_cookies()
        return token

    def _send_cookies(self) -> None:
        for cookie in self._cookies.changes(self.visitor, secure=False):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.client.cookies.set(name, value)

    async def get(self, path: str, status: int = 200) -> httpx.Response:
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer

    async def post(self, path: str, status: int = 303, **fields: Any) -> httpx.Response:
        """A form of a page of this visitor."""
        data = {"csrf_token": self.visitor.csrf_token, **fields}
        answer = await self.client.post(path, data=data, headers={"Referer": f"http://test{path}"})
        assert answer.status_code == status, answer.text
        return answer


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


@pytest.fixture
def settings(tokens: Tokens, data_dir: Path) -> Settings:
    return Settings(
        internal_token=INTERNAL_TOKEN,
        jwks_url=tokens.jwks_url,
        traces_minutes=KEEP_MINUTES,
        local_data_dir=data_dir,
        trace_link="https://tempo.example.com/trace/{trace_id}",
    )


@pytest.fixture
async def client(running: Running, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(make_app(settings)) as made:
        yield made


@pytest.fixture
def browser(client: httpx.AsyncClient, tokens: Tokens) -> Browser:
    return Browser(client, tokens)


async def send(client: httpx.AsyncClient, body: bytes, content_type: str = PROTOBUF) -> httpx.Response:
    """Export spans as a service does."""
    return await client.post("/v1/traces", content=body, headers={"Content-Type": content_type})
