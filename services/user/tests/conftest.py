from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Running
from shop.kit.app import Context, create_app
from shop.kit.clock import FixedClock
from shop.kit.db import Database
from shop.user import api
from shop.user import service as user_service
from shop.user.service import UserService
from shop.user.settings import Settings

PASSWORD = "correct horse battery"
PATIENT_S = 10.0
"""So that the key set has the users that were deleted, also where the database takes its time."""


@dataclass
class Users:
    """A running user service with a clock that a test sets."""

    client: httpx.AsyncClient
    app: FastAPI
    clock: FixedClock
    database: Database
    settings: Settings

    @property
    def service(self) -> UserService:
        service: UserService = self.app.state.service
        return service

    async def register(self, email: str, password: str = PASSWORD, name: str = "Ada") -> httpx.Response:
        return await self.client.post("/api/v1/users", json={"email": email, "password": password, "name": name})

    async def sign_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        return await self.client.post("/api/v1/tokens", json={"email": email, "password": password})

    async def refresh(self, refresh_token: str) -> httpx.Response:
        return await self.client.post("/api/v1/tokens/refresh", json={"refresh_token": refresh_token})

    async def me(self, access_token: str) -> httpx.Response:
        return await self.client.get("/api/v1/users/me", headers=bearer(access_token))

    async def signed_in(self, email: str) -> dict[str, Any]:
        """The tokens of a new customer."""
        assert (await self.register(email)).status_code == 201
        answer = await self.sign_in(email)
        assert answer.status_code == 200
        tokens: dict[str, Any] = answer.json()
        return tokens


def bearer(access_token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {access_token}"}


Start = Callable[..., contextlib.AbstractAsyncContextManager[Users]]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_service, "KEY_SET_TIMEOUT_S", PATIENT_S)


@pytest.fixture
async def user_database(database_for: DatabaseFor) -> str:
    return await database_for("user")


@pytest.fixture
def start_users(user_database: str, running: Running) -> Start:
    """Starts a replica on this test's database; ``clock`` and settings may be given."""

    @contextlib.asynccontextmanager
    async def start(clock: FixedClock | None = None, **changed: Any) -> AsyncIterator[Users]:
        known: dict[str, Any] = {
            "database_url": user_database,
            "internal_token": INTERNAL_TOKEN,
            "argon2_memory_kib": 64,
        }
        settings = Settings(**known | {"argon2_passes": 1} | changed)
        held = clock or FixedClock(datetime.now(UTC))

        async def build(context: Context) -> UserService:
            context.clock = held
            return await UserService.build(context)

        app = create_app(settings, title="Users", routers=[api.router, api.well_known], build=build, uses_bus=False)
        async with running(app) as client:
            yield Users(client, app, held, app.state.context.database, settings)

    return start


@pytest.fixture
async def users(start_users: Start) -> AsyncIterator[Users]:
    async with start_users() as running_users:
        yield running_users
