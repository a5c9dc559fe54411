"""Server-sent events of what a player unlocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from uuid import UUID

from shop.achievement import errors, metrics
from shop.achievement.domain import Unlock, unlocked_view
from shop.achievement.repository import AchievementRepository
from shop.achievement.rules import Rule
from shop.achievement.settings import Settings
from shop.kit.watchers import Change, Watchers, event

MAX_READ = 50
"""Achievements of one player and poll."""


class UnlockStreams:
    """A client gets each achievement once, in the order of their numbers, and resumes after the last one."""

    def __init__(self, repository: AchievementRepository, rules: Mapping[str, Rule], settings: Settings) -> None:
        self._repository = repository
        self._rules = rules
        self._limit = settings.streams_per_player
        self._open: Counter[UUID] = Counter()
        self._watchers: Watchers[Unlock] = Watchers(
            self._read,
            poll_s=settings.stream_poll_s,
            keepalive_s=settings.stream_keepalive_s,
            max_streams=settings.max_streams,
            streams=metrics.STREAMS,
        )
        self.run = self._watchers.run

    async def _read(self, seen: Mapping[UUID, int]) -> list[Change[Unlock]]:
        return [Change(one.player_id, one.number, one) for one in await self._repository.newer(seen, MAX_READ)]

    def check_capacity(self, player_id: UUID) -> None:
        """Problem 503 ``too_many_streams``, 429 ``too_many_own_streams``."""
        self._watchers.check_capacity()
        if self._open[player_id] >= self._limit:
            raise errors.too_many_own_streams(self._limit)

    async def events(self, player_id: UUID, seen: int | None) -> AsyncIterator[bytes]:
        """What the player unlocks after the one with the number ``seen``; without it, from now on."""
        newest = await self._repository.newest(player_id)
        if self._open[player_id] >= self._limit:
            return  # several were opened at once, and each of them found a free place
        self._open[player_id] += 1
        try:
            async for chunk in self._watchers.events(player_id, _start(seen, newest), self._encode):
                yield chunk
        finally:
            self._open[player_id] -= 1
            if not self._open[player_id]:
                del self._open[player_id]

    def _encode(self, change: Change[Unlock]) -> bytes:
        view = unlocked_view(change.content, self._rules)
        return event("unlocked", view.model_dump(mode="json"), change.version)


def _start(seen: int | None, newest: int) -> int:
    """A number that the player has not reached is another player's, or of a database that was restored."""
    return newest if seen is None else min(seen, newest)
