"""Prices, options, load and the states of tickets, by properties."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shop.contracts.events import DeliveryState, TicketState
from shop.restaurant import domain
from shop.restaurant.domain import HELD, LEGAL, IllegalTransition, Kitchen, NotPaid, Place, Ticket, admit
from shop.restaurant.hours import Hours, Span
from shop.restaurant.menu import Choice, Item, Line, Option, Refusal, menu_errors, price_lines, product_id

NOW = datetime(2026, 6, 5, 12, tzinfo=UTC)
ROOT = UUID(int=1)
ALL_DAY = Hours(ZoneInfo("UTC"), ((Span(0, 1440),),) * 7, {}, frozenset())


def option(name: str, least: int, most: int, *prices: int) -> Option:
    choices = (Choice(uuid5(ROOT, f"{name}{at}"), f"{name} {at}", price) for at, price in enumerate(prices))
    return Option(name, least, most, tuple(choices))


@st.composite
def items(draw: st.DrawFn) -> Item:
    options = []
    for name in draw(st.lists(st.sampled_from("ABC"), unique=True, max_size=3)):
        prices = draw(st.lists(st.integers(0, 500), min_size=1, max_size=5))
        most = draw(st.integers(1, len(prices)))
        options.append(option(name, draw(st.integers(0, most)), most, *prices))
    return Item(uuid5(ROOT, "item"), "Item", "food", draw(st.integers(0, 5_000)), tuple(options))


@st.composite
def chosen(draw: st.DrawFn, item: Item) -> list[Choice]:
    """Choices that the rules allow."""
    found: list[Choice] = []
    for one in item.options:
        count = draw(st.integers(one.min, one.max))
        found += draw(st.permutations(one.choices))[:count]
    return found


@given(st.data(), items(), st.integers(1, 50))
def test_a_price_is_the_item_s_and_its_choices(data: st.DataObject, item: Item, quantity: int) -> None:
    choices = data.draw(chosen(item))
    ids = tuple(choice.id for choice in data.draw(st.permutations(choices)))
    priced = price_lines({item.id: item}, (), [Line(item.id, quantity, ids)])
    assert isinstance(priced, list)
    [line] = priced
    assert line.unit_price == item.price + sum(choice.price for choice in choices)
    assert set(line.choices) == set(ids)
    assert line.quantity == quantity
    assert all(choice.name in line.name for choice in choices)
    assert menu_errors([item]) == []


@given(st.data(), items())
def test_choices_against_the_rules_are_refused(data: st.DataObject, item: Item) -> None:
    every = [choice.id for one in item.options for choice in one.choices]
    ids = data.draw(st.lists(st.sampled_from(every), max_size=8)) if every else []
    allowed = len(set(ids)) == len(ids) and all(
        one.min <= sum(choice.id in ids for choice in one.choices) <= one.max for one in item.options
    )
    answer = price_lines({item.id: item}, (), [Line(item.id, 1, tuple(ids))])
    assert isinstance(answer, list) == allowed
    if isinstance(answer, Refusal):
        assert answer.code == "invalid_choices"


@given(items(), st.lists(st.uuids(), min_size=1, max_size=3))
def test_a_choice_of_another_item_is_refused(item: Item, foreign: list[UUID]) -> None:
    answer = price_lines({item.id: item}, (), [Line(item.id, 1, tuple(foreign))])
    assert isinstance(answer, Refusal)


def test_more_of_one_item_than_is_sold_at_once_is_refused() -> None:
    item = Item(uuid5(ROOT, "item"), "Soup", "food", 500, ())
    assert isinstance(price_lines({item.id: item}, (), [Line(item.id, 25), Line(item.id, 25)]), list)
    assert isinstance(price_lines({item.id: item}, (), [Line(item.id, 25), Line(item.id, 26)]), Refusal)


@given(st.uuids(), st.lists(st.uuids(), unique=True, max_size=5), st.randoms())
def test_a_product_is_an_item_with_its_choices_in_any_order(item: UUID, choices: list[UUID], random: object) -> None:
    shuffled = list(choices)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert product_id(item, choices) == product_id(item, shuffled)
    assert len({product_id(item, choices[:count]) for count in range(len(choices) + 1)}) == len(choices) + 1


@pytest.mark.parametrize(
    "wrong",
    [option("A", 0, 3, 1, 2), option("A", 2, 1, 1, 2), option("A", 0, 0, 1), option("A", 3, 3, 1, 2)],
)
def test_an_option_that_cannot_be_chosen_is_an_error(wrong: Option) -> None:
    assert menu_errors([Item(ROOT, "Soup", "food", 1, (wrong,))])


@given(st.integers(1, 14_400), st.integers(1, 1_000), st.integers(0, 1_000))
def test_preparation_grows_with_the_load_to_twice_as_long(base_s: int, capacity: int, in_work: int) -> None:
    now, more = (domain.preparation_s(base_s, load, capacity) for load in (in_work, in_work + 1))
    assert base_s <= now <= more
    assert domain.preparation_s(base_s, 0, capacity) == base_s
    assert domain.preparation_s(base_s, capacity, capacity) == 2 * base_s
    assert abs(now - base_s * (1 + in_work / capacity)) < 1


def kitchen(**changed: object) -> Kitchen:
    fields: dict[str, object] = {
        "hours": ALL_DAY, "paused": False, "automatic": True, "acceptance_deadline_s": 60, "capacity": 5,
        "in_work": 0, "base_preparation_s": 600,
    }  # fmt: skip
    return Kitchen(**fields | changed)  # type: ignore[arg-type]


@given(st.integers(0, 8), st.booleans(), st.integers(0, 1_439), st.integers(0, 1_439), st.integers(0, 2_880))
def test_an_order_is_taken_only_when_everything_allows_it(
    in_work: int, paused: bool, opens: int, length: int, at: int
) -> None:
    hours = replace(ALL_DAY, weekly=((Span(opens, opens + length + 1),),) * 7)
    of = kitchen(in_work=in_work, paused=paused, hours=hours)
    now = NOW + timedelta(minutes=at)
    answer = admit(of, now)
    if isinstance(answer, Place):
        assert of.takes_orders(now)
        assert in_work < of.capacity
        assert now < answer.ready_at <= answer.open_until
        interval = hours.interval_at(now)
        assert interval is not None
        assert answer.open_until == interval.end, "the opening in which it was ordered"
    else:
        assert not of.takes_orders(now) or in_work >= of.capacity
        assert answer.code in {"restaurant_closed", "restaurant_paused", "kitchen_full"}


def ticket(state: TicketState, **changed: object) -> Ticket:
    waiting = state is TicketState.WAITING
    fields: dict[str, object] = {
        "order_id": ROOT, "restaurant_id": ROOT, "user_id": ROOT, "restaurant_name": "", "customer_name": "",
        "note": "", "lines": [], "currency": "EUR", "minimum_order": 0, "lat": 0.0, "lon": 0.0, "state": state,
        "reason": None, "version": 1, "auto_progress": True, "created_at": NOW, "updated_at": NOW,
        "decide_by": NOW + timedelta(seconds=60) if waiting else None, "open_until": NOW + timedelta(hours=2),
        "ready_at": None if waiting else NOW + timedelta(seconds=600),
    }  # fmt: skip
    made = Ticket(**fields | changed)  # type: ignore[arg-type]
    return replace(made, due_at=domain.due(made))


@pytest.mark.parametrize("before", TicketState)
@pytest.mark.parametrize("after", TicketState)
def test_only_legal_steps_are_taken(before: TicketState, after: TicketState) -> None:
    of = ticket(before, paid_at=NOW)
    if after in LEGAL.get(before, ()):
        moved = domain.moved(of, after, NOW, "why")
        assert (moved.state, moved.version, moved.reason) == (after, of.version + 1, "why")
    else:
        with pytest.raises(IllegalTransition, match="cannot become"):
            domain.moved(of, after, NOW)


def test_no_kitchen_begins_what_is_not_paid() -> None:
    with pytest.raises(NotPaid):
        domain.moved(ticket(TicketState.ACCEPTED), TicketState.PREPARING, NOW)


def test_the_last_state_has_no_successor() -> None:
    ends = set(TicketState) - set(LEGAL)
    assert ends == {TicketState.REJECTED, TicketState.PICKED_UP, TicketState.CANCELLED}
    assert set(LEGAL) == HELD | {TicketState.READY}


class TicketLife(RuleBasedStateMachine):
    """Staff, clock, payment and courier at random: what is true of a ticket at every moment."""

    @initialize(automatic=st.booleans(), auto_progress=st.booleans())
    def begin(self, automatic: bool, auto_progress: bool) -> None:
        state = TicketState.ACCEPTED if automatic else TicketState.WAITING
        self.now = NOW
        self.ticket = ticket(state, auto_progress=auto_progress)
        self.states = [state]

    def become(self, after: Ticket | None) -> None:
        if after is None:
            return
        assert after.version - self.ticket.version in (0, 1)
        if after.state is not self.ticket.state:
            assert after.state in LEGAL[self.ticket.state]
            assert after.version == self.ticket.version + 1
            self.states.append(after.state)
        self.ticket = after

    @rule(seconds=st.integers(1, 4_000))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def clock_moves(self) -> None:
        self.become(domain.on_time(self.ticket, self.now))

    @rule()
    def is_paid(self) -> None:
        self.become(domain.paid(self.ticket, self.now))

    @precondition(lambda self: self.ticket.state is TicketState.WAITING)
    @rule()
    def staff_accepts(self) -> None:
        self.become(domain.accepted_by_staff(self.ticket, kitchen(in_work=1), self.now))

    @rule(state=st.sampled_from([state for state in TicketState if state is not TicketState.ACCEPTED]))
    def staff_moves(self, state: TicketState) -> None:
        try:
            self.become(domain.moved(self.ticket, state, self.now))
        except (IllegalTransition, NotPaid):
            return

    @rule(state=st.sampled_from(DeliveryState), version=st.integers(1, 9))
    def delivery_changes(self, state: DeliveryState, version: int) -> None:
        self.become(domain.carried(self.ticket, state, version, "Bo", "bicycle"))

    @invariant()
    def consistent(self) -> None:
        if not hasattr(self, "ticket"):
            return
        of = self.ticket
        assert of.due_at == domain.due(of)
        assert of.paid_at is not None or of.state not in domain.UNTIL_PICKED_UP
        assert of.state not in (TicketState.ACCEPTED, TicketState.PREPARING) or of.ready_at is not None
        assert len(set(self.states)) == len(self.states), "no state comes twice"
        if of.state is TicketState.WAITING:
            assert of.due_at is not None, "a waiting order always ends"
        if of.state is TicketState.ACCEPTED and of.paid_at is None:
            assert of.due_at is not None, "an unpaid order does not hold its place for ever"


TestTicketLife = TicketLife.TestCase


def test_the_database_and_the_domain_have_the_same_legal_steps() -> None:
    sql = (Path(domain.__file__).parent / "migrations" / "0001.initial.sql").read_text(encoding="utf-8")
    for before, afters in LEGAL.items():
        for after in afters:
            assert f"('{before}', '{after}')" in sql
