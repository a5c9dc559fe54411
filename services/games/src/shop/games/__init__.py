"""The rules of the shop's games: what the server replays to compute a score. Pure: no other package of the shop."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from shop.games import stack, stack_rules
from shop.games.game import SEED_LIMIT, Game, Impossible, Outcome

__all__ = ["GAMES", "SEED_LIMIT", "Game", "Impossible", "Outcome", "rules"]

GAMES: Mapping[str, Game] = MappingProxyType({"stack": Game(title="Stack", source="stack", replay=stack.replay)})

_STORED = {"stack": stack_rules.stored}


def rules(name: str) -> dict[str, Any]:
    """The numbers of a game, for a client that plays it."""
    return _STORED[name]()
