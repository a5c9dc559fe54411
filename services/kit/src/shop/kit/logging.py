"""Logs as one JSON object per line on stdout, each with a stable ``event``, the trace id, and the order it is about.

A business decision is one line at INFO. What must not be in a log is kept out by `shop.kit.redaction`, and floods are
sampled by `shop.kit.log_limits`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from shop.kit import log_level, telemetry
from shop.kit.log_limits import DECISION, EXPECTED, CountingHandler, event_of, message_of
from shop.kit.redaction import clean, described, stack_of

STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message", DECISION}
SUBJECTS = ("order_id",)
"""Ids by which the lines of several services are found together."""
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
NOISY = ("httpx", "httpcore", "nats", "nats.aio.client", "yoyo", "opentelemetry", "urllib3", "uvicorn")
"""Libraries that log each call, or what `shop.kit.serve` logs, below WARNING."""

log = logging.getLogger(__name__)
_bound: ContextVar[Mapping[str, Any]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed in place
_request: ContextVar[Mapping[str, Any]] = ContextVar("request_scope", default={})  # noqa: B039


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
    if log.isEnabledFor(level):
        extra = {"event": event, DECISION: True, **fields} | ({"trace_id": trace_id} if trace_id else {})
        # Without the place in the code, which no line has: to find it takes a third of the time of a line.
        log.handle(log.makeRecord(log.name, level, "", 0, message, args, None, extra=extra))


def bind(**fields: Any) -> None:
    """Add ``fields`` to each further line of this context: a request, an attempt at a saga, a consumed batch."""
    _bound.set({**_bound.get(), **fields})


def bind_subjects(about: object) -> None:
    """Bind those of SUBJECTS that ``about`` has, and forget the others."""
    found = {name: value for name in SUBJECTS if (value := getattr(about, name, None)) is not None}
    _bound.set({**{name: value for name, value in _bound.get().items() if name not in SUBJECTS}, **found})


def in_request(scope: Mapping[str, Any]) -> None:
    """Lines of this context belong to the request of the ASGI ``scope``, whose path may name a subject."""
    _request.set(scope)


def subjects() -> dict[str, Any]:
    """The fields of the current context. Of a path only an id that is one is taken: a client may write anything."""
    path = _request.get().get("path_params") or {}
    found = {name: path[name] for name in SUBJECTS if name in path and _is_id(path[name])}
    return {**found, **_bound.get()}


def _is_id(value: object) -> bool:
    try:
        return str(UUID(str(value))) == str(value).lower()
    except ValueError:
        return False


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
            "event": event_of(record),
            "message": message_of(record),
            "trace_id": telemetry.trace_id(),
            **subjects(),
        }
        line |= {name: clean(name, value) for name, value in record.__dict__.items() if name not in STANDARD}
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, EXPECTED):
            line["error"] = clean("error", described(error))
        elif error is not None:
            line["exception"] = clean("exception", stack_of(error))
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(service: str, level: str, *, count_repeats: bool = False) -> None:
    """Send every logger's records, the web server's and libraries' included, to stdout as JSON."""
    handler = CountingHandler(sys.stdout) if count_repeats else logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers = [handler]
    # What no line has need not be looked up for each: a system call and three searches.
    for lookup in ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
        setattr(logging, lookup, False)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    set_level(logging.getLevelNamesMapping()[level])


def set_level(level: int) -> None:
    """Write lines of this level and above, from now on."""
    logging.getLogger().setLevel(level)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, level))


def choose_level(level: int) -> None:
    """Write lines of this level and above, and log that, whichever level it is."""
    set_level(min(level, logging.WARNING))
    name = logging.getLevelName(level)
    decision(log, "log_level_changed", "the log level is %s", name, level=logging.WARNING, log_level=name.lower())
    set_level(level)


def change_level(steps: int) -> None:
    """Write more (a positive number of steps) or fewer levels than now, and log which."""
    current = logging.getLogger().level
    position = LEVELS.index(current) if current in LEVELS else LEVELS.index(logging.INFO)
    choose_level(LEVELS[min(max(position - steps, 0), len(LEVELS) - 1)])


def obey_signals(loop: asyncio.AbstractEventLoop) -> None:
    """A signal of `shop.kit.log_level` chooses a level; SIGUSR1 is one level more, SIGUSR2 one less."""
    loop.add_signal_handler(signal.SIGUSR1, change_level, 1)
    loop.add_signal_handler(signal.SIGUSR2, change_level, -1)
    for level, number in log_level.SIGNALS.items():
        loop.add_signal_handler(number, choose_level, logging.getLevelNamesMapping()[level.upper()])


def ignore_signals() -> None:
    """Until `obey_signals`: what they do by default is to end the process."""
    for number in (signal.SIGUSR1, signal.SIGUSR2, *log_level.SIGNALS.values()):
        signal.signal(number, signal.SIG_IGN)
