"""Every service answers requests made up from its own OpenAPI document as that document says, and never with a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from shop.kit.embedded import free_port
from tests.architecture.source import service_nouns
from tests.contracts import fuzz
from tests.load import local_shop
from tests.load.local_shop import LocalShop

pytestmark = pytest.mark.shop

HTML_ONLY = {"storefront"}
"""Its pages are for browsers; it has no OpenAPI document."""
LOGIN_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Target:
    """A shop of its own, which may be filled with nonsense; ``bearer`` is the administrator's token."""

    local: LocalShop
    url: str
    bearer: str
    internal_token: str

    def base_url(self, noun: str) -> str:
        if noun == "gateway":
            return self.url
        parts = self.local.status()["components"]
        return next(f"http://127.0.0.1:{part['port']}" for part in parts if part["name"].partition("-")[0] == noun)

    def headers(self, path: str) -> dict[str, str]:
        token = self.internal_token if path.startswith("/internal/") else self.bearer
        return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    local = local_shop.start(tmp_path_factory.mktemp("fuzz") / "data", free_port())
    try:
        url, (email, password) = local.status()["url"], local.admin_login()
        credentials = {"email": email, "password": password}
        answer = requests.post(f"{url}/api/v1/tokens", json=credentials, timeout=LOGIN_TIMEOUT_S)
        secrets = json.loads((local.data_dir / "passwords.json").read_text(encoding="utf-8"))
        yield Target(local, url, answer.json()["access_token"], secrets["internal_token"])
    finally:
        local.down()


@pytest.mark.parametrize("noun", sorted(set(service_nouns()) - HTML_ONLY))
def test_service_answers_as_its_document_says(target: Target, noun: str) -> None:
    base_url = target.base_url(noun)
    openapi = fuzz.document(base_url)
    assert openapi, f"{noun} has no OpenAPI document"
    assert fuzz.failures(openapi, base_url, target.headers) == []


def test_every_service_lives_after_the_nonsense(target: Target) -> None:
    parts = target.local.status()["components"]
    assert [part["name"] for part in parts if not part["healthy"] or part["restarts"]] == []
