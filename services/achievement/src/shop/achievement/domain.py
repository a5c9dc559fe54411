"""A player's facts and achievements, and what unlocks the next one. Pure: no input or output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from shop.achievement.conditions import Evidence, Measure, nearness
from shop.achievement.facts import Facts, Order
from shop.achievement.rules import Rule
from shop.contracts.achievement import Achievement, Progress
from shop.contracts.events import AchievementUnlocked, OrderCancelled, OrderConfirmed, PlayerGained, PlayerScored

BY_GAME_SERVER = Measure(0, 1, ())
OrderChange = OrderConfirmed | OrderCancelled
PlayerEvent = OrderChange | PlayerScored | PlayerGained


def player_of(event: PlayerEvent) -> UUID:
    return event.user_id if isinstance(event, OrderChange) else event.player_id


@dataclass(frozen=True, slots=True)
class Unlock:
    """An achievement that a player has, as it was announced. ``number`` counts the player's own, from 1.

    ``event_id``: the event that unlocked it; None if a game server did, or rules that were applied to the past.
    """

    player_id: UUID
    code: str
    number: int
    name: str
    description: str
    xp: int
    hidden: bool
    external: bool
    evidence: Evidence
    event_id: UUID | None
    unlocked_at: datetime

    def event(self, mail_to: str | None) -> AchievementUnlocked:
        return AchievementUnlocked(
            player_id=self.player_id,
            occurred_at=self.unlocked_at,
            code=self.code,
            name=self.name,
            description=self.description,
            xp=self.xp,
            mail_to=mail_to,
        )


@dataclass(slots=True)
class Player:
    """A player whose row is locked; ``codes`` are those of the achievements that the player has."""

    player_id: UUID
    mail_to: str | None = None
    unlocks: int = 0
    codes: set[str] = field(default_factory=set)
    facts: Facts = field(default_factory=Facts)
    new: list[Unlock] = field(default_factory=list)

    def take(self, event: PlayerEvent, orders: dict[UUID, Order]) -> None:
        """Change the facts, and the order in ``orders``, where it is known already."""
        if isinstance(event, PlayerScored):
            self.facts.scored(event)
        elif isinstance(event, PlayerGained):
            self.facts.gained(event)
        else:
            before = orders.get(event.order_id) or Order(event.order_id, event.user_id)
            after = before.confirm(event) if isinstance(event, OrderConfirmed) else before.cancel()
            orders[event.order_id] = after
            self.facts.ordered(before, after)

    def evaluate(self, rules: Iterable[Rule], currency: str, event_id: UUID | None, now: datetime) -> None:
        """Unlock each achievement whose condition holds and that the player does not have."""
        for rule in rules:
            if rule.code in self.codes:
                continue
            measure = rule.measure(self.facts, currency)
            if measure is not None and measure.met:
                self.unlock(rule, measure.evidence, event_id, now)

    def unlock(self, rule: Rule, evidence: Evidence, event_id: UUID | None, now: datetime) -> None:
        self.codes.add(rule.code)
        self.unlocks += 1
        self.new.append(
            Unlock(
                player_id=self.player_id,
                code=rule.code,
                number=self.unlocks,
                name=rule.name,
                description=rule.description,
                xp=rule.xp,
                hidden=rule.hidden,
                external=rule.external,
                evidence=evidence,
                event_id=event_id,
                unlocked_at=now,
            )
        )


def unlocked_view(unlock: Unlock, rules: Mapping[str, Rule]) -> Achievement:
    """With the present words of its rule, or those of the time when the rule was there still."""
    rule = rules.get(unlock.code)
    measure = rule.measure(Facts(), "") if rule is not None else None
    need = measure.need if measure is not None else 1
    return Achievement(
        code=unlock.code,
        name=rule.name if rule else unlock.name,
        description=rule.description if rule else unlock.description,
        xp=unlock.xp,
        hidden=rule.hidden if rule else unlock.hidden,
        unlocked_at=unlock.unlocked_at,
        progress=Progress(have=need, need=need),
    )


def open_view(rule: Rule, measure: Measure) -> Achievement:
    """Of a player who does not have it."""
    progress = Progress(have=min(measure.have, measure.need), need=measure.need)
    fields = rule.model_dump(include={"code", "name", "description", "xp", "hidden"})
    return Achievement(**fields, progress=progress)


def untouched_view(rule: Rule) -> Achievement:
    """Of a player who has done nothing yet."""
    return open_view(rule, rule.measure(Facts(), "") or BY_GAME_SERVER)


def listing(
    rules: Mapping[str, Rule], facts: Facts, unlocked: Sequence[Unlock], currency: str, limit: int
) -> list[Achievement]:
    """What a player has, the newest first, then the rest by how near it is. Hidden ones are seen once unlocked."""
    have = {one.code for one in unlocked}
    measured = [
        (rule, rule.measure(facts, currency) or BY_GAME_SERVER)
        for rule in rules.values()
        if rule.code not in have and not rule.hidden
    ]
    measured.sort(key=lambda found: -nearness(found[1]))
    newest = sorted(unlocked, key=lambda one: -one.number)
    views = [unlocked_view(one, rules) for one in newest] + [open_view(rule, measure) for rule, measure in measured]
    return views[:limit]
