"""The form of a menu item, and menus with an item saved or removed, as the restaurant service takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from shop.kit.text import Typed, paragraphs
from shop.storefront.food.schemas import Menu, MenuItem
from shop.storefront.forms import FormModel, Short, decimal_text, minor_units

MAX_DESCRIPTION_CHARACTERS = 1_000
MAX_PRICE_MAJOR = 10_000
ALLERGENS = (
    "celery", "crustaceans", "eggs", "fish", "gluten", "lupin", "milk", "molluscs", "mustard", "nuts", "peanuts",
    "sesame", "soya", "sulphites",
)  # fmt: skip
ALLERGEN = "allergen-"
"""The prefix of a checkbox's name."""
CATEGORIES = (("food", "Food"), ("drink", "Drink"), ("alcohol", "Alcohol"))


class ItemForm(FormModel):
    """A section that the menu does not have yet is added to it."""

    section: Short
    name: Short
    description: Annotated[str, Typed(MAX_DESCRIPTION_CHARACTERS, 0, paragraphs)] = ""
    price: Annotated[str, Typed(16)]
    category: Literal["food", "drink", "alcohol"]


def price_of(text: str, currency: str) -> tuple[int, str]:
    """The price in minor units and the error of its field."""
    amount = minor_units(text, currency)
    if amount is None or amount < 0:
        return 0, f"Enter an amount, such as {decimal_text(950, currency)}."
    most = minor_units(str(MAX_PRICE_MAJOR), currency) or 0
    return (amount, "") if amount <= most else (0, "This price is too high.")


def form_values(menu: Menu, item: MenuItem) -> dict[str, str]:
    """The form of an item of the menu."""
    values = {
        "section": next(section.name for section in menu.sections if item in section.items),
        "name": item.name,
        "description": item.description,
        "price": decimal_text(item.price.amount, item.price.currency),
        "category": item.category,
    }
    return values | {ALLERGEN + name: "1" for name in item.allergens}


def with_item(
    menu: Menu, item_id: UUID | None, checked: ItemForm, form: Mapping[str, str], price: Mapping[str, Any]
) -> dict[str, Any]:
    """The menu with the item as the form has it, in place of the one with its id or at the end of its section.

    Its options are kept; only items without an id are new.
    """
    changed = {
        **checked.model_dump(exclude={"section"}),
        "price": dict(price),
        "allergens": [name for name in ALLERGENS if ALLERGEN + name in form],
    }
    sections = _sections(menu)
    for section in sections:
        for place, item in enumerate(section["items"]):
            if item["id"] == str(item_id):
                if section["name"] == checked.section:
                    section["items"][place] = {**item, **changed}
                    return {"sections": sections}
                changed = {**section["items"].pop(place), **changed}
                break
    _section_named(sections, checked.section)["items"].append(changed)
    return {"sections": [section for section in sections if section["items"]]}


def without_item(menu: Menu, item_id: UUID) -> dict[str, Any]:
    """The menu without the item; a section that has no other is removed with it."""
    sections = _sections(menu)
    for section in sections:
        section["items"] = [item for item in section["items"] if item["id"] != str(item_id)]
    return {"sections": [section for section in sections if section["items"]]}


def _sections(menu: Menu) -> list[dict[str, Any]]:
    """As the service takes them: whether an item is sold out is no part of a menu."""
    sections: list[dict[str, Any]] = menu.model_dump(mode="json")["sections"]
    for section in sections:
        for item in section["items"]:
            del item["available"]
    return sections


def _section_named(sections: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = next((section for section in sections if section["name"] == name), None)
    if found is None:
        found = {"name": name, "items": []}
        sections.append(found)
    return found
