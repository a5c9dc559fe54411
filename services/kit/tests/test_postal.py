"""Countries by ISO 3166-1, and what an address needs in each."""

from __future__ import annotations

from typing import Any

import pytest
from babel import Locale
from pydantic import TypeAdapter, ValidationError

from shop.kit.countries import COUNTRIES, Country
from shop.kit.postal import PostalAddress, postal_lines, rules

PLACE = {"name": "Ada", "street": "Main St 1"}


class PageForm(PostalAddress):
    region_required = True


def wrong_fields(model: type[PostalAddress], values: dict[str, Any]) -> dict[str, str]:
    """The type of the error of each field that is refused."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        return {str(item["loc"][0]): item["type"] for item in error.errors()}
    return {}


def test_every_country_has_a_name_and_rules() -> None:
    assert len(COUNTRIES) == 249
    names = Locale("en").territories
    for code in COUNTRIES:
        assert names[code]
        of_country = rules(code)
        assert of_country.required <= of_country.used
        assert "Main St 1" in "/".join(postal_lines({**PLACE, "country": code, "city": "Town"}))


@pytest.mark.parametrize("code", sorted(COUNTRIES))
def test_every_example_and_every_region_is_taken(code: str) -> None:
    """Each region has one value, found by its name and by the value."""
    of_country = rules(code)
    if of_country.example:
        assert of_country.checked("postal_code", of_country.example, required=True)
    values = [value for value, _ in of_country.regions]
    assert len(set(values)) == len(values)
    for value, name in of_country.regions:
        assert of_country.checked("region", name, required=True) == value
        assert of_country.checked("region", value, required=True) == value


def kept_code(country: str, postal_code: str) -> str:
    """The postal code as an address in ``country`` keeps it."""
    return PostalAddress(country=country, city="Town", postal_code=postal_code).postal_code


@pytest.mark.parametrize("code", sorted(code for code in COUNTRIES if rules(code).example))
def test_a_postal_code_may_be_typed_in_small_letters_and_wide_digits(code: str) -> None:
    example = rules(code).example
    wide = example.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"})
    assert kept_code(code, example.lower()) == kept_code(code, wide) == example
    assert kept_code(code, rules(code).prefix + example) == example


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("NL/1234ab", "1234AB"),
        ("CH/ch-3011", "3011"),
        ("DE/\u0665\u0663\u0661\u0661\u0661", "53111"),
        ("JP/\uff11\uff10\uff16\u2212\uff10\uff10\uff13\uff12", "106-0032"),
    ],
)
def test_a_postal_code_has_one_spelling(typed: str, kept: str) -> None:
    country, _, postal_code = typed.partition("/")
    assert kept_code(country, postal_code) == kept


def test_a_postal_code_is_as_short_as_it_may_be_also_once_it_is_written_out() -> None:
    """One character of Unicode may stand for eighteen, and North Korea's codes have no pattern."""
    assert wrong_fields(PostalAddress, {"country": "KP", "city": "Town", "postal_code": "\ufdfa" * 20}) == {
        "postal_code": "string_too_long"
    }


def test_unknown_regions_are_not_cached() -> None:
    before = rules.cache_info().currsize
    for number in range(20):
        PostalAddress(country="PL", city="Town", postal_code="00-950", region=f"X{number}")
    assert rules.cache_info().currsize <= before + 1


@pytest.mark.parametrize("text", ["ZZ", "XX", "UK", "EU", "XK", "D", "DEU", "", "Ä1", "ß", "\ufb01", "u\u017f", "DE\n"])
def test_an_unknown_country_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="ISO 3166-1"):
        TypeAdapter(Country).validate_python(text)


@pytest.mark.parametrize("text", ["de", "De", " DE "])
def test_a_country_has_one_spelling(text: str) -> None:
    assert TypeAdapter(Country).validate_python(text) == "DE"


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ({"country": "DE", "city": "Bonn", "postal_code": "53111"}, {}),
        ({"country": "DE", "city": "Bonn", "postal_code": "ABC!!"}, {"postal_code": "address_postal_code"}),
        ({"country": "DE", "city": "Bonn", "postal_code": "531111"}, {"postal_code": "address_postal_code"}),
        ({"country": "DE"}, {"city": "address_missing", "postal_code": "address_missing"}),
        ({"country": "GB", "city": "London", "postal_code": "SW1Y 4JHX"}, {"postal_code": "address_postal_code"}),
        ({"country": "HK", "region": "Kowloon"}, {}),
        ({"country": "HK"}, {"region": "address_missing"}),
        ({"country": "HK", "region": "Kowloon", "postal_code": "0000"}, {"postal_code": "address_postal_code"}),
        ({"country": "AE", "region": "Dubai"}, {}),
        ({"country": "IE", "city": "Cork"}, {}),
        ({"country": "IE", "city": "Cork", "postal_code": "A65 F4E2"}, {}),
        ({"country": "SG", "postal_code": "546080"}, {}),
        ({"country": "US", "city": "Reno", "postal_code": "89501"}, {"region": "address_missing"}),
        (
            {"country": "US", "city": "Reno", "postal_code": "89501", "region": "Texas"},
            {"postal_code": "address_postal_code"},
        ),
        ({"country": "US", "city": "Reno", "postal_code": "89501", "region": "Nevada"}, {}),
        ({"country": "US", "city": "Reno", "postal_code": "89501", "region": "Kent"}, {"region": "address_region"}),
        ({"country": "UK", "city": "", "postal_code": ""}, {"country": "unknown_country"}),
    ],
)
def test_a_field_is_checked_as_its_country_has_it(values: dict[str, str], refused: dict[str, str]) -> None:
    assert wrong_fields(PageForm, values) == refused
    in_api = {name: kind for name, kind in refused.items() if (name, kind) != ("region", "address_missing")}
    assert wrong_fields(PostalAddress, values) == in_api


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("US/california", "CA"), ("US/CA", "CA"), ("JP/tokyo", "Tokyo"), ("JP/東京都", "東京都"), ("BR/sao paulo", "SP")],
)
def test_a_region_is_kept_in_one_spelling_for_each_script(typed: str, kept: str) -> None:
    country, _, region = typed.partition("/")
    assert rules(country).checked("region", region, required=True) == kept


@pytest.mark.parametrize(
    ("place", "lines"),
    [
        ({"country": "DE", "city": "Bonn", "postal_code": "53111"}, ["53111 Bonn"]),
        ({"country": "US", "city": "Reno", "postal_code": "89501", "region": "NV"}, ["Reno, NV 89501"]),
        ({"country": "US", "city": "Reno", "postal_code": "89501"}, ["Reno 89501"]),
        ({"country": "GB", "city": "London", "postal_code": "SW1Y 4JH"}, ["London", "SW1Y 4JH"]),
        ({"country": "FI", "city": "Helsinki", "postal_code": "00100"}, ["FI-00100 Helsinki"]),
        ({"country": "HK", "region": "Kowloon"}, ["Kowloon"]),
        ({"country": "SG", "postal_code": "546080"}, ["SINGAPORE 546080"]),
        ({"country": "AE", "city": "Deira", "region": "Dubai", "postal_code": "1"}, ["Deira 1", "Dubai"]),
        ({"country": "ZZ", "city": "Bonn", "postal_code": "53111", "region": "NRW"}, ["53111 Bonn", "NRW"]),
    ],
)
def test_an_address_is_written_as_its_country_writes_it(place: dict[str, str], lines: list[str]) -> None:
    assert postal_lines({**PLACE, **place}) == ["Ada", "Main St 1", *lines]
