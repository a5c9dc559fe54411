"""The pure part: states, sums, and what makes two requests the same."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shop.kit.ids import new_id
from shop.order.domain import (
    MAX_QUANTITY,
    TRANSITIONS,
    IllegalTransition,
    Item,
    Line,
    Order,
    QuantityTooLarge,
    State,
    WrongPrice,
    merge,
    price,
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
def test_merging_keeps_every_piece(wanted: list[Item]) -> None:
    counted: dict[UUID, int] = {}
    for item in wanted:
        counted[item.product_id] = counted.get(item.product_id, 0) + item.quantity
    if max(counted.values()) > MAX_QUANTITY:
        with pytest.raises(QuantityTooLarge):
            merge(wanted)
    else:
        assert dict(merge(wanted)) == counted


@given(st.permutations([Item(new_id(), quantity) for quantity in (1, 2, 3)]))
def test_the_order_of_the_items_does_not_matter(wanted: Sequence[Item]) -> None:
    in_order = sorted(wanted)
    assert request_hash(wanted, ADDRESS, "t", None) == request_hash(in_order, ADDRESS, "t", None)


def test_everything_else_does() -> None:
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
WANTED = [Item(UUID(ONE), 2), Item(UUID(TWO), 1)]


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


RESERVED = [
    {"product_id": TWO, "quantity": 1, "sku": "2", "name": "Pen", "category": "pens", "unit_price": eur(50)},
    {"product_id": ONE, "quantity": 2, "sku": "1", "name": "Book", "category": "books", "unit_price": eur(100)},
]
QUOTE = {
    "lines": [
        {"product_id": ONE, "quantity": 2, "line_total": eur(200)},
        {"product_id": TWO, "quantity": 1, "line_total": eur(50)},
    ],
    "subtotal": eur(250), "discount": eur(25), "tax": eur(20), "shipping": eur(5), "total": eur(250),
}  # fmt: skip


def test_a_price_is_put_together_in_the_customers_order() -> None:
    lines, totals = price(WANTED, RESERVED, QUOTE, "EUR")
    assert [(line.name, line.unit_price, line.line_total) for line in lines] == [("Book", 100, 200), ("Pen", 50, 50)]
    assert (totals.subtotal, totals.discount, totals.tax, totals.shipping, totals.total) == (250, 25, 20, 5, 250)


def changed_quote(path: list[Any], value: Any) -> dict[str, Any]:
    quote = copy.deepcopy(QUOTE)
    place: Any = quote
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return quote


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["total"], eur(249)),
        (["total"], {"amount": 250, "currency": "USD"}),
        (["subtotal"], eur(251)),
        (["tax"], eur(-20)),
        (["lines", 0, "line_total"], eur(199)),
        (["lines", 0, "quantity"], 1),
        (["lines", 0, "product_id"], "00000000-0000-7000-8000-000000000007"),
        (["lines"], QUOTE["lines"][:1]),  # type: ignore[index]
    ],
)
def test_a_quote_that_does_not_add_up_is_refused(path: list[Any], value: Any) -> None:
    with pytest.raises(WrongPrice):
        price(WANTED, RESERVED, changed_quote(path, value), "EUR")


def test_a_reservation_of_something_else_is_refused() -> None:
    with pytest.raises(WrongPrice):
        price(WANTED[:1], RESERVED, QUOTE, "EUR")
    with pytest.raises(WrongPrice):
        price(WANTED, RESERVED[:1], QUOTE, "EUR")


@given(st.integers(1, 999), st.integers(0, 10**9), st.text(max_size=5))
def test_a_line_survives_its_json(quantity: int, amount: int, name: str) -> None:
    line = Line(UUID(ONE), quantity, "sku", name, "books", amount, amount * quantity)
    document = line_document(line, "EUR")
    assert load_lines([document | {"product_id": str(document["product_id"])}]) == [line]
    bare = Line(UUID(ONE), quantity)
    assert load_lines([{"product_id": ONE, "quantity": quantity}]) == [bare]
