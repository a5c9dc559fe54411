"""Texts of the arcade: why a round does not count, what brought XP, and how long a board's season lasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shop.storefront.arcade.schemas import LedgerEntry
from shop.storefront.labels import label

GAME_TITLE = "Stack"
PLAYER_AWAY = "Your level is not available at the moment. Nothing is lost; please look again in a few seconds."
BOARD_AWAY = "The leaderboard is not available at the moment. Scores are kept and will appear."
ACHIEVEMENTS_AWAY = "Achievements are not available at the moment. What you unlock is kept and will appear."

NOT_COUNTED = "This round does not count."
ROUND_REFUSALS = {
    "session_expired": f"{NOT_COUNTED} Its result arrived after its time was over. Please play another one.",
    "session_invalid": f"{NOT_COUNTED} It was not started here. Please reload the page and play another one.",
    "session_foreign": f"{NOT_COUNTED} It was started by another account.",
    "session_used": f"{NOT_COUNTED} Another result of the same round has arrived before.",
    "moves_impossible": f"{NOT_COUNTED} Its moves do not fit the rules. Please play another one.",
    "too_frequent": "You finished many rounds within a minute. Please try again in a moment.",
    "signed_out": "You are signed out. Sign in again, and your next rounds count.",
    "unknown_game": "There is no such game.",
}
"""By the player service's problem code."""
ROUND_AWAY = "The result could not be sent. It is kept on this page; please try again in a few seconds."
SESSION_AWAY = "No round can be started at the moment. Please try again in a few seconds."

FRIEND_REFUSALS = {
    "friends_full": "Your list of friends is full.",
    "unknown_player": "There is no such player any more.",
}

RESETS = {
    "never": "All time",
    "daily": "New every day",
    "weekly": "New every week",
    "monthly": "New every month",
}

ACHIEVEMENT = "achievement"
CAUSES = {
    "result": f"A round of {GAME_TITLE}",
    "order": "An order",
    "order_cancelled": "An order was cancelled",
    ACHIEVEMENT: "An achievement",
}
STATISTICS = {"best_stack": f"Best score in {GAME_TITLE}", "best_streak": "Longest streak, in days"}


@dataclass(frozen=True)
class Gain:
    """A line of the ledger as it is shown; ``url`` is of the order, if it was one."""

    entry: LedgerEntry
    text: str
    url: str = ""


def gain_of(entry: LedgerEntry, achievements: Mapping[str, str]) -> Gain:
    """``achievements`` are names by code; one that is missing is written as its code."""
    kind, _, what = entry.cause.partition(":")
    if kind == ACHIEVEMENT and what:
        return Gain(entry, f"Achievement: {achievements.get(what, label(what))}")
    url = f"/orders/{what}" if kind in {"order", "order_cancelled"} and what else ""
    return Gain(entry, CAUSES.get(kind, kind.replace("_", " ").capitalize()), url)


def reset_text(reset: str) -> str:
    return RESETS.get(reset, reset.capitalize())


def statistic_text(name: str) -> str:
    return STATISTICS.get(name, label(name))
