"""Settings of player: those of every service and its own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.contracts.store import StoreSettings
from shop.kit.settings import ServiceSettings


class Settings(ServiceSettings):
    """``store`` has the time zone of players who chose none.

    ``call_timeout_s`` limits how long a round's answer waits for its rank and for what it unlocked.
    """

    service: ClassVar[str] = "player"

    store: StoreSettings = StoreSettings()
    leaderboard_url: str = "http://leaderboard:8000"
    achievement_url: str = "http://achievement:8000"
    valkey_url: str = Field(default="redis://valkey:6379/0", repr=False)
    call_timeout_s: float = Field(default=1.0, gt=0, le=5)
