"""Settings of achievement: those of every service and its own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from shop.achievement import rules
from shop.contracts.store import StoreSettings
from shop.kit.settings import ServiceSettings


class Settings(ServiceSettings):
    """``achievement_rules``: a file of rules or its text, by default the shop's own file.

    ``streams_per_player``: live streams that one player may have open at a process.
    """

    service: ClassVar[str] = "achievement"

    store: StoreSettings = StoreSettings()
    achievement_rules: str = ""

    stream_poll_s: float = Field(default=0.5, gt=0)
    stream_keepalive_s: float = Field(default=15.0, gt=0)
    max_streams: int = Field(default=2_000, ge=1)
    streams_per_player: int = Field(default=8, ge=1)

    @field_validator("achievement_rules")
    @classmethod
    def _can_be_loaded(cls, source: str) -> str:
        rules.load(source)
        return source
