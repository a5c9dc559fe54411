"""Print the logs of the shop on this machine: chosen lines of all components, in chronological order."""

import json
import os
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shop.kit.telemetry import NO_TRACE
from shop.operator import console
from shop.operator.errors import ShopctlError
from shop.operator.local import log_files, running_shop
from shop.operator.local.data_dir import DataDir
from shop.operator.local.log_parser import LEVELS, SHOWN_ELSEWHERE, Entry, LogFilter, Parser

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
MAX_SINCE_S = 10 * 365 * 86_400
COLOURS = {"warning": "33", "error": "31", "critical": "1;31", "debug": "2"}
TRACE = re.compile(r"^[0-9a-f]{32}$")
EARLIEST = datetime.min.replace(tzinfo=UTC)
MAX_LINES = 10_000_000
"""More than two rotated logs can have."""


def log_filter(since: str | None, level: str | None, trace_id: str | None) -> LogFilter:
    """The filter of the options; raises `ShopctlError` that names a wrong one."""
    if level is not None and level.lower() not in LEVELS:
        raise ShopctlError(f"--level {level}: one of {', '.join(LEVELS)}")
    if trace_id is not None and not TRACE.match(trace_id.lower()):
        raise ShopctlError(f"--trace {trace_id}: the trace id of an order's page, 32 hexadecimal digits")
    after = None if since is None else datetime.now(UTC) - _duration(since)
    return LogFilter(after, level.lower() if level else LEVELS[0], trace_id.lower() if trace_id else "")


def _duration(since: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,9})([smhd])", since)
    seconds = int(match[1]) * UNITS_S[match[2]] if match else 0
    if not 0 < seconds <= MAX_SINCE_S:
        raise ShopctlError(f"--since {since}: a number and s, m, h or d, for example 10m")
    return timedelta(seconds=seconds)


def show(data: DataDir, component: str | None, chosen: LogFilter, lines: int, *, as_json: bool, follow: bool) -> None:
    """Print the last ``lines`` lines of each log that are wanted, then, to ``follow``, what is added."""
    paths = running_shop.log_files(data, component)
    write = _Writer(as_json, named=len(paths) > 1)
    parsers = {path: Parser(path.parent.name if path.name == "server.log" else path.stem) for path in paths}
    new = log_files.follow(paths) if follow else None
    found = [entry for path in paths for entry in _last(path, parsers[path], chosen, lines)]
    write.all(sorted(found, key=lambda entry: entry.time or EARLIEST))
    for path, line in new or ():
        entry = parsers[path].entry(line)
        if chosen.matches(entry):
            write.one(entry)


def _last(path: Path, parser: Parser, chosen: LogFilter, lines: int) -> list[Entry]:
    """With a choice the rotated log counts, too (each has a limited size); without one only the log's end is read."""
    if lines == 0:
        return []
    if chosen.is_all:
        return list(parser.entries(log_files.last_lines(path, lines)))
    rotated = path.with_name(path.name + ".1")
    files = [file for file in (rotated, path) if file.exists()]
    entries = [entry for file in files for entry in parser.entries(file.read_text(errors="replace").splitlines())]
    return [entry for entry in entries if chosen.matches(entry)][-lines:]


class _Writer:
    """``named``: each line says which component wrote it. Colours on a terminal, unless NO_COLOR is set."""

    def __init__(self, as_json: bool, *, named: bool) -> None:
        self._as_json = as_json
        self._named = named
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def all(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.one(entry)

    def one(self, entry: Entry) -> None:
        if self._as_json:
            console.write(json.dumps(entry.dump(), ensure_ascii=False))
            return
        text = "\n".join(_text(entry, named=self._named))
        colour = COLOURS.get(entry.level) if self._colours else None
        console.write(f"\x1b[{colour}m{text}\x1b[0m" if colour else text)


def _text(entry: Entry, *, named: bool) -> list[str]:
    head = f"{entry.component:13} " if named else ""
    if not entry.fields:
        return [head + entry.text]
    when = entry.time.astimezone().strftime("%H:%M:%S.%f")[:-3] if entry.time else ""
    trace = {} if entry.trace_id in ("", NO_TRACE.trace_id) else {"trace_id": entry.trace_id}
    extra = {name: value for name, value in entry.fields.items() if name not in SHOWN_ELSEWHERE and value is not None}
    pairs = "".join(f" {name}={value}" for name, value in (extra | trace).items())
    exception = str(entry.fields.get("exception", "")).splitlines()
    return [f"{head}{when} {entry.level.upper():8} {entry.text}{pairs}", *exception]
