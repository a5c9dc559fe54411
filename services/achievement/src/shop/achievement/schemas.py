"""Response bodies."""

from __future__ import annotations

from pydantic import BaseModel

from shop.contracts.achievement import Achievement


class AchievementsView(BaseModel):
    """All of them: there are at most 256 rules."""

    items: list[Achievement]
