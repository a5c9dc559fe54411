"""What achievement does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast
from uuid import UUID

from shop.achievement import metrics, repository
from shop.achievement.domain import listing, unlocked_view, untouched_view
from shop.achievement.repository import AchievementRepository, Profile
from shop.achievement.rules import Rule, load
from shop.achievement.settings import Settings
from shop.achievement.streams import UnlockStreams
from shop.achievement.unlocking import Unlocking
from shop.contracts.achievement import MAX_ACHIEVEMENTS, Achievement, EvaluateScore, UnlockRequest, UnlockResult
from shop.contracts.events import OrderCancelled, OrderConfirmed, PlayerChanged, PlayerGained, PlayerScored
from shop.kit.app import Context
from shop.kit.batch import Batcher, one_by_one_on_error
from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.exposition import start_at_zero
from shop.kit.inbox import LATER_S, Consumer, Inbox

UNKNOWN_ACHIEVEMENT, NOT_EXTERNAL = "unknown_achievement", "not_external"
MAX_CALLS_AT_ONCE = 64
"""Rounds that are taken in one transaction."""


class AchievementService:
    """A round comes by a call and by its event; the inbox of ``facts`` makes both one."""

    def __init__(
        self,
        unlocking: Unlocking,
        players: AchievementRepository,
        inbox: Inbox,
        streams: UnlockStreams,
        *,
        rules: Mapping[str, Rule],
        currency: str,
        clock: Clock,
        committed: Callable[[], None],
    ) -> None:
        self.streams = streams
        self.clock = clock
        self.facts = Consumer(
            "facts", [OrderConfirmed, OrderCancelled, PlayerScored, PlayerGained], unlocking.take, rest_s=LATER_S
        )
        self._unlocking = unlocking
        self._players = players
        self._inbox = inbox
        self._rules = rules
        self._currency = currency
        self._committed = committed
        self._calls = Batcher(one_by_one_on_error(self._evaluate_all), max_items=MAX_CALLS_AT_ONCE)

    @classmethod
    def build(cls, context: Context) -> AchievementService:
        """Also starts the poller of the streams."""
        settings = cast(Settings, context.settings)
        rules, currency = load(settings.achievement_rules), settings.store.currency
        start_at_zero(metrics.UNLOCKED, rules)
        players = AchievementRepository(context.database)
        streams = UnlockStreams(players, rules, settings)
        context.tasks.start("achievement-streams", streams.run)
        return cls(
            Unlocking(context.database, players, rules, currency, context.clock),
            players,
            Inbox(settings.service, context.database, context.bus),
            streams,
            rules=rules,
            currency=currency,
            clock=context.clock,
            committed=context.outbox.wake,
        )

    async def take_profiles(self, connection: Connection, received: Sequence[Received]) -> None:
        events: list[PlayerChanged] = [one.event for one in received]
        profiles = [Profile(one.player_id, one.version, one.private, one.mail_to) for one in events]
        await repository.save_profiles(connection, profiles)

    async def evaluate(self, request: EvaluateScore) -> list[Achievement]:
        """What the round unlocked, whether this call or the broker brings its event first."""
        return await self._calls.submit(request)

    async def _evaluate_all(self, requests: Sequence[EvaluateScore]) -> list[list[Achievement]]:
        new = await self._inbox.process(self.facts, [_received(one) for one in requests])
        self._committed()
        metrics.EVALUATIONS.labels("new").inc(new)
        metrics.EVALUATIONS.labels("known").inc(len(requests) - new)
        found = await self._players.unlocked_by([(one.event.player_id, one.event_id) for one in requests])
        return [[unlocked_view(unlock, self._rules) for unlock in found.get(one.event_id, ())] for one in requests]

    async def close(self) -> None:
        await self._calls.close()

    async def unlock(self, request: UnlockRequest) -> UnlockResult:
        """By a game server; a deleted user stays without it."""
        rule = self._rules.get(request.code)
        if rule is None:
            return UnlockResult(problem=UNKNOWN_ACHIEVEMENT)
        if not rule.external:
            return UnlockResult(problem=NOT_EXTERNAL)
        await self._unlocking.unlock(rule, request)
        self._committed()
        have = await self._players.unlocked(request.player_id)
        views = [unlocked_view(one, self._rules) for one in have if one.code == rule.code]
        return UnlockResult(achievement=views[0] if views else untouched_view(rule))

    def catalogue(self) -> list[Achievement]:
        """The rules that are not hidden, in the order of the file."""
        return [untouched_view(rule) for rule in self._rules.values() if not rule.hidden]

    async def of_player(self, player_id: UUID) -> list[Achievement]:
        """The facts are read first: what they unlock meanwhile is among the unlocked ones."""
        facts, unlocked = await self._players.facts(player_id), await self._players.unlocked(player_id)
        return listing(self._rules, facts, unlocked, self._currency, MAX_ACHIEVEMENTS)


def _received(request: EvaluateScore) -> Received:
    event = request.event
    return Received(request.event_id, event.TYPE, event.occurred_at, "", request.traceparent, event)
