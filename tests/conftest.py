"""A whole running shop for the tests that are marked ``shop``: the same processes that `make up` starts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shop.devkit.embedded import free_port
from tests.load import local_shop
from tests.load.local_shop import LocalShop, shopctl
from tests.load.shoppers import Shop as Api


@dataclass(frozen=True)
class RunningShop:
    """The shop that the tests of one session share; they make their own customers and products."""

    local: LocalShop
    url: str
    admin_email: str
    admin_password: str

    def stop(self, component: str) -> None:
        """End a component; it stays away until it is started."""
        shopctl("stop", component, data_dir=self.local.data_dir)

    def start(self, component: str) -> None:
        shopctl("start", component, data_dir=self.local.data_dir)

    def restarts(self, noun: str) -> int:
        return sum(part["restarts"] for part in self.local.status()["components"] if part["name"].startswith(noun))

    def healthy(self) -> bool:
        return all(part["healthy"] for part in self.local.status()["components"])


@pytest.fixture(scope="session")
def shop(servers_folder: Path) -> Iterator[RunningShop]:
    """A shop on a free port, without a rate limit; it ends with the session."""
    modules = {"recommendations": True, "food": True, "arcade": True}
    local = local_shop.start(servers_folder / "shop", free_port(), modules=modules)
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
