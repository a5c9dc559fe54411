"""Checked kinds of text and number that a Shop is made of; each refusal says what was expected."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

# ISO 4217, the currencies in use; funds, metals and test codes are left out.
CURRENCIES = frozenset(
    """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS
    INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP
    MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR
    SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND
    VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG""".split()
)


class Matching:
    """Metadata of a string that fully matches `pattern`; a refusal reads "must be {expected}"."""

    def __init__(self, pattern: str, expected: str, *, max_length: int | None = None) -> None:
        self._compiled = re.compile(pattern)
        self._expected = expected if max_length is None else f"{expected} of at most {max_length} characters"
        self._max_length = max_length

    def check(self, value: str) -> str:
        if not self._compiled.fullmatch(value) or (self._max_length is not None and len(value) > self._max_length):
            raise ValueError(f"must be {self._expected}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        written = {**handler(schema), "pattern": f"^(?:{self._compiled.pattern})$"}
        return written if self._max_length is None else {**written, "maxLength": self._max_length}


def _known_currency(value: str) -> str:
    if value not in CURRENCIES:
        raise ValueError("must be an ISO 4217 currency code such as EUR")
    return value


def _plain_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("must be a number such as 7 or 19.6")
    return value


def _dns_name(value: str) -> str:
    label = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
    if len(value) > 253 or not re.fullmatch(rf"(\*\.)?{label}(\.{label})*", value):
        raise ValueError("must be a host name such as shop.example.com")
    return value


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s]*)?", value):
        raise ValueError("must be an http:// or https:// URL")
    return value


CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def _cron(value: str) -> str:
    fields = value.split()
    if len(fields) != len(CRON_RANGES) or not all(map(_cron_field, fields, CRON_RANGES)):
        raise ValueError('must be a cron schedule with five fields such as "15 3 * * *"')
    return value


def _cron_field(text: str, bounds: tuple[int, int]) -> bool:
    for part in text.split(","):
        match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?", part)
        if match is None:
            return False
        numbers = [int(group) for group in match.group(1, 2) if group is not None]
        if numbers != sorted(numbers) or any(not bounds[0] <= number <= bounds[1] for number in numbers):
            return False
    return True


def whole(low: int, high: int) -> Any:
    """Metadata of an integer within `low`..`high`; "2" and true are refused."""
    return Field(strict=True, ge=low, le=high)


Flag = Annotated[bool, Field(strict=True)]
Currency = Annotated[str, AfterValidator(_known_currency), Field(json_schema_extra={"pattern": "^[A-Z]{3}$"})]
Country = Annotated[str, Matching(r"[A-Z]{2}", "a two-letter ISO 3166 country code such as DE")]
Percent = Annotated[Decimal, BeforeValidator(_plain_number), Field(ge=0, le=100, decimal_places=3)]
Minor = Annotated[int, whole(0, 1_000_000_000)]
Label = Annotated[
    str,
    Matching(
        r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", "lower-case letters, digits and hyphens, as in a DNS label,", max_length=63
    ),
]
ShopName = Annotated[
    str,
    Matching(
        r"[a-z]([-a-z0-9]*[a-z0-9])?",
        "lower-case letters, digits and hyphens, beginning with a letter,",
        max_length=40,
    ),
]
Category = Annotated[str, Matching(r"[a-z0-9]([-a-z0-9_]*[a-z0-9])?", "a category such as books", max_length=40)]
Version = Annotated[str, Matching(r"[A-Za-z0-9_][A-Za-z0-9._-]*", "an image tag such as 0.1.0", max_length=128)]
Image = Annotated[
    str,
    Matching(r"[a-z0-9][a-zA-Z0-9._/:@-]*", "an image such as registry.example.com/shop/order:0.1.0", max_length=300),
]
EnvName = Annotated[str, Matching(r"[A-Za-z_][A-Za-z0-9_]*", "a name of letters, digits and underscores")]
CpuQuantity = Annotated[str, Matching(r"[0-9]+(\.[0-9]+)?m?", "a CPU quantity such as 250m or 0.5")]
MemoryQuantity = Annotated[str, Matching(r"[0-9]+(\.[0-9]+)?([KMGT]i?)?", "a quantity of bytes such as 256Mi or 10Gi")]
Host = Annotated[str, AfterValidator(_dns_name)]
Url = Annotated[str, AfterValidator(_url)]
CronSchedule = Annotated[str, AfterValidator(_cron)]
BackupDestination = Annotated[
    str,
    Matching(
        r"(pvc://[a-z0-9]([-a-z0-9]*[a-z0-9])?|s3://[a-z0-9][a-z0-9.-]+)(/[^\s]*)?",
        "pvc://CLAIM/path or s3://BUCKET/path",
    ),
]
