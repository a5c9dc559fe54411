"""The pure part: states, sums, and which requests are equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shop.contracts.pricing import Quoted
from shop.contracts.product import ReservedLine
from shop.kit.ids import new_id
from shop.order.domain import (
    MAX_QUANTITY,
    TRANSITIONS,
    IllegalTransition,
    Item,
    Line,
    Order,
    PriceMismatch,
    QuantityTooLarge,
    State,
    merge,
    priced,
    request_hash,
)
from shop.order.schemas import line_document, load_lines

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADDRESS = {"name": "Ada", "street": "S", "city": "C", "postal_code": "1", "country": "GB"}


def new_order() -> Order:
    return Order(new_id(), new_id(), "a@b", "Ada", [], "EUR", ADDRESS, NOW, NOW, payment_token="tok")


class OrderLife(RuleBasedStateMachine):
    """Tries every move in every state and compares with the lines of DESIGN's state diagram."""

    LEGAL = frozenset({
        ("pending", "confirmed"), ("pending", "rejected"), ("confirmed", "fulfilled"), ("confirmed", "cancelled"),
        ("fulfilled", "delivered"),
    })  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.order = new_order()
        self.path = [State.PENDING]

    @precondition(lambda self: not self.order.state.final)
    @rule(after=st.sampled_from(list(State)), later=st.integers(0, 100))
    def move(self, after: State, later: int) -> None:
        at = self.order.updated_at + timedelta(seconds=later)
        before = self.order
        if (before.state, after) in self.LEGAL:
            self.order = before.moved(after, at)
            self.path.append(after)
        else:
            with pytest.raises(IllegalTransition):
                before.moved(after, at)

    @precondition(lambda self: self.order.state.final)
    @rule(after=st.sampled_from(list(State)))
    def nothing_follows_the_end(self, after: State) -> None:
        with pytest.raises(IllegalTransition):
            self.order.moved(after, NOW)

    @invariant()
    def versions_count_the_states(self) -> None:
        assert self.order.version == len(self.path)
        assert self.order.state == self.path[-1]
        assert len(set(self.path)) == len(self.path)

    @invariant()
    def only_a_pending_order_keeps_its_card(self) -> None:
        assert (self.order.payment_token is not None) == (self.order.state is State.PENDING)


TestOrderLife = OrderLife.TestCase


def test_each_state_is_reached_and_three_are_final() -> None:
    assert set().union(*TRANSITIONS.values()) | {State.PENDING} == set(State)
    assert {state for state in State if state.final} == {State.DELIVERED, State.REJECTED, State.CANCELLED}


ids = st.sampled_from([new_id() for _ in range(4)])
items = st.lists(st.builds(Item, ids, st.integers(1, 200)), min_size=1, max_size=20)


@given(items)
def test_merging_keeps_every_quantity(wanted: list[Item]) -> None:
    counted: dict[UUID, int] = {}
    for item in wanted:
        counted[item.product_id] = counted.get(item.product_id, 0) + item.quantity
    if max(counted.values()) > MAX_QUANTITY:
        with pytest.raises(QuantityTooLarge):
            merge(wanted)
    else:
        assert dict(merge(wanted)) == counted


@given(st.permutations([Item(new_id(), quantity) for quantity in (1, 2, 3)]))
def test_the_order_of_the_items_does_not_change_the_hash(wanted: Sequence[Item]) -> None:
    in_order = sorted(wanted)
    assert request_hash(wanted, ADDRESS, "t", None) == request_hash(in_order, ADDRESS, "t", None)


def test_everything_else_changes_the_hash() -> None:
    item = Item(new_id(), 1)
    hashes = [
        request_hash([item], ADDRESS, "t", None),
        request_hash([item._replace(quantity=2)], ADDRESS, "t", None),
        request_hash([item, Item(new_id(), 1)], ADDRESS, "t", None),
        request_hash([item], ADDRESS | {"city": "D"}, "t", None),
        request_hash([item], ADDRESS, "u", None),
        request_hash([item], ADDRESS, "t", "C"),
        request_hash([item], ADDRESS, "t", None, 1299),
        request_hash([item], ADDRESS, "t", None, 0),
    ]
    assert len(set(hashes)) == len(hashes)


