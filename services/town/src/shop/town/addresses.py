"""Finds the house of a street line such as "12 Mill Lane" or "Mill Lane 12"."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from shop.town.data import Data, Edge, Street
from shop.town.geometry import Point, along

SET_BACK_M = 9.0
"""From the middle of the street to a house."""
MAX_LINE_CHARACTERS = 200
"""A longer line is no address."""
ABBREVIATIONS = {
    "ave": "avenue", "av": "avenue", "cl": "close", "cres": "crescent", "ct": "court", "dr": "drive", "gdns": "gardens",
    "gr": "grove", "la": "lane", "ln": "lane", "rd": "road", "sq": "square", "st": "street", "str": "street",
    "ter": "terrace", "terr": "terrace",
}  # fmt: skip
_NUMBER = r"(?P<number>[0-9]{1,4})\s?[a-z]?"
"""A letter after the number is a flat or a part of the same house."""
_LINES = (re.compile(rf"{_NUMBER}\s+(?P<street>.+)"), re.compile(rf"(?P<street>.+?)\s+{_NUMBER}"))


class Addresses:
    def __init__(self, data: Data) -> None:
        self._data = data
        self._town = _folded(data.name)
        self._streets = {_folded(street.name): street for street in data.streets}

    def numbers(self, street: str) -> range:
        """The house numbers of the street, which must exist (KeyError)."""
        return range(1, 2 * self._streets[_folded(street)].pairs + 1)

    def find(self, street_line: str, city: str) -> Point | None:
        """Where the house is; None when the town has no such street or number, or ``city`` is another town."""
        if len(street_line) > MAX_LINE_CHARACTERS or (city.strip() and _folded(city) != self._town):
            return None
        for number, name in _read(street_line):
            if street := self._streets.get(name):
                return self._house(street, number)
        return None

    def _house(self, street: Street, number: int) -> Point | None:
        pair = (number - 1) // 2
        edge = next((edge for edge in street.edges if edge.first <= pair < edge.first + edge.houses), None)
        return self._beside(edge, pair - edge.first, 1 if number % 2 else -1) if edge and number > 0 else None

    def _beside(self, edge: Edge, index: int, side: int) -> Point:
        usable_m = edge.length_m - 2 * self._data.corner_m
        (x, y), (east, north) = along(edge.line, self._data.corner_m + (index + 0.5) * usable_m / edge.houses)
        return x - side * SET_BACK_M * north, y + side * SET_BACK_M * east


def _read(street_line: str) -> Iterator[tuple[int, str]]:
    """The number and the folded name of the street, for each way to read the line."""
    line = " ".join(re.sub(r"[,;]", " ", _plain(street_line)).split())
    for pattern in _LINES:
        if read := pattern.fullmatch(line):
            yield int(read["number"]), _folded(read["street"])


def _plain(text: str) -> str:
    """Lower case without accents."""
    split = unicodedata.normalize("NFKD", text).casefold()
    return "".join(character for character in split if not unicodedata.combining(character))


def _folded(name: str) -> str:
    """A street's name as it is compared: letters and digits alone, the kind of street written out."""
    words = [re.sub(r"[^a-z0-9]", "", word) for word in re.split(r"[\s-]+", _plain(name).strip())]
    words = [word for word in words if word]
    if words:
        words[-1] = ABBREVIATIONS.get(words[-1], words[-1])
    return "".join(words)
