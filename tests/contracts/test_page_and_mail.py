"""A page and a mail of the same store write the same amount, time and country alike."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from shop.contracts.money import Address, Money
from shop.contracts.store import StoreSettings
from shop.kit.currencies import EXPONENTS
from shop.notification.render import environment
from shop.storefront.web import formats_of, make_environment

AMOUNT = 1_234_567
PARCEL = ["Ada", "Main St 1", "Reno, NV 89501"]
STORES = [
    StoreSettings(),
    StoreSettings(country="US", currency="USD", time_zone="America/New_York"),
    StoreSettings(country="OM", currency="OMR", language="ar", time_zone="Asia/Muscat"),
    StoreSettings(country="IN", currency="INR"),
    StoreSettings(country="CH", currency="CHF", language="de"),
]


@pytest.mark.parametrize("store", STORES, ids=lambda store: f"{store.language or 'en'}-{store.country}")
def test_page_and_mail_agree_for_every_currency(store: StoreSettings) -> None:
    page, mail = make_environment(store).filters, environment(formats_of(store)).filters
    for currency, digits in EXPONENTS.items():
        money = Money(amount=AMOUNT, currency=currency)
        text = page["money"](money)
        assert text == mail["money"](money.model_dump())
        assert text == page["amount"](AMOUNT) or currency != store.currency
        number = re.findall(r"[0-9][0-9.,’\u202f\xa0]*", text)[0].rstrip(".,\xa0\u202f")
        assert re.sub(r"[^0-9]", "", number) == str(AMOUNT)
        assert len(re.split(r"[^0-9]", number)[-1]) == (digits or 3), f"{text} has not {digits} digits"
    moment = datetime(2026, 3, 5, 14, 7, tzinfo=UTC)
    assert page["moment"](moment) == mail["moment"](moment)
    assert page["country"]("DE") == mail["country"]("DE")
    place = Address(name="Ada", street="Main St 1", city="Reno", region="NV", postal_code="89501", country="US")
    assert page["address_lines"](place) == mail["address_lines"](place.model_dump()) == PARCEL
