"""One line of any component's log: its time, level, component and trace."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")
SHOWN_ELSEWHERE = frozenset({"time", "level", "service", "logger", "message", "trace_id", "exception"})

STORES = (
    (
        re.compile(
            r"^(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) (?P<zone>\S+) \[\d+\] (?:\S* )?(?P<level>[A-Z0-9]+):"
        ),
        "%Y-%m-%d %H:%M:%S.%f",
    ),
    (
        re.compile(r"^\[\d+\] (?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d+)(?P<zone>) \[(?P<level>[A-Z]{3})\]"),
        "%Y/%m/%d %H:%M:%S.%f",
    ),
    (
        re.compile(r"^\d+:\w (?P<time>\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3})(?P<zone>) (?P<level>[.\-*#])"),
        "%d %b %Y %H:%M:%S.%f",
    ),
    (
        re.compile(r"^(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4})(?P<zone>)(?P<level>) "),
        "%Y-%m-%dT%H:%M:%S%z",
    ),
    (
        re.compile(
            r"^ts=(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})(?P<zone>Z) caller=\S+ level=(?P<level>[a-z]+)"
        ),
        "%Y-%m-%dT%H:%M:%S.%f",
    ),
)
"""How lines of the servers and of the supervisor begin; times without a zone are this machine's."""
STORE_LEVELS = {
    "WARNING": "warning",
    "ERROR": "error",
    "FATAL": "critical",
    "PANIC": "critical",
    "debug": "debug",
    "warn": "warning",
    "error": "error",
    "DBG": "debug",
    "TRC": "debug",
    "WRN": "warning",
    "ERR": "error",
    "FTL": "critical",
    ".": "debug",
    "-": "debug",
    "#": "warning",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """``fields`` are those of a service's JSON line; a line of a store or of the supervisor has its text alone."""

    component: str
    text: str
    time: datetime | None = None
    level: str = "info"
    trace_id: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        """As `logs --json` prints it: the same names for every component."""
        common = {
            "time": self.time.isoformat(timespec="milliseconds") if self.time else None,
            "level": self.level,
            "component": self.component,
            "message": self.text,
        }
        return {**common, **self.fields}


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which entries to show. An entry without a time (before the first line that has one) is never too old."""

    since: datetime | None = None
    level: str = "debug"
    trace_id: str = ""

    @property
    def is_all(self) -> bool:
        return self == LogFilter()

    def matches(self, entry: Entry) -> bool:
        recent = self.since is None or entry.time is None or entry.time >= self.since
        serious = LEVELS.index(entry.level) >= LEVELS.index(self.level)
        return recent and serious and (not self.trace_id or self.trace_id == entry.trace_id)


class Parser:
    """Entries of one component's lines; a line without time and level belongs to the one before it."""

    def __init__(self, component: str) -> None:
        self._component = component
        self._last = Entry(component, "")

    def entry(self, line: str) -> Entry:
        entry = self._service(line) or self._store(line)
        if entry is None:
            last = self._last
            return Entry(self._component, line, last.time, last.level, last.trace_id)
        self._last = entry
        return entry

    def entries(self, lines: Iterable[str]) -> Iterator[Entry]:
        return map(self.entry, lines)

    def _service(self, line: str) -> Entry | None:
        if not line.startswith("{"):
            return None
        try:
            fields = json.loads(line)
            time = datetime.fromisoformat(fields["time"])
            level, text = str(fields["level"]), str(fields["message"])
        except (ValueError, KeyError, TypeError):
            return None
        known = level if level in LEVELS else "info"
        return Entry(self._component, text, time, known, str(fields.get("trace_id", "")), fields)

    def _store(self, line: str) -> Entry | None:
        for pattern, form in STORES:
            if match := pattern.match(line):
                written = datetime.strptime(match["time"], form)  # noqa: DTZ007 - made aware below
                written = written.replace(tzinfo=UTC) if match["zone"] in ("UTC", "GMT", "Z") else written.astimezone()
                return Entry(self._component, line, written, STORE_LEVELS.get(match["level"], "info"))
        return None
