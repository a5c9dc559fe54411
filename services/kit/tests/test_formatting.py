"""Localized amounts, times and countries."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from babel.numbers import list_currencies

from shop.kit.currencies import EXPONENTS, exponent, major_units
from shop.kit.formatting import Formats, find_locale, find_zone

SPACE = "\N{NO-BREAK SPACE}"
MARCH = datetime(2026, 3, 5, 14, 7, tzinfo=UTC)
JULY = datetime(2026, 7, 5, 22, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("formats", "amount", "currency", "text"),
    [
        (Formats("DE"), 129_900, "EUR", f"1.299,00{SPACE}€"),
        (Formats("IE"), 1_880, "EUR", "€18.80"),
        (Formats("AT", "de"), 1_880, "EUR", f"€{SPACE}18,80"),
        (Formats("OM"), 962, "OMR", f"OMR{SPACE}0.962"),
        (Formats("IS"), 5_300, "ISK", f"ISK{SPACE}5,300"),
        (Formats("IQ"), 1_250, "IQD", f"IQD{SPACE}1.250"),
        (Formats("SN"), 2_414, "XOF", f"F{SPACE}CFA{SPACE}2,414"),
        (Formats("CH", "de"), 123_456_789, "CHF", f"CHF{SPACE}1’234’567.89"),
        (Formats("US"), -250, "USD", "-$2.50"),
        (Formats("JP", "ja"), 1_299, "JPY", "￥1,299"),
    ],
)
def test_amounts(formats: Formats, amount: int, currency: str, text: str) -> None:
    assert formats.money(amount, currency).replace("\N{NARROW NO-BREAK SPACE}", SPACE) == text


@pytest.mark.parametrize(
    ("country", "language", "text"),
    [
        ("GB", "", "9,223,372,036,854,775,807"),
        ("DE", "de", "9.223.372.036.854.775.807"),
        ("CH", "de", "9\u2019223\u2019372\u2019036\u2019854\u2019775\u2019807"),
    ],
)
def test_whole_numbers_are_exact(country: str, language: str, text: str) -> None:
    assert Formats(country, language).whole(2**63 - 1) == text


def test_every_currency_has_the_digits_of_iso_4217() -> None:
    for digits, sample in ((0, "CLP ISK JPY UGX XOF"), (2, "EUR MGA MRU HUF"), (3, "BHD IQD JOD KWD LYD OMR TND")):
        assert {exponent(code) for code in sample.split()} == {digits}
    assert set(EXPONENTS) <= list_currencies(), "CLDR has no name for a currency of the table"
    assert str(major_units(5, "KWD")) == "0.005"


def test_times_are_in_the_zone_of_the_store() -> None:
    assert Formats("DE").moment(MARCH) == "5 March 2026, 14:07 UTC"
    berlin = Formats("DE", time_zone="Europe/Berlin")
    assert berlin.moment(MARCH) == "5 March 2026, 15:07 CET"
    assert berlin.day(JULY) == "6 July 2026"
    assert Formats("DE", "de", "Europe/Berlin").moment(MARCH) == "5. März 2026, 15:07 MEZ"
    assert berlin.date_of(JULY) == date(2026, 7, 6)


def test_countries_are_named_in_the_language() -> None:
    assert Formats("DE").country("DE") == "Germany"
    assert Formats("DE", "de").country("GR") == "Griechenland"
    assert Formats("DE").country("??") == "??"


@pytest.mark.parametrize(
    ("tag", "country", "found"), [("en", "DE", "en_DE"), ("pt-BR", "DE", "pt_BR"), ("de", "JP", "de")]
)
def test_a_language_is_written_as_in_the_country(tag: str, country: str, found: str) -> None:
    assert str(find_locale(tag, country)) == found


@pytest.mark.parametrize("tag", ["xq", "english", "", "e"])
def test_an_unknown_language_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="no language"):
        find_locale(tag, "DE")


@pytest.mark.parametrize("name", ["Europe/Bonn", "", "../etc/passwd", "Europe"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no IANA time zone"):
        find_zone(name)
