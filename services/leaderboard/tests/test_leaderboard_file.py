"""The boards file: what is wrong in it is said in one line that names the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from shop.leaderboard.boards import MAX_FILE_BYTES, BoardsError, load_boards
from shop.leaderboard.domain import Direction, Operator, Reset

GOOD = "board: golf, title: Golf, source: golf, operator: best"


def test_the_shops_own_boards_are_good() -> None:
    boards = load_boards("", "Europe/Berlin")
    assert [one.board for one in boards] == ["stack", "stack-daily", "stack-weekly", "buyers", "buyers-all", "xp"]
    assert {one.zone.key for one in boards} == {"Europe/Berlin"}


def test_every_field_is_read(tmp_path: Path) -> None:
    file = tmp_path / "boards.yaml"
    fields = "external: true, order: asc, reset: weekly, time_zone: Asia/Tokyo, size: 7, ties: first"
    file.write_text(f"- {{{GOOD}, {fields}}}\n")
    (board,) = load_boards(str(file), "")
    assert (board.board, board.title, board.source, board.external) == ("golf", "Golf", "golf", True)
    assert (board.direction, board.operator, board.reset) == (Direction.ASC, Operator.BEST, Reset.WEEKLY)
    assert (board.zone.key, board.size) == ("Asia/Tokyo", 7)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "boards: a list of 1 to 64 boards"),
        ("- {", "boards: not YAML"),
        ("- 1", "boards[0]: a mapping"),
        ("- {title: x}", "boards[0]: board is up to 40"),
        (f"- {{{GOOD}, more: 1}}", "boards[0] (golf): more is no field"),
        (f"- {{{GOOD}, order: up}}", "boards[0] (golf): order is one of desc, asc, not 'up'"),
        (f"- {{{GOOD}, operator: mean}}", "boards[0] (golf): operator is one of best, last, sum, not 'mean'"),
        (f"- {{{GOOD}, reset: hourly}}", "boards[0] (golf): reset is one of"),
        (f"- {{{GOOD}, time_zone: Mars}}", "boards[0] (golf): time_zone: Mars is no IANA time zone"),
        (f"- {{{GOOD}, size: 1001}}", "boards[0] (golf): size is a whole number from 1 to 1000, not 1001"),
        (f"- {{{GOOD}, size: true}}", "boards[0] (golf): size"),
        (f"- {{{GOOD}, external: 1}}", "boards[0] (golf): external is true or false"),
        (f"- {{{GOOD}, ties: last}}", "boards[0] (golf): ties is first"),
        ("- {board: golf, title: '', source: golf, operator: best}", "boards[0] (golf): title"),
        ("- {board: Golf!, title: x, source: golf, operator: best}", "boards[0]: board"),
        ("- {board: golf, title: x, source: 1, operator: best}", "boards[0] (golf): source"),
        ("- {board: golf, title: x, source: orders, operator: best}", "operator of the source orders is sum"),
        (f"- {{{GOOD}}}\n- {{{GOOD}}}", "boards: golf is defined twice"),
        ("/nowhere/boards.yaml", "boards: /nowhere/boards.yaml cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(text: str, says: str) -> None:
    with pytest.raises(BoardsError) as raised:
        load_boards(text, "")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "boards.yaml"
    file.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(BoardsError, match="has more than"):
        load_boards(str(file), "")
