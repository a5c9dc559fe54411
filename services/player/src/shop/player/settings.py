"""Settings of player: those of every service and its own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.kit.settings import ServiceSettings


class Settings(ServiceSettings):
    """``player_entries_per_user`` limits what one user may store."""

    service: ClassVar[str] = "player"

    player_entries_per_user: int = Field(default=1_000, ge=1)
