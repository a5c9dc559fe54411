"""What the pages of the arcade share: clients, and what is asked without waiting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import Depends, Request

from shop.kit.errors import Problem
from shop.kit.http import Clients
from shop.storefront.arcade.asking import Asking
from shop.storefront.arcade.backends import AchievementList, Boards, Games, Players
from shop.storefront.arcade.schemas import LedgerEntry
from shop.storefront.settings import Settings

if TYPE_CHECKING:
    from shop.storefront.service import Storefront

GAIN_TIMEOUT_S = 0.25
"""The longest that an order's page waits for what the order brought."""


@dataclass(frozen=True)
class Arcade:
    """`ask_player` and so on are for parts of a page that it can do without."""

    players: Players
    games: Games
    boards: Boards
    achievements: AchievementList
    ask_player: Asking
    ask_leaderboard: Asking
    ask_achievement: Asking

    async def gained(self, token: str, order_id: UUID) -> LedgerEntry | None:
        """The XP of an order, if they are known at once."""
        question = self.players.gained
        return await self.ask_player.maybe(lambda: question(token, f"order:{order_id}"), GAIN_TIMEOUT_S)

    async def close(self) -> None:
        for asking in (self.ask_player, self.ask_leaderboard, self.ask_achievement):
            await asking.close()


def open_arcade(clients: Clients, settings: Settings) -> Arcade | None:
    """None in a shop without the arcade."""
    if not (settings.player_url and settings.leaderboard_url and settings.achievement_url):
        return None
    player = clients.get("player", settings.player_url)
    timeout_s = settings.arcade_timeout_s
    return Arcade(
        Players(player),
        Games(player),
        Boards(clients.get("leaderboard", settings.leaderboard_url)),
        AchievementList(clients.get("achievement", settings.achievement_url)),
        Asking("player", timeout_s),
        Asking("leaderboard", timeout_s),
        Asking("achievement", timeout_s),
    )


def arcade_of(request: Request) -> Arcade:
    """Problem 404 in a shop without the arcade."""
    shop: Storefront = request.app.state.service
    if shop.arcade is None:
        raise Problem(404, "not_found", "This shop has no arcade.")
    return shop.arcade


ArcadeShop = Annotated[Arcade, Depends(arcade_of)]
