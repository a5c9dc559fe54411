"""Forms, validated before they are sent to a service, which validates again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, ClassVar, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from shop.contracts.money import Address
from shop.contracts.store import StoreSettings
from shop.kit.countries import COUNTRIES
from shop.kit.currencies import exponent, major_units
from shop.kit.formatting import Formats
from shop.kit.postal import AddressRules, PostalAddress, rules
from shop.kit.text import NewEmail, Typed, code, new_password
from shop.storefront.schemas import Promotion

MIN_PASSWORD_CHARACTERS = 10
MAX_PASSWORD_CHARACTERS = 128
MAX_TYPED_PASSWORD_CHARACTERS = 4 * MAX_PASSWORD_CHARACTERS
"""Before it is normalized."""
MAX_PERCENT = 100

SHOWN_IN_FORM = frozenset({409, 422})
"""Statuses of refusals that are shown in the form, with the typed values."""

KEY = re.compile(r"[0-9a-f-]{36}")

WHOLE = ""
"""In place of a currency: a plain whole number."""

Short = Annotated[str, Typed(120)]

ERROR_TEXTS = {
    "missing": "This field is required.",
    "string_too_short": "This field is required.",
    "string_too_long": "This is too long.",
    "string_pattern_mismatch": "Enter a valid value.",
    "literal_error": "Choose one of the options.",
    "int_parsing": "Enter a whole number.",
    "address_missing": "This field is required.",
    "address_region": "Choose one of the options.",
    "unknown_country": "Choose one of the options.",
    "date_from_datetime_parsing": "Enter a valid date.",
    "date_parsing": "Enter a valid date.",
}
"""Texts for pydantic's error types."""


TYPES_WITH_OWN_TEXT = frozenset(
    {
        "email_address",
        "text_characters",
        "address_postal_code",
        "phone_number",
        "street_in_town",
        "opening_hours",
        "time_zone",
    }
)
"""Error types whose own message is shown."""

FIELD_NAMES = {
    "street": "Street and number",
    "email": "Email",
    "value": "Value",
    "minimum": "Minimum order",
    "starts": "Start date",
    "expires": "End date",
    "usage_limit": "Usage limit",
    "time_zone": "Time zone",
}
"""The labels of fields whose names are not their labels."""


class FormModel(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class AddressForm(PostalAddress, FormModel):
    region_required: ClassVar[bool] = True

    name: Short
    street: Short

    def address(self) -> Address:
        return Address.model_validate(self.model_dump())


class CheckoutForm(AddressForm):
    card: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{3,80}$")]
    coupon: Annotated[str, Typed(40, 0, code)] = ""


class SignInForm(FormModel):
    email: Annotated[str, Typed(254, 3)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TYPED_PASSWORD_CHARACTERS)]


class SignUpForm(FormModel):
    name: Short
    email: NewEmail
    password: Annotated[str, Typed(MAX_PASSWORD_CHARACTERS, MIN_PASSWORD_CHARACTERS, new_password)]


