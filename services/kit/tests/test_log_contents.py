"""What a log line has (a stable event, the order), what it never has, and how much is written."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import Any

import asyncpg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from services.kit.tests.recorded_log import RecordedLog
from shop.devkit.testing import wait_until
from shop.kit import log_limits, telemetry
from shop.kit import logging as kit_logging
from shop.kit.errors import Problem, Unavailable
from shop.kit.log_limits import MAX_LINES_PER_WINDOW
from shop.kit.logging import bind, bind_subjects, change_level, decision, in_request
from shop.kit.redaction import REDACTED, SECRETS, described, stack_of, without_secrets

ORDER = "0192d3c4-1111-7000-8000-00000000abcd"
MARKER = "marker-of-a-person"
JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.fixture
def log() -> RecordedLog:
    kit_logging._bound.set({})
    kit_logging._request.set({})
    telemetry.current.set(telemetry.NO_TRACE)
    return RecordedLog()


def test_each_line_has_an_event_which_is_one_for_all_libraries(log: RecordedLog) -> None:
    log.logger.info("%d books", 3, extra={"event": "books_counted"})
    log.logger.info("Started server process")
    first, second = log.lines()
    assert (first["event"], first["message"]) == ("books_counted", "3 books")
    assert (second["event"], second["logger"]) == ("library_line", log.logger.name)


def test_libraries_are_sampled_apart_from_each_other(log: RecordedLog) -> None:
    other = log.logger.getChild("other")
    for number in range(MAX_LINES_PER_WINDOW + 10):
        log.logger.info("line %d", number)
    other.info("the only one")
    assert log.lines()[-1]["message"] == "the only one"


def test_a_path_names_the_order_of_its_request_if_that_is_an_id(log: RecordedLog) -> None:
    in_request({"path_params": {"order_id": ORDER, "code": MARKER}})
    log.logger.info("read")
    in_request({"path_params": {"order_id": MARKER}})
    log.logger.info("read")
    in_request({})
    log.logger.info("read")
    assert [line.get("order_id") for line in log.lines()] == [ORDER, None, None]
    assert MARKER not in log.stream.getvalue()


def test_a_bound_order_is_on_each_line_until_another_is_bound(log: RecordedLog) -> None:
    class OfOrder:
        order_id = ORDER

    bind(order_id="first", attempt=2)
    log.logger.info("one")
    bind_subjects(OfOrder())
    log.logger.info("two")
    bind_subjects(None)
    log.logger.info("three")
    assert [(line.get("order_id"), line["attempt"]) for line in log.lines()] == [("first", 2), (ORDER, 2), (None, 2)]


async def test_what_is_bound_in_a_task_stays_there(log: RecordedLog) -> None:
    async def work() -> None:
        bind(order_id=ORDER)
        log.logger.info("inside")

    await asyncio.create_task(work())
    log.logger.info("outside")
    assert [line.get("order_id") for line in log.lines()] == [ORDER, None]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (f"Authorization: Bearer {JWT}", f"Authorization: {REDACTED} {REDACTED}"),
        (f"the token {JWT} is old", f"the token {REDACTED} is old"),
        ("postgres://shop:hunter2@db:5432/shop", f"postgres://shop:{REDACTED}@db:5432/shop"),
        ("valkey://:hunter2@cache:6379", f"valkey://:{REDACTED}@cache:6379"),
        ("card 4242 4242 4242 4242 of ada", f"card {REDACTED} of ada"),
        ("charged tok_visa", f"charged {REDACTED}"),
        ("mail to ada.buyer+1@example.com failed", f"mail to {REDACTED} failed"),
        ('{"password": "hunter2"}', f'{{"password": "{REDACTED}"}}'),
        ("session_secret=hunter2&next=/", f"session_secret={REDACTED}&next=/"),
        (f"order {ORDER} is confirmed", f"order {ORDER} is confirmed"),
        ("took 1234567890123 ns", "took 1234567890123 ns"),
        ("no such path", "no such path"),
    ],
)
def test_what_looks_like_a_secret_is_not_written(text: str, written: str) -> None:
    assert without_secrets(text) == written


PIECES = (
    "bearer ", "Basic ", "abcdefgh1", "ab12-cd34", "postgresql://", "user:", "pw", "@", "host.example", "eyJ", ".",
    "tok", "_", "sk_live", "pass", "word", "SECRET", "token", "api", "Key", "cookie", "authorization", "=", ": ", "'",
    "\u00df", "\u0130", "\u017f", "\u212a", "order 1", " ",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
@example("pa\u017f\u017fword: pw")
@example("to\u212aen=pw")
@example("Bearer abcdefgh1")
@example("eyJabcdefgh1.abcd.")
@example("apiKey: pw")
def test_no_secret_is_in_a_text_that_is_not_searched_for_them(text: str) -> None:
    assert SECRETS.search(text) is None or REDACTED in without_secrets(text)


def test_fields_with_the_names_of_secrets_are_not_written(log: RecordedLog) -> None:
    log.logger.info("signed in", extra={"refresh_token": "x1", "user_password": "x2", "card": "x3", "discarded": 4})
    (line,) = log.lines()
    assert [line[name] for name in ("refresh_token", "user_password", "card")] == [REDACTED] * 3
    assert line["discarded"] == 4


class Form(BaseModel):
    age: int


def _wrong_form() -> Exception:
    try:
        Form(age=MARKER)
    except ValidationError as error:
        return error
    raise AssertionError


def _duplicate() -> Exception:
    error = asyncpg.UniqueViolationError('duplicate key value violates unique constraint "users_email_key"')
    error.detail = f"Key (email)=({MARKER}) already exists."
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError(MARKER), "ValueError"),
        (KeyError(MARKER), "KeyError"),
        (_wrong_form(), "ValidationError: age: int_parsing"),
        (_duplicate(), 'UniqueViolationError: duplicate key value violates unique constraint "users_email_key"'),
        (asyncpg.DataError(f"invalid input for query argument $1: {MARKER}"), "DataError"),
        (Unavailable("database"), "Unavailable: database is unavailable"),
        (Problem(409, "sold_out", "Too late."), "Problem: 409 sold_out: Too late."),
        (ConnectionRefusedError(111, "refused"), "ConnectionRefusedError: [Errno 111] refused"),
    ],
)
def test_an_error_is_described_without_the_values_it_repeats(log: RecordedLog, error: Exception, text: str) -> None:
    assert described(error) == text
    log.logger.warning("it failed: %s", error)
    log.logger.info("it failed: %r", error)
    afterwards = RuntimeError("afterwards")
    afterwards.__cause__ = error
    assert text in stack_of(afterwards)
    log.logger.error("it failed", exc_info=afterwards)
    assert MARKER not in log.stream.getvalue()


def test_a_flood_of_one_event_is_sampled_and_its_rest_is_counted(log: RecordedLog) -> None:
    for number in range(MAX_LINES_PER_WINDOW + 7):
        decision(log.logger, "order_confirmed", "order %d is confirmed", number)
    decision(log.logger, "order_rejected", "another event")
    assert len(log.lines()) == MAX_LINES_PER_WINDOW + 1
    log.now += log_limits.FLOOD_WINDOW_S
    decision(log.logger, "order_confirmed", "one more")
    counted, last = log.lines()[-2:]
    assert (counted["event"], counted["suppressed_event"], counted["suppressed"]) == (
        "lines_suppressed", "order_confirmed", 7,
    )  # fmt: skip
    assert last["message"] == "one more"


async def test_the_rest_of_a_flood_is_written_without_further_lines(
    log: RecordedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_limits, "MAX_LINES_PER_WINDOW", 2)
    monkeypatch.setattr(log_limits, "FLOOD_WINDOW_S", 0.01)
    for _ in range(5):
        log.logger.info("read", extra={"event": "read"})
    await wait_until(lambda: log.lines()[-1].get("suppressed") == 3)


def test_the_table_of_floods_is_bounded(log: RecordedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_limits, "MAX_FLOODS", 3)
    for number in range(5):
        log.logger.info("read", extra={"event": f"read_{number}"})
    assert len(log.handler._floods) == 3


async def test_signals_change_the_level_while_the_process_runs() -> None:
    root, before = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.INFO)
    kit_logging.obey_signals(asyncio.get_running_loop())
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        await wait_until(lambda: root.level == logging.DEBUG)
        os.kill(os.getpid(), signal.SIGUSR2)
        await wait_until(lambda: root.level == logging.INFO)
        os.kill(os.getpid(), signal.SIGUSR2)
        await wait_until(lambda: root.level == logging.WARNING)
    finally:
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            asyncio.get_running_loop().remove_signal_handler(number)
        kit_logging.set_level(before)


def test_the_level_stays_within_what_there_is_and_each_change_is_logged(logged: Any) -> None:
    before = logging.getLogger().level
    try:
        kit_logging.set_level(logging.ERROR)
        change_level(-1)
        assert logging.getLogger().level == logging.ERROR
        change_level(9)
        assert logging.getLogger().level == logging.DEBUG
    finally:
        kit_logging.set_level(before)
    assert [line["log_level"] for line in logged(event="log_level_changed")] == ["error", "debug"]
