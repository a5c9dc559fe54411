"""A logger for tests of what is written: its lines are read back, and its handler has a clock that a test sets."""

from __future__ import annotations

import io
import logging
from typing import Any

import orjson

from shop.kit.log_limits import CountingHandler
from shop.kit.logging import JsonFormatter


class RecordedLog:
    """Lines of every level, written by a service's handler."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stream = io.StringIO()
        self.handler = CountingHandler(self.stream, clock=lambda: self.now)
        self.handler.setFormatter(JsonFormatter("test"))
        self.logger = logging.getLogger(f"test.{id(self)}")
        self.logger.propagate = False
        self.logger.setLevel(logging.DEBUG)
        self.logger.addHandler(self.handler)

    def fail(self, error: Exception, **extra: Any) -> None:
        """Log an exception that was raised here."""
        try:
            raise error
        except Exception:
            self.logger.exception("it failed", extra=extra)

    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.stream.getvalue().splitlines()]
