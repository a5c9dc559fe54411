"""Apply the rules to the past: ``python -m shop.achievement.apply``, after rules were added or changed.

What a player unlocks by it is announced once, like any other. It may run while events come in, be repeated, and be
ended at any time: each page of players is a transaction of its own.
"""

from __future__ import annotations

import asyncio
import sys
from typing import NamedTuple
from uuid import UUID

from pydantic import ValidationError

from shop.achievement.repository import AchievementRepository
from shop.achievement.rules import load
from shop.achievement.settings import Settings
from shop.achievement.unlocking import Unlocking
from shop.kit.clock import Clock
from shop.kit.db import Database
from shop.kit.errors import Unavailable

PAGE_PLAYERS = 200
POOL_SIZE = 2


class Applied(NamedTuple):
    players: int
    unlocked: int


async def apply(unlocking: Unlocking, page_players: int) -> Applied:
    """For every player; one who becomes known meanwhile with a smaller id is evaluated by that event itself."""
    players = unlocked = 0
    after: UUID | None = UUID(int=0)
    while after is not None:
        after, seen, new = await unlocking.apply_page(after, page_players)
        players, unlocked = players + seen, unlocked + new
    return Applied(players, unlocked)


async def run(settings: Settings, page_players: int = PAGE_PLAYERS) -> Applied:
    database = await Database.connect(
        settings.database_url,
        pool_size=POOL_SIZE,
        application="achievement-apply",
        pooler=settings.database_pooler,
    )
    try:
        rules, currency = load(settings.achievement_rules), settings.store.currency
        unlocking = Unlocking(database, AchievementRepository(database), rules, currency, Clock())
        return await apply(unlocking, page_players)
    finally:
        await database.close()


def main() -> None:
    """Print one line; one on stderr and code 1 when it cannot be done."""
    try:
        done = asyncio.run(run(Settings()))
    except ValidationError as error:
        found = error.errors()[0]
        name = "_".join(map(str, found["loc"])).upper()
        sys.exit(f"achievement: wrong settings: SHOP_{name}: {found['msg']}")
    except Unavailable as error:
        sys.exit(f"achievement: {error}")
    sys.stdout.write(f"{done.players:,} players checked, {done.unlocked:,} achievements unlocked\n")


if __name__ == "__main__":
    main()
