"""One shop for the tests of telemetry, with every trace exported to a receiver of theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shop.devkit.embedded import free_port
from tests.conftest import RunningShop
from tests.load import local_shop
from tests.load.shoppers import Shop as Api
from tests.telemetry.otlp import Receiver, receiving

MODULES = {"recommendations": True, "food": True, "arcade": True}


@dataclass(frozen=True)
class TracedShop(RunningShop):
    """A shop whose spans are all in ``receiver``."""

    receiver: Receiver

    def logs(self) -> dict[str, str]:
        """What each component has logged, by the name of its log file."""
        folder = self.local.data_dir / "logs"
        return {path.stem: path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("*.log"))}


@pytest.fixture(scope="session")
def traced(servers_folder: Path) -> Iterator[TracedShop]:
    with receiving() as receiver:
        local = local_shop.start(servers_folder / "traced-shop", free_port(), modules=MODULES, traces_to=receiver.url)
        try:
            yield TracedShop(local, local.status()["url"], *local.admin_login(), receiver)
        finally:
            local.down()


@pytest.fixture
async def api(traced: TracedShop) -> AsyncIterator[Api]:
    """The public API of the traced shop."""
    client = Api.at(traced.url)
    yield client
    await client.close()


@pytest.fixture
async def admin(traced: TracedShop, api: Api) -> str:
    """The administrator's access token."""
    return await api.token(traced.admin_email, traced.admin_password)
