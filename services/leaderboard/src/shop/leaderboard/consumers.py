"""The events that leaderboard consumes; see `recorder`."""

from __future__ import annotations

from shop.kit.inbox import Consumer
from shop.leaderboard.service import LeaderboardService


def consumers(service: LeaderboardService) -> list[Consumer]:
    return service.recorder.consumers()