ONE, TWO = str(new_id()), str(new_id())


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


ORDERED = replace(new_order(), lines=[Line(UUID(ONE), 2), Line(UUID(TWO), 1)])
RESERVED = [
    ReservedLine.model_validate({"product_id": product_id, "quantity": quantity, "sku": name, "name": name,
                                 "category": "goods", "unit_price": eur(amount)})
    for product_id, quantity, name, amount in ((TWO, 1, "Pen", 50), (ONE, 2, "Book", 100))
]  # fmt: skip


def quote(**changed: Any) -> Quoted:
    amounts = {"subtotal": 250, "discount": 25, "tax": 20, "shipping": 5, "total": 250}
    lines = [
        {"product_id": product_id, "quantity": quantity, "unit_price": eur(price), "line_total": eur(price * quantity),
         "discount": eur(0), "tax": eur(0)}
        for product_id, quantity, price in ((ONE, 2, 100), (TWO, 1, 50))
    ]  # fmt: skip
    document = {"order_id": ORDERED.id, "lines": lines, **{name: eur(amount) for name, amount in amounts.items()}}
    return Quoted.model_validate(document | changed)


def line(product_id: str, quantity: int, unit_price: int) -> dict[str, Any]:
    total = eur(unit_price * quantity)
    about = {"product_id": product_id, "quantity": quantity, "unit_price": eur(unit_price), "line_total": total}
    return about | {"discount": eur(0), "tax": eur(0)}


def test_lines_are_priced_in_the_customers_order() -> None:
    lines, totals = priced(ORDERED, RESERVED, quote())
    assert [(line.name, line.unit_price, line.line_total) for line in lines] == [("Book", 100, 200), ("Pen", 50, 50)]
    assert (totals.subtotal, totals.discount, totals.tax, totals.shipping, totals.total) == (250, 25, 20, 5, 250)


def test_the_quoted_unit_price_is_used_and_not_the_catalogues() -> None:
    """Pricing may have prices by quantity."""
    lines, totals = priced(ORDERED, RESERVED, quote(lines=[line(ONE, 2, 90), line(TWO, 1, 70)]))
    assert [(line.unit_price, line.line_total) for line in lines] == [(90, 180), (70, 70)]
    assert totals.total == 250


def test_the_total_is_what_was_quoted_also_with_tax_included() -> None:
    _, totals = priced(ORDERED, RESERVED, quote(tax_included=True, total=eur(230)))
    assert (totals.tax, totals.total) == (20, 230)


@pytest.mark.parametrize(
    "lines",
    [
        [line(ONE, 1, 200), line(TWO, 1, 50)],
        [line("00000000-0000-7000-8000-000000000007", 2, 100), line(TWO, 1, 50)],
        [line(ONE, 2, 125)],
        [line(ONE, 1, 100), line(ONE, 1, 100), line(TWO, 1, 50)],
    ],
)
def test_a_quote_of_something_else_is_refused(lines: list[dict[str, Any]]) -> None:
    with pytest.raises(PriceMismatch):
        priced(ORDERED, RESERVED, quote(lines=lines))


def test_a_quote_in_another_currency_is_refused() -> None:
    with pytest.raises(PriceMismatch):
        priced(replace(ORDERED, currency="USD"), RESERVED, quote())


def test_a_reservation_of_something_else_is_refused() -> None:
    with pytest.raises(PriceMismatch):
        priced(replace(ORDERED, lines=ORDERED.lines[:1]), RESERVED, quote())
    with pytest.raises(PriceMismatch):
        priced(ORDERED, RESERVED[:1], quote())


@given(st.integers(1, 999), st.integers(0, 10**9), st.text(max_size=5))
def test_a_line_survives_its_json(quantity: int, amount: int, name: str) -> None:
    line = Line(UUID(ONE), quantity, "sku", name, "books", amount, amount * quantity)
    document = line_document(line, "EUR")
    assert load_lines([document | {"product_id": str(document["product_id"])}]) == [line]
    bare = Line(UUID(ONE), quantity)
    assert load_lines([{"product_id": ONE, "quantity": quantity}]) == [bare]
