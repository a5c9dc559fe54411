"""Log lines of decisions and of failures; repeated failures are counted."""

from __future__ import annotations

import io
import logging
from typing import Any

import asyncpg
import orjson
import pytest

from shop.devkit.testing import wait_until
from shop.kit import log_limits, telemetry
from shop.kit.errors import Unavailable
from shop.kit.log_limits import MAX_REPEATED, REPEAT_WINDOW_S, CountingHandler
from shop.kit.logging import JsonFormatter, decision


class Log:
    """A logger whose handler has a clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stream = io.StringIO()
        self.handler = CountingHandler(self.stream, clock=lambda: self.now)
        self.handler.setFormatter(JsonFormatter("test"))
        self.logger = logging.getLogger(f"test.{id(self)}")
        self.logger.propagate = False
        self.logger.setLevel(logging.INFO)
        self.logger.addHandler(self.handler)

    def fail(self, error: Exception, **extra: Any) -> None:
        try:
            raise error
        except Exception:
            self.logger.exception("it failed", extra=extra)

    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_decision_has_its_event_its_fields_and_its_trace(log: Log) -> None:
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
def test_an_unavailable_dependency_is_logged_without_a_stack_trace(log: Log, error: Exception) -> None:
    log.fail(error)
    (line,) = log.lines()
    assert "exception" not in line
    assert line["error"] == f"{type(error).__name__}: {error}".removesuffix(": ")


def test_an_unexpected_error_is_logged_with_its_stack_trace(log: Log) -> None:
    log.fail(ValueError("wrong"))
    assert "in fail" in log.lines()[0]["exception"]


def test_repetitions_are_one_line_with_their_number(log: Log) -> None:
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


def test_a_warning_after_the_window_is_logged_at_once(log: Log) -> None:
    for _ in range(2):
        log.fail(Unavailable("database"))
        log.now += 2 * REPEAT_WINDOW_S
    assert [line.get("repeated") for line in log.lines()] == [None, None]


def test_different_failures_are_counted_separately(log: Log) -> None:
    for error in (Unavailable("database"), ValueError("a"), KeyError("b")):
        log.fail(error)
    log.fail(Unavailable("database"), task="relay")
    log.logger.warning("elsewhere")
    assert len(log.lines()) == 5


def test_decisions_and_lines_below_warning_are_all_written(log: Log) -> None:
    for number in range(3):
        decision(log.logger, "message_failed", "message %d not sent", number, level=logging.ERROR)
        log.logger.info("number %d", number)
    assert len(log.lines()) == 6


def test_the_table_of_repetitions_is_bounded(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_limits, "MAX_LINES_PER_WINDOW", 2 * MAX_REPEATED)
    for number in range(MAX_REPEATED + 1):
        for _ in range(2):
            log.fail(Unavailable("database"), task=f"task-{number}")
    assert len(log.handler._windows) == MAX_REPEATED
    assert [line["task"] for line in log.lines() if line.get("repeated")] == ["task-0"]


async def test_the_count_is_written_without_further_log_lines(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_limits, "REPEAT_WINDOW_S", 0.01)
    for _ in range(3):
        log.fail(Unavailable("database"))
    await wait_until(lambda: len(log.lines()) == 2)
    assert log.lines()[1]["repeated"] == 2
    await wait_until(lambda: not log.handler._windows)
