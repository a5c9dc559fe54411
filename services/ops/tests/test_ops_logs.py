"""Log lines of a local shop: chosen by level, text and trace, whatever a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from shop.ops import logs
from shop.ops.logs import LogFolder, Wanted

TRACE = "ab" * 16


def line(second: int, level: str = "info", message: str = "done", **fields: Any) -> bytes:
    head = {"time": f"2026-11-29T10:00:{second:02}.000+00:00", "level": level, "service": "order", "logger": "x"}
    return (
        orjson.dumps({**head, "event": "order_confirmed", "message": message, "trace_id": "0" * 32, **fields}) + b"\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    (tmp_path / "order-1.log").write_bytes(line(1) + line(3, "error", "Refused", trace_id=TRACE) + b"Traceback: x\n")
    (tmp_path / "payment-1.log").write_bytes(line(2, "warning", payment_id="p7") + line(4, trace_id=TRACE))
    (tmp_path / "supervisor.log").write_bytes(b"started\n")
    return LogFolder(tmp_path)


def seconds(found: list[logs.Line]) -> list[str]:
    return [one.time[17:19] for one in found]


def test_only_instances_of_services_have_lines(folder: LogFolder) -> None:
    assert folder.instances() == ["order-1", "payment-1"]
    assert folder.instances(["payment"]) == ["payment-1"]


def test_lines_of_several_instances_come_in_the_order_of_time(folder: LogFolder) -> None:
    assert seconds(folder.lines(folder.instances(), Wanted())) == ["", "01", "02", "03", "04"]


@pytest.mark.parametrize(
    ("wanted", "times"),
    [
        (Wanted(level="warning"), ["02", "03"]),
        (Wanted(trace_id=TRACE), ["03", "04"]),
        (Wanted(text="refused"), ["03"]),
        (Wanted(text="p7"), ["02"]),
        (Wanted(level="info", limit=2), ["03", "04"]),
    ],
)
def test_lines_are_chosen(folder: LogFolder, wanted: Wanted, times: list[str]) -> None:
    assert seconds(folder.lines(folder.instances(), wanted)) == times


def test_a_line_shows_its_further_fields(folder: LogFolder) -> None:
    (found,) = folder.lines(["payment-1"], Wanted(level="warning"))
    assert found.extra == "payment_id=p7"


def test_only_the_end_of_a_large_file_is_read(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_READ_BYTES", len(line(4, trace_id=TRACE)) + 20)
    assert seconds(folder.lines(["payment-1"], Wanted())) == ["04"]


def test_a_file_that_is_gone_has_no_lines(folder: LogFolder) -> None:
    assert folder.lines(["delivery-1"], Wanted()) == []
