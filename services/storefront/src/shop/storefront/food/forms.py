"""The checkout form of food."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from shop.contracts.money import Address, Money
from shop.kit.text import Typed, paragraphs
from shop.storefront.food.carts import FoodCart
from shop.storefront.food.homes import locate
from shop.storefront.forms import CheckoutForm, minor_units

MAX_NOTE_CHARACTERS = 300
MAX_TIP_MAJOR = 10_000
TIP_PERCENTS = (0, 5, 10, 15)
"""The tips that buttons offer, in percent of the subtotal."""
OTHER_TIP = "other"

SEPARATORS = re.compile(r"[\s()./-]")
E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def phone_number(text: str) -> str:
    """``text`` as E.164; "" for none. Raises PydanticCustomError ``phone_number``."""
    plain = SEPARATORS.sub("", text)
    plain = f"+{plain[2:]}" if plain.startswith("00") else plain
    if plain and not E164.fullmatch(plain):
        raise PydanticCustomError("phone_number", "Enter the number with its country code, such as +44 7700 900123.")
    return plain


def street_in_town(street: str) -> str:
    """Raises PydanticCustomError ``street_in_town`` for an address that is not in the town."""
    if street and locate(street) is None:
        raise PydanticCustomError("street_in_town", "There is no such street or number in the town.")
    return street


class FoodCheckoutForm(CheckoutForm):
    street: Annotated[str, Typed(120), AfterValidator(street_in_town)]
    phone: Annotated[str, Typed(40, 0), AfterValidator(phone_number)] = ""
    note: Annotated[str, Typed(MAX_NOTE_CHARACTERS, 0, paragraphs)] = ""
    tip: Annotated[str, StringConstraints(pattern=r"^(0|5|10|15|other)?$")] = "0"
    tip_amount: Annotated[str, Typed(16, 0)] = ""


def tip_of(form: Mapping[str, str], subtotal: int, currency: str) -> tuple[int, str]:
    """The tip in minor units and the error of its field."""
    chosen = form.get("tip", "0") or "0"
    if chosen != OTHER_TIP:
        percent = int(chosen) if chosen.isdecimal() and int(chosen) in TIP_PERCENTS else 0
        return percent_of(subtotal, percent), ""
    amount = minor_units(form.get("tip_amount", "") or "0", currency)
    if amount is None or amount < 0:
        return 0, "Enter an amount, such as 2.50."
    most = minor_units(str(MAX_TIP_MAJOR), currency) or 0
    return (amount, "") if amount <= most else (0, "This tip is too high.")


def percent_of(amount: int, percent: int) -> int:
    """Rounded half up."""
    return (amount * percent * 2 + 100) // 200


def quote_body(cart: FoodCart, address: Mapping[str, str], tip: Money, coupon: str = "") -> dict[str, Any]:
    """What pricing is asked for."""
    body = {
        "kind": "food",
        "restaurant_id": str(cart.restaurant_id),
        "items": cart.items(),
        "address": dict(address),
        "tip": tip.model_dump(),
    }
    return {**body, "coupon": coupon} if coupon else body


def order_body(cart: FoodCart, checked: FoodCheckoutForm, tip: Money, shown_total: Money) -> dict[str, Any]:
    """The body of POST /orders; it is refused if the total is no longer the one that was shown."""
    address: Address = checked.address()
    body = {
        **quote_body(cart, address.document(), tip, checked.coupon),
        "payment": {"token": checked.card},
        "expected_total": shown_total.model_dump(),
    }
    given = {"phone": checked.phone, "note": checked.note}
    return body | {name: value for name, value in given.items() if value}
