"""Logs as one JSON object per line on stdout, each with the trace id of the request it belongs to.

A business decision is one line at INFO with its name in ``event``. Repeated warnings are counted, so that an outage of
a data store does not fill a disk.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
from asyncpg import CannotConnectNowError, PostgresConnectionError

from shop.kit import telemetry
from shop.kit.errors import Unavailable

STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
EXPECTED = (Unavailable, ConnectionError, TimeoutError, CannotConnectNowError, PostgresConnectionError)
"""Failures of a dependency, for which a stack trace of this process is no help."""
REPEAT_WINDOW_S = 10.0
"""Repetitions within it are one line."""
MAX_REPEATED = 256
"""Warnings whose repetitions are counted at one time."""

type WarningKey = tuple[object, ...]


def decision(
    log: logging.Logger,
    event: str,
    message: str,
    *args: object,
    level: int = logging.INFO,
    trace_id: str = "",
    **fields: Any,
) -> None:
    """Log a decision: ``event`` is its kind, ``fields`` its subject.

    ``trace_id``: the trace of the decision where it is not the current one (batched work).
    """
    extra = {"event": event, **fields} | ({"trace_id": trace_id} if trace_id else {})
    log.log(level, message, *args, extra=extra, stacklevel=2)


class JsonFormatter(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            "trace_id": telemetry.trace_id(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in STANDARD}
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, EXPECTED):
            line["error"] = f"{type(error).__name__}: {error}"
        elif record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


@dataclass(slots=True)
class _Window:
    """The repetitions of one warning since ``began`` (monotonic seconds); ``last`` is the newest, if there was one."""

    began: float
    count: int = 0
    last: logging.LogRecord | None = None


class CountingHandler(logging.StreamHandler[TextIO]):
    """Writes the first warning at once, and then one line per REPEAT_WINDOW_S with the number of repetitions.

    Two warnings are the same when they come from the same line of code with the same kind of error. Decisions (which
    have an ``event``) and lines below WARNING are all written.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._windows: dict[WarningKey, _Window] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self._end_old_windows()
        if record.levelno < logging.WARNING or hasattr(record, "event"):
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
    kept.msg, kept.args = record.getMessage(), ()
    kept.__dict__.setdefault("trace_id", telemetry.trace_id())
    if record.exc_info and record.exc_info[1] is not None:
        kept.error = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
    kept.exc_info = None
    return kept


def configure(service: str, level: str, *, count_repeats: bool = False) -> None:
    """Send every logger's records, the web server's and libraries' included, to stdout as JSON."""
    handler = CountingHandler(sys.stdout) if count_repeats else logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    for noisy in ("httpx", "httpcore", "nats", "nats.aio.client", "yoyo"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
