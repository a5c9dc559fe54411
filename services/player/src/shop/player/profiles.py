"""What others see of a player. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Self
from uuid import UUID

from shop.player.domain import Zones, level_of, level_xp, streak_on


@dataclass(frozen=True, slots=True)
class Profile:
    """``streak`` is as of today in the player's time zone; ``level_xp`` is where the present level began."""

    id: UUID
    name: str
    private: bool
    xp: int
    level: int
    level_xp: int
    next_level_xp: int
    streak: int
    best_streak: int
    statistics: Mapping[str, int]

    @classmethod
    def of(cls, document: Mapping[str, Any], today: date) -> Self:
        """From the database's columns, or the same as JSON has them."""
        last = document["streak_on"]
        level = level_of(document["xp"])
        return cls(
            id=UUID(str(document["id"])),
            name=document["name"],
            private=document["private"],
            xp=document["xp"],
            level=level,
            level_xp=level_xp(level),
            next_level_xp=level_xp(level + 1),
            streak=streak_on(today, document["streak_days"], date.fromisoformat(str(last)) if last else None),
            best_streak=document["best_streak"],
            statistics=_statistics(document),
        )


def zones_of(document: Mapping[str, Any]) -> Zones:
    """What an earlier release has cached does not name the zone before."""
    since = document.get("zone_since")
    return Zones(
        document["time_zone"], document.get("zone_before"), datetime.fromisoformat(str(since)) if since else None
    )


def _statistics(document: Mapping[str, Any]) -> dict[str, int]:
    games = document["games"]
    return {
        "rounds": sum(game["rounds"] for game in games.values()),
        "orders": document["orders"],
        "best_streak": document["best_streak"],
        **{f"best_{name}": game["best_score"] for name, game in sorted(games.items())},
    }
