"""For every test of the project: Hypothesis judges what is right, not how fast the machine is; one browser a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.async_api import Browser

settings.register_profile("shop", deadline=None)
settings.load_profile("shop")


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """A Chromium; tests open contexts of their own, which share nothing."""
    from tests.e2e.browsing import open_browser

    async with open_browser() as browser:
        yield browser
