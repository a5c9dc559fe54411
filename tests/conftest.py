"""A whole running shop for the tests that are marked ``shop``: the same processes that `make up` starts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from shop.devkit.embedded import free_port
from tests.load import local_shop
from tests.load.local_shop import Json, LocalShop
from tests.load.shoppers import Shop as Api


@dataclass(frozen=True)
class RunningShop:
    """The shop that the tests of one session share; they make their own customers and products."""

    local: LocalShop
    url: str
    admin_email: str
    admin_password: str

    @contextlib.asynccontextmanager
    async def stopped(self, component: str) -> AsyncIterator[None]:
        """A component is away inside the context. It is started again even if the test fails: others share the shop."""
        await asyncio.to_thread(self.local.stop, component)
        try:
            yield
        finally:
            await asyncio.to_thread(self.local.start, component)

    def restarts(self, noun: str) -> int:
        return restarts_of(noun, self.local.status()["components"])

    def is_back(self, noun: str, restarts: int) -> bool:
        """Whether the service was started again after those ``restarts``, and everything is healthy."""
        parts = self.local.status()["components"]
        return restarts_of(noun, parts) > restarts and all(part["healthy"] for part in parts)

    def healthy(self) -> bool:
        return all(part["healthy"] for part in self.local.status()["components"])


def restarts_of(noun: str, components: Sequence[Json]) -> int:
    return sum(part["restarts"] for part in components if part["name"].startswith(noun))


@pytest.fixture(scope="session")
def shop(servers_folder: Path) -> Iterator[RunningShop]:
    """A shop on a free port, without a rate limit; it ends with the session."""
    modules = {"recommendations": True, "food": True, "arcade": True}
    env = {**local_shop.CHEAP_PASSWORDS, **local_shop.BURSTS_ACCEPTED}
    local = local_shop.start(servers_folder / "shop", free_port(), modules=modules, env=env, control_room=True)
    try:
        yield RunningShop(local, local.status()["url"], *local.admin_login())
    finally:
        local.down()


@pytest.fixture
async def api(shop: RunningShop) -> AsyncIterator[Api]:
    """The shop's public API."""
    client = Api.at(shop.url)
    yield client
    await client.close()


@pytest.fixture
async def admin(shop: RunningShop, api: Api) -> str:
    """The administrator's access token."""
    return await api.token(shop.admin_email, shop.admin_password)
