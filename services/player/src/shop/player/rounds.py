"""Game sessions and their results: the server replays the moves and computes the score itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from shop.contracts.events import PlayerScored
from shop.games import GAMES, Game, Impossible, Outcome
from shop.kit import outbox
from shop.kit.auth import Principal
from shop.kit.clock import Clock
from shop.kit.db import Connection, Database
from shop.kit.logging import decision
from shop.player import errors
from shop.player.arcade import Arcade, Effects
from shop.player.cache import ProfileCache
from shop.player.domain import Gain, Player, Reward, level_of, local_day, result_xp
from shop.player.ledger import Ledger
from shop.player.metrics import RESULTS
from shop.player.repository import PlayerRepository
from shop.player.round_repository import Result, RoundRepository
from shop.player.sessions import Session, SessionTokens, new_session

log = logging.getLogger(__name__)

TICKS_PER_S = 60
CLOCK_TOLERANCE = timedelta(seconds=2)
"""How much faster than the server's clock a round may have been."""
MAX_RESULTS_PER_PERIOD = 30
RESULT_PERIOD = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Finished:
    """A round's result, what it did elsewhere, and the coupon that its experience points earned."""

    result: Result
    effects: Effects
    reward: Reward | None


class Rounds:
    def __init__(
        self,
        database: Database,
        wake_outbox: outbox.Outbox,
        repository: RoundRepository,
        players: PlayerRepository,
        ledger: Ledger,
        cache: ProfileCache,
        arcade: Arcade,
        tokens: SessionTokens,
        clock: Clock,
    ) -> None:
        self._database = database
        self._outbox = wake_outbox
        self._repository = repository
        self._players = players
        self._ledger = ledger
        self._cache = cache
        self._arcade = arcade
        self._tokens = tokens
        self._clock = clock
