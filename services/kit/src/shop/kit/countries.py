"""The countries of ISO 3166-1, and the type of country fields in requests and settings.

Source: the alpha-2 codes that the ISO 3166 Maintenance Agency has officially assigned.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

COUNTRIES = frozenset(
    """AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO
    JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR
    MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO
    RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV
    TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW""".split()
)

EXPECTED = "must be a country code of ISO 3166-1 such as DE"


def _upper(value: Any) -> Any:
    """ASCII only: some other letters become ASCII in upper case, "ß" would be South Sudan."""
    return value.strip(" ").upper() if isinstance(value, str) and value.isascii() else value


def _known(value: str) -> str:
    if value not in COUNTRIES:
        raise PydanticCustomError("unknown_country", f"It {EXPECTED}.")
    return value


Country = Annotated[
    str,
    BeforeValidator(_upper),
    AfterValidator(_known),
    Field(description="ISO 3166-1 alpha-2", json_schema_extra={"pattern": "^[A-Za-z]{2}$", "examples": ["DE"]}),
]
"""An alpha-2 code; lower case is accepted and converted to upper case."""
