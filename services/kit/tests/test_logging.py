"""Log lines of decisions and of failures; repeated failures are counted."""

from __future__ import annotations

import logging

import asyncpg
import pytest

from services.kit.tests.recorded_log import RecordedLog
from shop.devkit.testing import wait_until
from shop.kit import log_limits, telemetry
from shop.kit.errors import Unavailable
from shop.kit.log_limits import MAX_REPEATED, REPEAT_WINDOW_S
from shop.kit.logging import decision


@pytest.fixture
def log() -> RecordedLog:
    return RecordedLog()


def test_a_decision_has_its_event_its_fields_and_its_trace(log: RecordedLog) -> None:
    telemetry.begin(f"00-{'ab' * 16}-{'cd' * 8}-00")
    decision(log.logger, "order_confirmed", "order %s is confirmed", 7, order_id=7)
    decision(log.logger, "order_confirmed", "order %s is confirmed", 8, order_id=8, trace_id="ef" * 16)
    first, second = log.lines()
    assert (first["level"], first["event"], first["order_id"], first["message"]) == (
        "info", "order_confirmed", 7, "order 7 is confirmed",
    )  # fmt: skip
    assert (first["trace_id"], second["trace_id"]) == ("ab" * 16, "ef" * 16)


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("database", "unavailable"),
        ConnectionRefusedError("unavailable"),
        TimeoutError(),
        asyncpg.CannotConnectNowError("the database system is shutting down"),
    ],
)
def test_an_unavailable_dependency_is_logged_without_a_stack_trace(log: RecordedLog, error: Exception) -> None:
    log.fail(error)
    (line,) = log.lines()
    assert "exception" not in line
    assert line["error"] == f"{type(error).__name__}: {error}".removesuffix(": ")


def test_an_unexpected_error_is_logged_with_its_stack_trace(log: RecordedLog) -> None:
    log.fail(ValueError("wrong"))
    assert "in fail" in log.lines()[0]["exception"]


def test_repetitions_are_one_line_with_their_number(log: RecordedLog) -> None:
    for _ in range(50):
        log.fail(Unavailable("database"))
    assert len(log.lines()) == 1
    log.now += REPEAT_WINDOW_S
    log.logger.info("another line")
    first, counted, _ = log.lines()
    assert "repeated" not in first
    assert (counted["repeated"], counted["message"], counted["level"]) == (49, "it failed", "error")
    assert counted["error"] == "Unavailable: database is unavailable"
    log.fail(Unavailable("database"))
    log.handler.close()
    assert [line.get("repeated") for line in log.lines()] == [None, 49, None, 1]


def test_a_warning_after_the_window_is_logged_at_once(log: RecordedLog) -> None:
    for _ in range(2):
        log.fail(Unavailable("database"))
        log.now += 2 * REPEAT_WINDOW_S
    assert [line.get("repeated") for line in log.lines()] == [None, None]


def test_different_failures_are_counted_separately(log: RecordedLog) -> None:
    for error in (Unavailable("database"), ValueError("a"), KeyError("b")):
        log.fail(error)
    log.fail(Unavailable("database"), task="relay")
    log.logger.warning("elsewhere")
    assert len(log.lines()) == 5


def test_decisions_and_lines_below_warning_are_all_written(log: RecordedLog) -> None:
    for number in range(3):
        decision(log.logger, "message_failed", "message %d not sent", number, level=logging.ERROR)
        log.logger.info("number %d", number)
    assert len(log.lines()) == 6


def test_the_table_of_repetitions_is_bounded(log: RecordedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_limits, "MAX_LINES_PER_WINDOW", 2 * MAX_REPEATED)
    for number in range(MAX_REPEATED + 1):
        for _ in range(2):
            log.fail(Unavailable("database"), task=f"task-{number}")
    assert len(log.handler._windows) == MAX_REPEATED
    assert [line["task"] for line in log.lines() if line.get("repeated")] == ["task-0"]


async def test_the_count_is_written_without_further_log_lines(
    log: RecordedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_limits, "REPEAT_WINDOW_S", 0.01)
    for _ in range(3):
        log.fail(Unavailable("database"))
    await wait_until(lambda: len(log.lines()) == 2)
    assert log.lines()[1]["repeated"] == 2
    await wait_until(lambda: not log.handler._windows)
