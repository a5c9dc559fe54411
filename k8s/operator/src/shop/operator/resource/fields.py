"""Types of a Shop's fields with their checks; each error says what was expected."""

import ipaddress
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from shop.kit.countries import COUNTRIES
from shop.kit.currencies import EXPONENTS
from shop.kit.formatting import find_locale, find_zone

CURRENCIES = frozenset(EXPONENTS)
CURRENCY_EXPECTED = "must be an ISO 4217 currency code such as EUR"
COUNTRY_EXPECTED = "must be a two-letter ISO 3166 country code such as DE"
MAX_TEXT = 1_024
MAX_CODE = 32
"""Characters of a country's code; more than it has, so that a wrong one gets an error that names the format."""
MAX_WORD = 256
"""Characters of a text whose type sets no limit of its own."""


class Matching:
    """Metadata of a string that fully matches `pattern`; the error is "must be {expected}".

    In the JSON schema the sentence is `expected`, from which the definition of the resource makes a rule. Of the names
    of a map, `subject` says what one is: "a label" must be ...
    """

    def __init__(self, pattern: str, expected: str, *, max_length: int | None = None, subject: str = "") -> None:
        self._compiled = re.compile(pattern)
        self._sentence = f"must be {expected}" + (f", at most {max_length} characters" if max_length else "")
        self._max_length = max_length or MAX_WORD
        self._subject = subject

    def check(self, value: str) -> str:
        if len(value) > self._max_length or not self._compiled.fullmatch(value):
            raise ValueError(self._sentence)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), **self.json_schema()}

    def json_schema(self) -> dict[str, Any]:
        return {
            "pattern": f"^(?:{self._compiled.pattern})$",
            "maxLength": self._max_length,
            "expected": self._sentence,
            **({"subject": self._subject} if self._subject else {}),
        }


def _known_currency(value: str) -> str:
    if value not in CURRENCIES:
        raise ValueError(CURRENCY_EXPECTED)
    return value


def _known_country(value: str) -> str:
    if value not in COUNTRIES:
        raise ValueError(COUNTRY_EXPECTED)
    return value


def _known_language(value: str) -> str:
    find_locale(value, "")
    return value


def _known_zone(value: str) -> str:
    find_zone(value)
    return value


def _plain_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("must be a number such as 7 or 19.6")
    return value


def _cron_field(value: str) -> str:
    part = rf"(?:\*|{value}(?:-{value})?)(?:/[1-9][0-9]{{0,2}})?"
    return f"{part}(?:,{part})*"


# Minute, hour, day of the month, month, day of the week (0 and 7 are Sunday).
CRON = r"\s+".join(map(_cron_field, ("[0-5]?[0-9]", "(?:[01]?[0-9]|2[0-3])", "(?:0?[1-9]|[12][0-9]|3[01])",
                                      "(?:0?[1-9]|1[0-2])", "[0-7]")))  # fmt: skip
CRON_EXPECTED = 'a cron schedule with five fields such as "15 3 * * *"'


def _rising(value: str) -> str:
    """Rejects a cron schedule with a range such as 5-2, which would never be due."""
    for low, high in re.findall(r"([0-9]+)-([0-9]+)", value):
        if int(low) > int(high):
            raise ValueError(f"must be {CRON_EXPECTED}")
    return value


def whole(low: int, high: int) -> Any:
    """Metadata of an integer within `low`..`high`; "2" and true are rejected."""
    return Field(strict=True, ge=low, le=high)


