"""Settings of leaderboard: those of every service and its own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.contracts.store import StoreSettings
from shop.kit.settings import ServiceSettings


class Settings(ServiceSettings):
    """``boards``: a file of boards, or such a document itself; empty for those of the shop.

    ``check_seconds``: pause between two comparisons of the cached boards with the database, by one replica for all.
    ``archive_seconds``: pause of the loop that prunes seasons that ended long ago.
    """

    service: ClassVar[str] = "leaderboard"

    valkey_url: str = Field(default="redis://valkey:6379/0", repr=False)
    store: StoreSettings = StoreSettings()
    boards: str = ""
    check_seconds: float = Field(default=30.0, gt=0, le=3_600)
    archive_seconds: float = Field(default=600.0, gt=0, le=86_400)
