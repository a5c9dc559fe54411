"""The choices that a form makes of a menu item's options, checked against the menu."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from shop.storefront.food.schemas import MenuItem

SINGLE, MULTIPLE = "option-", "choice-"
"""Prefixes of form fields: a radio button's value is a choice's id, a checkbox has it in its name."""


def chosen_ids(form: Mapping[str, str]) -> frozenset[UUID]:
    """The ids of the choices in a form; what is no id is left out."""
    texts = [value for name, value in form.items() if name.startswith(SINGLE)]
    texts += [name.removeprefix(MULTIPLE) for name in form if name.startswith(MULTIPLE)]
    found = set()
    for text in texts:
        try:
            found.add(UUID(text))
        except ValueError:
            continue
    return frozenset(found)


def wrong_options(item: MenuItem, ids: frozenset[UUID]) -> dict[int, str]:
    """An error for each option, by its place, of which too few or too many choices are made."""
    wrong = {}
    for place, option in enumerate(item.options):
        made = sum(choice.id in ids for choice in option.choices)
        if made < option.min:
            wrong[place] = "Please choose one." if option.min == 1 else f"Please choose at least {option.min}."
        elif made > option.max:
            wrong[place] = f"Please choose at most {option.max}."
    return wrong


def fits(item: MenuItem, ids: frozenset[UUID]) -> bool:
    """Whether the choices are all of this item, and as many as it requires."""
    return len(item.chosen(ids)) == len(ids) and not wrong_options(item, ids)
