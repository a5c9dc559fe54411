"""Fixtures of the tests that drive a browser against a whole shop."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """The Chromium that the tests of a worker share."""
    return chromium
