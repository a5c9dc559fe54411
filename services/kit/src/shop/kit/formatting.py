"""Localized amounts, times and country names, for pages and mails.

The rules are CLDR's, through Babel; the digits of an amount are those of ISO 4217 (`shop.kit.currencies`).
"""

from __future__ import annotations

import re
from copy import copy
from datetime import date, datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time, get_timezone_name
from babel.numbers import format_decimal

from shop.kit.currencies import exponent, major_units

KNOWN_AMOUNTS = 4_096
"""Amounts whose text is remembered: writing one takes 80 µs, and prices recur on every page."""
DEFAULT_LANGUAGE = "en"
DEFAULT_TIME_ZONE = "UTC"

APOSTROPHE, TYPOGRAPHIC_APOSTROPHE = "'", "\N{RIGHT SINGLE QUOTATION MARK}"
"""Babel 2.19 parses two Swiss group separators, as in 1'234'567, as quotes and drops them."""

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
LETTER_BESIDE_DIGIT = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
"""Where CLDR's currency spacing inserts a space, which Babel does not: OMR 0.962, not OMR0.962."""


def find_locale(language: str, country: str) -> Locale:
    """The locale of a BCP 47 tag; a tag without a region gets the region `country`.

    Raises ValueError for a language that CLDR does not know.
    """
    try:
        locale = Locale.parse(language, sep="-")
    except (UnknownLocaleError, ValueError, TypeError) as error:
        raise ValueError(f"{language} is no language that CLDR knows, such as en, de or pt-BR") from error
    try:
        return locale if locale.territory else Locale.parse(f"{language}-{country}", sep="-")
    except (UnknownLocaleError, ValueError):
        return locale


def find_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name; raises ValueError for any other name."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(f"{name} is no IANA time zone such as Europe/Berlin") from error


class Formats:
    """Formats of one locale and time zone; by default English in the region `country`, and UTC."""

    def __init__(self, country: str, language: str = "", time_zone: str = "") -> None:
        self.locale = find_locale(language or DEFAULT_LANGUAGE, country)
        symbols = self.locale.number_symbols["latn"]
        if symbols["group"] == APOSTROPHE:
            symbols["group"] = TYPOGRAPHIC_APOSTROPHE
        self.zone = find_zone(time_zone or DEFAULT_TIME_ZONE)
        self._amounts = lru_cache(KNOWN_AMOUNTS)(self._written)

    def money(self, amount: int, currency: str) -> str:
        """An amount in minor units, with the number of decimals that ISO 4217 defines."""
        return self._amounts(amount, currency)

    def _written(self, amount: int, currency: str) -> str:
        pattern = copy(self.locale.currency_formats["standard"])
        pattern.frac_prec = (exponent(currency), exponent(currency))
        value = major_units(amount, currency)
        text = str(pattern.apply(value, self.locale, currency=currency, currency_digits=False))
        return LETTER_BESIDE_DIGIT.sub(NO_BREAK_SPACE, text)

    def whole(self, number: int) -> str:
        """A whole number with the locale's separators, such as 1,234,567."""
        return str(format_decimal(number, locale=self.locale))

    def day(self, moment: datetime) -> str:
        """The day in the store's zone, such as 5 March 2026."""
        return format_date(moment.astimezone(self.zone), "long", locale=self.locale)

    def moment(self, moment: datetime) -> str:
        """Day, minute and zone, such as 5 March 2026, 15:07 CET."""
        local = moment.astimezone(self.zone)
        clock = format_time(local, "short", tzinfo=self.zone, locale=self.locale)
        zone = get_timezone_name(local, width="short", locale=self.locale)
        return f"{self.day(moment)}, {clock} {zone}"

    def clock(self, moment: datetime, zone: str = "") -> str:
        """The time of day in the store's zone or in `zone`, such as 15:07; ValueError for an unknown zone."""
        local = moment.astimezone(find_zone(zone) if zone else self.zone)
        return format_time(local, "short", tzinfo=local.tzinfo, locale=self.locale)

    def weekday(self, moment: datetime, zone: str = "") -> str:
        """The day of the week in the store's zone or in `zone`, such as Monday."""
        local = moment.astimezone(find_zone(zone) if zone else self.zone)
        return format_date(local, "EEEE", locale=self.locale)

    def country(self, code: str) -> str:
        """The country's name in the locale; the code itself if CLDR does not know it."""
        return str(self.locale.territories.get(code, code))

    def date_of(self, moment: datetime) -> date:
        """The calendar day of `moment` in the store's zone."""
        return moment.astimezone(self.zone).date()

    def start_of(self, day: date) -> datetime:
        """The first second of a day in the store's zone."""
        return datetime.combine(day, time(), tzinfo=self.zone)

    def end_of(self, day: date) -> datetime:
        """The last second of a day in the store's zone."""
        return datetime.combine(day, time(23, 59, 59), tzinfo=self.zone)


@lru_cache(maxsize=8)
def formats(country: str, language: str = "", time_zone: str = "") -> Formats:
    """Cached Formats: a locale's data takes some milliseconds to load."""
    return Formats(country, language, time_zone)
