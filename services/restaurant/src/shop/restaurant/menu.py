"""Menus, the rules of their options, and what a line costs. Pure: no input or output."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

MAX_QUANTITY = 50
"""Of one item with the same choices in an order."""


@dataclass(frozen=True)
class Refusal:
    """Why a restaurant does not take an order. ``extra`` has JSON values."""

    code: str
    detail: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """``price`` is added to the item's, in minor units."""

    id: UUID
    name: str
    price: int


@dataclass(frozen=True, slots=True)
class Option:
    """At least ``min`` and at most ``max`` of the choices, each once."""

    name: str
    min: int
    max: int
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Item:
    id: UUID
    name: str
    category: str
    price: int
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """What a customer wants."""

    item_id: UUID
    quantity: int
    choices: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class PricedLine:
    """``product_id`` stands for the item with exactly these choices; ``unit_price`` includes them."""

    product_id: UUID
    item_id: UUID
    quantity: int
    name: str
    category: str
    unit_price: int
    choices: tuple[UUID, ...]


Menu = Mapping[UUID, Item]
"""The items of all sections by their id."""


def read_menu(document: Mapping[str, Any]) -> Menu:
    """The menu of a stored document."""
    items = [_item(item) for section in document["sections"] for item in section["items"]]
    return {item.id: item for item in items}


def _item(document: Mapping[str, Any]) -> Item:
    options = tuple(
        Option(
            option["name"],
            option["min"],
            option["max"],
            tuple(Choice(UUID(choice["id"]), choice["name"], choice["price"]) for choice in option["choices"]),
        )
        for option in document["options"]
    )
    return Item(UUID(document["id"]), document["name"], document["category"], document["price"], options)


def menu_errors(menu_items: Sequence[Item]) -> list[str]:
    """What is wrong with a menu beyond the form of its fields; empty when nothing is."""
    errors: list[str] = []
    seen: set[UUID] = set()
    for item in menu_items:
        ids = [item.id, *(choice.id for option in item.options for choice in option.choices)]
        if len(set(ids)) < len(ids) or seen & set(ids):
            errors.append(f"{item.name}: an id is used twice")
        seen.update(ids)
        errors += [
            f"{item.name}, {option.name}: min and max must be possible with {len(option.choices)} choices"
            for option in item.options
            if not 0 <= option.min <= option.max <= len(option.choices) or not option.max
        ]
    return errors


def price_lines(menu: Menu, sold_out: Collection[UUID], lines: Sequence[Line]) -> list[PricedLine] | Refusal:
    """The lines with their prices; lines of the same item with the same choices become one."""
    priced: dict[UUID, PricedLine] = {}
    for line in lines:
        one = _price(menu, sold_out, line)
        if isinstance(one, Refusal):
            return one
        before = priced.get(one.product_id)
        quantity = one.quantity + (before.quantity if before else 0)
        if quantity > MAX_QUANTITY:
            return Refusal("invalid_choices", f"At most {MAX_QUANTITY} of {one.name}.", {"item_id": str(one.item_id)})
        priced[one.product_id] = PricedLine(
            one.product_id, one.item_id, quantity, one.name, one.category, one.unit_price, one.choices
        )
    return list(priced.values())


def _price(menu: Menu, sold_out: Collection[UUID], line: Line) -> PricedLine | Refusal:
    about = {"item_id": str(line.item_id)}
    item = menu.get(line.item_id)
    if item is None:
        return Refusal("unknown_item", "The menu has no such item.", about)
    if item.id in sold_out:
        return Refusal("item_sold_out", f"{item.name} is sold out.", about)
    chosen = _chosen(item, line.choices)
    if isinstance(chosen, str):
        return Refusal("invalid_choices", f"{item.name}: {chosen}", about)
    ids = tuple(choice.id for choice in chosen)
    names = ", ".join(choice.name for choice in chosen)
    return PricedLine(
        product_id(item.id, ids),
        item.id,
        line.quantity,
        f"{item.name} ({names})" if names else item.name,
        item.category,
        item.price + sum(choice.price for choice in chosen),
        ids,
    )


def _chosen(item: Item, ids: Sequence[UUID]) -> list[Choice] | str:
    """The choices in the menu's order, or what is wrong with them."""
    wanted = set(ids)
    if len(wanted) < len(ids):
        return "a choice is named twice."
    chosen: list[Choice] = []
    for option in item.options:
        of_option = [choice for choice in option.choices if choice.id in wanted]
        if not option.min <= len(of_option) <= option.max:
            return f"{option.name}: {_how_many(option)}, not {len(of_option)}."
        chosen += of_option
    return chosen if len(chosen) == len(wanted) else "it has no such choice."


def _how_many(option: Option) -> str:
    if option.min == option.max:
        return f"choose {option.min}"
    return f"choose {option.min} to {option.max}" if option.min else f"choose at most {option.max}"


def product_id(item_id: UUID, choices: Sequence[UUID]) -> UUID:
    """The same for the same choices in any order."""
    return uuid5(item_id, ",".join(sorted(str(choice) for choice in choices)))
