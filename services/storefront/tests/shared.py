"""The applications that all tests of one process share: to build one takes longer than most tests.

Each test has state of its own all the same: its scripted shop, and everything that an application makes as it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from fastapi import FastAPI

from services.storefront.tests.scripted import ScriptedShop, scripted_app
from shop.storefront.app import make_app
from shop.storefront.settings import Settings

KEPT_APPS = 8
PARTS = ("food", "arcade")
"""Parts of a scripted shop that its routes keep."""


class Forward:
    """Reads and sets the attributes of what ``find`` returns at that moment, but those that it was made with."""

    def __init__(self, find: Callable[[], Any], **own: Any) -> None:
        vars(self).update(own, _find=find)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._find(), name, value)


class ScriptedServices:
    """The scripted services, as one application, and the shop of the test that runs."""

    def __init__(self) -> None:
        self.shop = ScriptedShop()
        parts = {name: self._part(name) for name in PARTS}
        self.app = scripted_app(cast(ScriptedShop, Forward(lambda: self.shop, **parts)))

    def _part(self, name: str) -> Forward:
        return Forward(lambda: getattr(self.shop, name))


@lru_cache(KEPT_APPS)
def shared_app(settings: Settings) -> FastAPI:
    """The storefront with these settings; it can be started again, but not twice at once."""
    return make_app(settings)
