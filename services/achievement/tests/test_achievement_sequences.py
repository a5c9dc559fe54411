"""Any order and any repetition of a history: the same facts and the same achievements."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.achievement.tests.achievement_service import (
    NOON,
    RULES,
    RunningService,
    cancelled,
    confirmed,
    gained,
    received,
    scored,
)
from shop.achievement.domain import Player, PlayerEvent
from shop.achievement.facts import Facts, Order
from shop.achievement.rules import load
from shop.contracts.events import OrderCancelled, OrderConfirmed
from shop.kit.events import Received
from shop.kit.ids import new_id

ADA = UUID(int=1)
LOADED = load(RULES)
EXAMPLES_IN_DATABASE = 12
MAX_BATCH = 6

rounds = st.builds(
    scored,
    st.just(ADA),
    st.integers(0, 12),
    seconds=st.integers(1, 60),
    placed=st.integers(0, 5),
    row=st.integers(-1, 5),
)
gains = st.builds(gained, st.just(ADA), level=st.integers(1, 4), streak=st.integers(0, 6))
orders = st.builds(
    lambda names, total: confirmed(ADA, *names, total=total),
    st.lists(st.sampled_from(["tea", "books", "wine"]), max_size=3),
    st.integers(0, 4_000),
)
history = st.lists(st.one_of(rounds, gains, orders), max_size=12)


def replayed(events: list[Any]) -> tuple[dict[str, int], set[str]]:
    player, known = Player(ADA), dict[UUID, Order]()
    for event in events:
        player.take(event, known)
        player.evaluate(LOADED.values(), "EUR", None, NOON)
    return player.facts.values(), player.codes


def earned(facts: dict[str, int]) -> set[str]:
    player = Player(ADA, facts=Facts({name: (value, value) for name, value in facts.items()}))
    player.evaluate(LOADED.values(), "EUR", None, NOON)
    return player.codes


@settings(max_examples=150, deadline=None)
@given(events=history, data=st.data())
def test_any_order_gives_the_same_facts_and_achievements(events: list[PlayerEvent], data: st.DataObject) -> None:
    assert replayed(data.draw(st.permutations(events))) == replayed(events)


@settings(max_examples=150, deadline=None)
@given(events=history, data=st.data())
def test_cancelled_orders_leave_no_facts_in_any_order(events: list[PlayerEvent], data: st.DataObject) -> None:
    """What is unlocked depends on the order only as far as an order counted for a while."""
    orders = [event for event in events if isinstance(event, OrderConfirmed)]
    ended = [one for one in orders if data.draw(st.booleans())]
    mixed = data.draw(st.permutations([*events, *(cancelled(one) for one in ended)]))
    facts, codes = replayed(mixed)
    without, _ = replayed([event for event in events if event not in ended])
    assert facts == without
    assert earned(facts) <= codes <= replayed(events)[1]


batches = st.lists(st.integers(1, MAX_BATCH), min_size=1, max_size=8)


def _cut(events: list[Received], sizes: list[int]) -> list[list[Received]]:
    """Batches of one consumer's events, of these sizes in turn."""
    cut: list[list[Received]] = []
    while events:
        size = sizes[len(cut) % len(sizes)]
        cut.append(events[:size])
        events = events[size:]
    return cut


@settings(max_examples=EXAMPLES_IN_DATABASE, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(st.one_of(rounds, gains, orders), min_size=3, max_size=10), sizes=batches, data=st.data())
async def test_repeated_batches_through_the_inbox_count_once(
    service: RunningService, events: list[Any], sizes: list[int], data: st.DataObject
) -> None:
    """Against the same history replayed in memory, each event once."""
    player = new_id()
    own = [_of(event, player) for event in events]
    own += [cancelled(one) for one in own if isinstance(one, OrderConfirmed) and data.draw(st.booleans())]
    once = [received(event) for event in own]
    deliveries = data.draw(st.permutations(once + once[::2] + once[:2]))
    for batch in _cut(list(deliveries), sizes):
        await service.receive(*batch)
    first = list({one.event_id: one for one in deliveries}.values())
    facts, codes = replayed([one.event for one in first])
    assert await service.facts(player) == facts
    unlocked = await service.unlocked(player)
    if not any(isinstance(event, OrderCancelled) for event in own):
        assert set(unlocked) == codes
    assert earned(facts) <= set(unlocked)
    announced = [one["code"] for one in await service.announced() if one["player_id"] == str(player)]
    assert sorted(announced) == sorted(unlocked), "each once"


def _of(event: Any, player: UUID) -> Any:
    """A copy with ids of its own, because examples share a database."""
    if isinstance(event, OrderConfirmed):
        return event.model_copy(update={"user_id": player, "order_id": new_id()})
    return event.model_copy(update={"player_id": player})