class PromotionForm(FormModel):
    """A promotion as an administrator types it: percent, or amounts such as 12.50; dates without a time."""

    code: Annotated[str, Typed(32, 3, code), StringConstraints(pattern=r"^[A-Z0-9_-]*$")]
    kind: Literal["percentage", "fixed"]
    value: Short
    minimum: Annotated[str, Typed(20, 0)] = ""
    starts: Annotated[str, Typed(10, 0)] = ""
    expires: Annotated[str, Typed(10, 0)] = ""
    usage_limit: Annotated[str, Typed(9, 0), StringConstraints(pattern=r"^[0-9]*$")] = ""
    once_per_user: str = ""
    active: str = ""

    @classmethod
    def values(cls, promotion: Promotion, currency: str, written: Formats) -> dict[str, str]:
        """The form's values for an existing promotion."""
        fixed = promotion.kind == "fixed"
        return {
            "code": promotion.code,
            "kind": promotion.kind,
            "value": decimal_text(promotion.value, currency) if fixed else str(promotion.value),
            "minimum": decimal_text(promotion.minimum_subtotal, currency) if promotion.minimum_subtotal else "",
            "starts": written.date_of(promotion.starts_at).isoformat() if promotion.starts_at else "",
            "expires": written.date_of(promotion.expires_at).isoformat() if promotion.expires_at else "",
            "usage_limit": str(promotion.usage_limit or ""),
            "once_per_user": "1" if promotion.once_per_user else "",
            "active": "1" if promotion.active else "",
        }

    def rule(self, currency: str, written: Formats) -> tuple[dict[str, Any], dict[str, str]]:
        """The rule as the pricing service takes it, and an error for each amount or date that is not valid.

        Start and end date are days in the store's time zone.
        """
        value = minor_units(self.value, currency if self.kind == "fixed" else WHOLE)
        minimum = minor_units(self.minimum or "0", currency)
        first, last = parse_day(self.starts), parse_day(self.expires)
        wrong = {
            "value": self._wrong_value(value, currency),
            "minimum": "Enter a valid amount." if minimum is None or minimum < 0 else "",
            "starts": "Enter a valid date." if self.starts and first is None else "",
            "expires": "Enter a valid date." if self.expires and last is None else "",
        }
        if first and last and first > last:
            wrong["expires"] = "The end date is before the start date."
        rule = {
            "kind": self.kind,
            "value": value,
            "minimum_subtotal": minimum,
            "starts_at": written.start_of(first) if first else None,
            "expires_at": written.end_of(last) if last else None,
            "usage_limit": int(self.usage_limit) if self.usage_limit.strip("0") else None,
            "once_per_user": bool(self.once_per_user),
            "active": bool(self.active),
        }
        return rule, {name: message for name, message in wrong.items() if message}

    def _wrong_value(self, value: int | None, currency: str) -> str:
        if self.kind == "percentage":
            fits = value is not None and 1 <= value <= MAX_PERCENT
            return "" if fits else f"Enter a whole percentage from 1 to {MAX_PERCENT}."
        return (
            ""
            if value and value > 0
            else f"Enter an amount greater than zero, for example {decimal_text(500, currency)}."
        )


def default_country(store: StoreSettings) -> str:
    """The country that is selected in a new form: the store's own, if it ships there."""
    return store.country if store.country in store.served else min(store.served)


def address_rules(store: StoreSettings, values: Mapping[str, str]) -> AddressRules:
    """The rules of the country in a form; those of the default one for a form without a known country."""
    country = values.get("country", "")
    return rules(country if country in COUNTRIES else default_country(store))


def parse_form[M: FormModel](model: type[M], values: Mapping[str, str]) -> tuple[M | None, dict[str, str]]:
    """The validated form, or None and an error text for each invalid field."""
    try:
        return model.model_validate(values), {}
    except ValidationError as error:
        return None, {str(item["loc"][0]): _error_text(item) for item in error.errors()}


def _error_text(item: Any) -> str:
    name, kind = item["loc"][0], item["type"]
    if name == "password" and kind == "string_too_short" and item["ctx"]["min_length"] > 1:
        return f"Use at least {item['ctx']['min_length']} characters."
    if kind == "greater_than_equal":
        return f"Enter at least {item['ctx']['ge']}."
    if kind == "less_than_equal":
        return f"Enter at most {item['ctx']['le']}."
    if kind in TYPES_WITH_OWN_TEXT:
        return str(item["msg"])
    return ERROR_TEXTS.get(kind, "Check this value.")


def form_key(values: Mapping[str, str], name: str = "key") -> str:
    """The form's idempotency key, or a new one if it has no valid one."""
    key = values.get(name, "")
    return key if KEY.fullmatch(key) else str(uuid4())


def int_field(values: Mapping[str, str], name: str, *, low: int, high: int, default: int) -> int:
    """The integer in a field, clamped to low..high; `default` if it is not one."""
    try:
        return max(low, min(high, int(values.get(name, ""))))
    except ValueError:
        return default


def minor_units(text: str, currency: str) -> int | None:
    """Minor units of an amount typed as 12.50 or 12,50; None if it is not an amount in this currency."""
    digits = 0 if currency == WHOLE else exponent(currency)
    try:
        scaled = Decimal(text.strip().replace(",", ".")).scaleb(digits)
        return int(scaled) if scaled == scaled.to_integral_value() and abs(scaled) < 10**12 else None
    except InvalidOperation:
        return None


def decimal_text(amount: int, currency: str) -> str:
    """Minor units as a decimal number: 1250 EUR is 12.50."""
    return f"{major_units(amount, currency):f}"


def parse_day(text: str) -> date | None:
    """A date typed as 2026-12-24; None if it is not one."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return None
