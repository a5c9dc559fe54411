"""Limits of what is logged: repetitions of a warning are counted, and a flood of equal events is sampled.

So an outage of a data store does not fill a disk, and a busy hour costs no more than its share.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from asyncpg import CannotConnectNowError, PostgresConnectionError

from shop.kit import telemetry
from shop.kit.errors import Unavailable
from shop.kit.redaction import ErrorText, described, without_secrets

REPEAT_WINDOW_S = 10.0
"""Repetitions of a warning within it are one line."""
MAX_REPEATED = 256
"""Warnings whose repetitions are counted at one time."""
FLOOD_WINDOW_S = 1.0
MAX_LINES_PER_WINDOW = 100
"""Lines of one event and level; the rest of a flood is counted."""
MAX_FLOODS = 1_024
"""Events and levels that are counted at one time."""
SUPPRESSED = "lines_suppressed"
LIBRARY = "library_line"
"""The event of a line that a library has written; the logger's name says which."""

type WarningKey = tuple[object, ...]
type FloodKey = tuple[str, int]


EXPECTED = (Unavailable, ConnectionError, TimeoutError, CannotConnectNowError, PostgresConnectionError)
"""Failures of a dependency, for which a stack trace of this process is no help."""
DECISION = "is_decision"
"""Marks the record of a business decision."""


def message_of(record: logging.LogRecord) -> str:
    """The line's sentence, in which errors repeat no values."""
    if isinstance(record.args, tuple):
        record.args = tuple(ErrorText(one) if isinstance(one, BaseException) else one for one in record.args)
    return without_secrets(record.getMessage())


def event_of(record: logging.LogRecord) -> str:
    """The stable name of a line's kind."""
    return str(getattr(record, "event", "") or LIBRARY)


def _flood_of(record: logging.LogRecord) -> str:
    """What counts together; libraries are counted apart from each other."""
    return str(getattr(record, "event", "") or record.name)


@dataclass(slots=True)
class _Flood:
    """Lines of one event since ``began`` (monotonic seconds)."""

    began: float
    written: int = 0
    suppressed: int = 0


class SamplingHandler(logging.StreamHandler[TextIO]):
    """Writes MAX_LINES_PER_WINDOW lines of one event and level in FLOOD_WINDOW_S, and then how many there were more."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._floods: dict[FloodKey, _Flood] = {}

    def emit(self, record: logging.LogRecord) -> None:
        key, now = (_flood_of(record), record.levelno), self._clock()
        flood = self._floods.get(key)
        if flood is None or now - flood.began >= FLOOD_WINDOW_S:
            self._end_flood(key)
            flood = self._begin_flood(key, now)
        if flood.written < MAX_LINES_PER_WINDOW:
            flood.written += 1
            super().emit(record)
            return
        if not flood.suppressed:
            self._end_later(key, flood)
        flood.suppressed += 1

    def _begin_flood(self, key: FloodKey, now: float) -> _Flood:
        if len(self._floods) >= MAX_FLOODS:
            self._end_flood(next(iter(self._floods)))
        flood = self._floods[key] = _Flood(now)
        return flood

    def _end_later(self, key: FloodKey, flood: _Flood) -> None:
        """Without an event loop the number is written with the next line of this event, or at the end."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        loop.call_later(FLOOD_WINDOW_S, self._expire_flood, key, flood)

    def _expire_flood(self, key: FloodKey, flood: _Flood) -> None:
        self.acquire()
        try:
            if self._floods.get(key) is flood:
                self._end_flood(key)
        finally:
            self.release()

    def _end_flood(self, key: FloodKey) -> None:
        flood = self._floods.pop(key, None)
        if flood is None or not flood.suppressed:
            return
        event, level = key
        message = f"{flood.suppressed} more lines of {event} were not written"
        record = logging.LogRecord(__name__, level, __file__, 0, message, None, None)
        record.__dict__ |= {"event": SUPPRESSED, "suppressed_event": event, "suppressed": flood.suppressed}
        super().emit(record)

    def close(self) -> None:
        """Write the numbers counted so far."""
        self.acquire()
        try:
            for key in list(self._floods):
                self._end_flood(key)
        finally:
            self.release()
        super().close()


@dataclass(slots=True)
class _Window:
    """The repetitions of one warning since ``began`` (monotonic seconds); ``last`` is the newest, if there was one."""

    began: float
    count: int = 0
    last: logging.LogRecord | None = None


class CountingHandler(SamplingHandler):
    """Writes the first warning at once, and then one line per REPEAT_WINDOW_S with the number of repetitions.

    Two warnings are the same when they come from the same line of code with the same kind of error. Decisions and lines
    below WARNING are not repetitions of each other.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._windows: dict[WarningKey, _Window] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self._end_old_windows()
        if record.levelno < logging.WARNING or hasattr(record, DECISION):
            super().emit(record)
            return
        key = _warning_key(record)
        window = self._windows.get(key)
        if window is not None:
            window.count += 1
            window.last = _detached(record)
            return
        if len(self._windows) >= MAX_REPEATED:
            self._end(next(iter(self._windows)))
        self._begin(key)
        super().emit(record)

    def _begin(self, key: WarningKey) -> None:
        """Without an event loop a window ends with the next log line after it, or with the process."""
        window = self._windows[key] = _Window(self._clock())
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        loop.call_later(REPEAT_WINDOW_S, self._expire, key, window)

    def _expire(self, key: WarningKey, window: _Window) -> None:
        self.acquire()
        try:
            if self._windows.get(key) is window and self._end(key):
                self._begin(key)
        finally:
            self.release()

    def _end_old_windows(self) -> None:
        began_before = self._clock() - REPEAT_WINDOW_S
        for key in [key for key, window in self._windows.items() if window.began <= began_before]:
            if self._end(key):
                self._begin(key)

    def _end(self, key: WarningKey) -> int:
        """Write the last repetition with their number, and return the number."""
        window = self._windows.pop(key)
        if window.last is not None:
            window.last.created = time.time()
            window.last.repeated = window.count
            super().emit(window.last)
        return window.count

    def close(self) -> None:
        """Write the repetitions counted so far."""
        self.acquire()
        try:
            for key in list(self._windows):
                self._end(key)
        finally:
            self.release()
        super().close()


def _warning_key(record: logging.LogRecord) -> WarningKey:
    error = record.exc_info[1] if record.exc_info else None
    kind: object = "expected" if isinstance(error, EXPECTED) else _origin(error)
    return record.pathname, record.lineno, record.levelno, getattr(record, "task", None), kind


def _origin(error: BaseException | None) -> object:
    """The type of an unexpected error and the line that raised it."""
    trace = error.__traceback__ if error else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return type(error), trace and (trace.tb_frame.f_code.co_filename, trace.tb_lineno)


def _detached(record: logging.LogRecord) -> logging.LogRecord:
    """A copy with the current trace id and without the traceback, which would keep its frames alive."""
    kept = copy.copy(record)
    kept.msg, kept.args = message_of(record), ()
    kept.__dict__.setdefault("trace_id", telemetry.trace_id())
    if record.exc_info and record.exc_info[1] is not None:
        kept.error = described(record.exc_info[1])
    kept.exc_info = None
    return kept
