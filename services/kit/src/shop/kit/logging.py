"""Logs as one JSON object per line on stdout, each with the trace id of the request it belongs to.

What a service decides is one line at INFO with the name of the decision in ``event``. Warnings that repeat are
counted, so that a store that is away does not fill a disk.
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
"""Failures of something else, which a stack trace of this process does not explain."""
REPEAT_WINDOW_S = 10.0
"""Repetitions within it are one line."""
MAX_REPEATED = 256
"""Places whose repetitions are counted at one time."""

type Place = tuple[object, ...]


def decision(
    log: logging.Logger,
    event: str,
    message: str,
    *args: object,
    level: int = logging.INFO,
    trace_id: str = "",
    **fields: Any,
) -> None:
    """One line about something decided: ``event`` names the kind, ``fields`` what it is about.

    ``trace_id``: the trace that the decision belongs to, where it is not the present one (work done in batches).
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
    """Writes the first warning of a place at once, and then one line per REPEAT_WINDOW_S with how many there were.

    Two warnings are the same when they come from the same line of code with the same kind of error. Decisions (which
    have an ``event``) and lines below WARNING are all written.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._windows: dict[Place, _Window] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self._end_old_windows()
        if record.levelno < logging.WARNING or hasattr(record, "event"):
            super().emit(record)
            return
        place = _place(record)
        window = self._windows.get(place)
        if window is not None:
            window.count += 1
            window.last = _to_be_counted(record)
            return
        if len(self._windows) >= MAX_REPEATED:
            self._end(next(iter(self._windows)))
        self._begin(place)
        super().emit(record)

    def _begin(self, place: Place) -> None:
        """Without an event loop a window ends with the next line after it, or with the process."""
        window = self._windows[place] = _Window(self._clock())
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        loop.call_later(REPEAT_WINDOW_S, self._expire, place, window)

    def _expire(self, place: Place, window: _Window) -> None:
        self.acquire()
        try:
            if self._windows.get(place) is window and self._end(place):
                self._begin(place)
        finally:
            self.release()

    def _end_old_windows(self) -> None:
        began_before = self._clock() - REPEAT_WINDOW_S
        for place in [place for place, window in self._windows.items() if window.began <= began_before]:
            if self._end(place):
                self._begin(place)

    def _end(self, place: Place) -> int:
        """Write what was counted, and return how many that were."""
        window = self._windows.pop(place)
        if window.last is not None:
            window.last.created = time.time()
            window.last.repeated = window.count
            super().emit(window.last)
        return window.count

    def close(self) -> None:
        """Write what is still counted."""
        self.acquire()
        try:
            for place in list(self._windows):
                self._end(place)
        finally:
            self.release()
        super().close()


def _place(record: logging.LogRecord) -> Place:
    error = record.exc_info[1] if record.exc_info else None
    kind: object = "expected" if isinstance(error, EXPECTED) else _origin(error)
    return record.pathname, record.lineno, record.levelno, getattr(record, "task", None), kind


def _origin(error: BaseException | None) -> object:
    """The type of an unforeseen error and the line that raised it."""
    trace = error.__traceback__ if error else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return type(error), trace and (trace.tb_frame.f_code.co_filename, trace.tb_lineno)


def _to_be_counted(record: logging.LogRecord) -> logging.LogRecord:
    """A copy with the present trace id and without what must not be kept: a traceback holds its frames."""
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
