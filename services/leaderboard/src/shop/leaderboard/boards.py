"""The boards file: read and checked at start, with one line that names the board and its field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from shop.contracts.leaderboard import MAX_BOARDS
from shop.kit.formatting import DEFAULT_TIME_ZONE, find_zone
from shop.leaderboard.domain import Board, Direction, Operator, Reset

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MAX_NAME_CHARACTERS = 40
MAX_TITLE_CHARACTERS = 60
MAX_SIZE = 1_000
DEFAULT_SIZE = 100
MAX_FILE_BYTES = 262_144
FIELDS = frozenset({"board", "title", "source", "external", "order", "operator", "reset", "time_zone", "size", "ties"})

ORDERS = "orders"
XP = "xp"
OPERATORS = {ORDERS: Operator.SUM, XP: Operator.LAST}
"""Sources that have one meaning: cancelled orders are taken back from a sum; XP is a total already."""


class BoardsError(ValueError):
    """The boards file cannot be used; the text is one line for its author."""


def load_boards(where: str, time_zone: str) -> list[Board]:
    """The boards of the file or document ``where``, of the shop's own file if it is empty.

    ``time_zone`` is for boards that name none.
    """
    try:
        document = yaml.safe_load(_text(where))
    except yaml.YAMLError as error:
        raise BoardsError(f"boards: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, list) or not 1 <= len(document) <= MAX_BOARDS:
        raise BoardsError(f"boards: a list of 1 to {MAX_BOARDS} boards is expected")
    boards = [_board(number, entry, time_zone or DEFAULT_TIME_ZONE) for number, entry in enumerate(document)]
    names = [one.board for one in boards]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise BoardsError(f"boards: {doubled[0]} is defined twice")
    return boards


def _text(where: str) -> str:
    if not where:
        return resources.files("shop.leaderboard").joinpath("boards.yaml").read_text("utf-8")
    if "\n" in where or where.lstrip().startswith(("[", "-")):
        return where
    try:
        with Path(where).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise BoardsError(f"boards: {where} has more than {MAX_FILE_BYTES} bytes")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BoardsError(f"boards: {where} cannot be read: {error}") from error


def _board(number: int, entry: Any, time_zone: str) -> Board:
    if not isinstance(entry, dict):
        raise BoardsError(f"boards[{number}]: a mapping is expected")
    where = f"boards[{number}]"
    name = _name(where, "board", entry.get("board"))
    where = f"boards[{number}] ({name})"
    if unknown := sorted(str(field) for field in entry if field not in FIELDS):
        raise BoardsError(f"{where}: {unknown[0]} is no field; those are {', '.join(sorted(FIELDS))}")
    if entry.get("ties", "first") != "first":
        raise BoardsError(f"{where}: ties is first, there is no other rule")
    source, operator = _name(where, "source", entry.get("source")), _choice(where, entry, "operator", list(Operator))
    if OPERATORS.get(source, operator) != operator:
        raise BoardsError(f"{where}: operator of the source {source} is {OPERATORS[source]}, not {operator}")
    return Board(
        board=name,
        title=_title(where, entry.get("title")),
        source=source,
        operator=Operator(operator),
        direction=Direction(_choice(where, entry, "order", list(Direction), Direction.DESC)),
        reset=Reset(_choice(where, entry, "reset", list(Reset), Reset.NEVER)),
        zone=_zone(where, entry.get("time_zone", time_zone)),
        size=_size(where, entry.get("size", DEFAULT_SIZE)),
        external=_flag(where, entry.get("external", False)),
    )


def _name(where: str, field: str, value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value) or len(value) > MAX_NAME_CHARACTERS:
        wanted = f"up to {MAX_NAME_CHARACTERS} lower-case letters, digits and single hyphens"
        raise BoardsError(f"{where}: {field} is {wanted}, not {value!r}")
    return value


def _title(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value.strip()) <= MAX_TITLE_CHARACTERS:
        raise BoardsError(f"{where}: title is a text of 1 to {MAX_TITLE_CHARACTERS} characters")
    return value.strip()


def _choice(
    where: str, entry: Mapping[str, Any], field: str, choices: Sequence[str], default: str | None = None
) -> str:
    value = entry.get(field, default)
    if not isinstance(value, str) or value not in [str(choice) for choice in choices]:
        raise BoardsError(f"{where}: {field} is one of {', '.join(choices)}, not {value!r}")
    return value


def _zone(where: str, value: Any) -> ZoneInfo:
    try:
        return find_zone(str(value))
    except ValueError as error:
        raise BoardsError(f"{where}: time_zone: {error}") from error


def _size(where: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIZE:
        raise BoardsError(f"{where}: size is a whole number from 1 to {MAX_SIZE}, not {value!r}")
    return value


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BoardsError(f"{where}: external is true or false, not {value!r}")
    return value