Flag = Annotated[bool, Field(strict=True)]
Currency = Annotated[
    str,
    AfterValidator(_known_currency),
    Field(json_schema_extra={"one_of": sorted(CURRENCIES), "maxLength": MAX_WORD, "expected": CURRENCY_EXPECTED}),
]
Country = Annotated[
    str,
    AfterValidator(_known_country),
    Field(json_schema_extra={"one_of": sorted(COUNTRIES), "maxLength": MAX_CODE, "expected": COUNTRY_EXPECTED}),
]
Language = Annotated[
    str,
    Matching(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?", "a language tag of BCP 47 such as en, de or pt-BR"),
    AfterValidator(_known_language),
]
TimeZone = Annotated[
    str,
    Matching(
        r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}", "an IANA time zone such as Europe/Berlin", max_length=64
    ),
    AfterValidator(_known_zone),
]
ClockTime = Annotated[str, Matching(r"([01][0-9]|2[0-3]):[0-5][0-9]", "a time of day from 00:00 to 23:59")]
Percent = Annotated[Decimal, BeforeValidator(_plain_number), Field(ge=0, le=100, decimal_places=3)]
Minor = Annotated[int, whole(0, 1_000_000_000)]
FileKey = Annotated[str, Matching(r"[-._a-zA-Z0-9]+", "a key such as ca.crt", max_length=253)]
Label = Annotated[
    str,
    Matching(
        r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", "lower-case letters, digits and hyphens, as in a DNS label", max_length=63
    ),
]
SHOP_NAME = Matching(
    r"[a-z]([-a-z0-9]*[a-z0-9])?", "lower-case letters, digits and hyphens, beginning with a letter", max_length=40
)
ShopName = Annotated[str, SHOP_NAME]
Category = Annotated[str, Matching(r"[a-z0-9]([-a-z0-9_]*[a-z0-9])?", "a category such as books", max_length=40)]
Version = Annotated[str, Matching(r"[A-Za-z0-9_][A-Za-z0-9._-]*", "an image tag such as 0.1.0", max_length=128)]
Image = Annotated[
    str,
    Matching(r"[a-z0-9][a-zA-Z0-9._/:@-]*", "an image such as registry.example.com/shop/order:0.1.0", max_length=300),
]
EnvName = Annotated[
    str, Matching(r"[A-Za-z_][A-Za-z0-9_]*", "a name of letters, digits and underscores", subject="a variable")
]
_LABEL_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LabelName = Annotated[
    str, Matching(rf"([a-z0-9.-]+/)?{_LABEL_PART}", "a name such as release", max_length=317, subject="a label")
]
LabelValue = Annotated[str, Matching(rf"({_LABEL_PART})?", "a label's value, at most 63 letters, digits, -, _ or .")]
AnnotationName = Annotated[
    str,
    Matching(
        rf"([a-z0-9.-]+/)?{_LABEL_PART}", "a name such as grafana_folder", max_length=317, subject="an annotation"
    ),
]
Annotation = Annotated[str, Field(max_length=MAX_WORD)]
EnvValue = Annotated[str, Field(max_length=MAX_TEXT)]
CpuQuantity = Annotated[str, Matching(r"[0-9]+(\.[0-9]{1,3}|m)?", "a CPU quantity such as 250m or 0.5")]
MemoryQuantity = Annotated[
    str, Matching(r"[0-9]+(\.[0-9]{1,3})?(k|[MGT]|[KMGT]i)?", "a quantity of bytes such as 256Mi or 10Gi")
]
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
Host = Annotated[str, Matching(rf"{_LABEL}(\.{_LABEL})*", "a host name such as shop.example.com", max_length=253)]


def _is_network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError("must be a network such as 10.0.0.0/8") from error
    return text


Network = Annotated[
    str, Matching(r"[0-9a-fA-F.:]+/[0-9]{1,3}", "a network such as 10.0.0.0/8"), AfterValidator(_is_network)
]
Url = Annotated[str, Matching(r"https?://[^\s/?#]+(/[^\s]*)?", "an http:// or https:// URL")]
CronSchedule = Annotated[str, Matching(CRON, CRON_EXPECTED), AfterValidator(_rising)]
_LOCATION = r"(pvc://[a-z0-9]([-a-z0-9]*[a-z0-9])?|s3://[a-z0-9][a-z0-9.-]+)(/[^\s]*)?"
BackupDestination = Annotated[str, Matching(_LOCATION, "pvc://CLAIM/path or s3://BUCKET/path")]
BackupSource = Annotated[str, Matching(_LOCATION, "pvc://CLAIM/path or s3://BUCKET/path, where BACKUP may follow")]
