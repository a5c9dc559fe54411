"""Log lines of the shop on this machine, read from the files that its supervisor keeps. Nothing of it in a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

LEVELS = ("debug", "info", "warning", "error", "critical")
MAX_READ_BYTES = 2 << 20
"""Of the end of each file; the supervisor rotates a file at 10 MB."""
MAX_LINE_CHARACTERS = 4_000
IN_FRONT = frozenset({"time", "level", "service", "logger", "event", "message", "trace_id"})
SHOWN_EXTRA_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one instance; ``time`` is ISO 8601, empty for a line that is no JSON."""

    instance: str
    time: str
    level: str
    event: str
    message: str
    trace_id: str
    extra: str
    raw: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: at least this level, with this text, of this trace; what is empty does not matter."""

    level: str = ""
    text: str = ""
    trace_id: str = ""
    limit: int = 200


class LogFolder:
    """The log files of a local shop: ``<noun>-<number>.log``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def instances(self, nouns: Sequence[str] = ()) -> list[str]:
        """The instances that have a log; of these services, or all."""
        names = sorted(path.stem for path in self._folder.glob("*-[0-9]*.log"))
        return [name for name in names if not nouns or name.rpartition("-")[0] in nouns]

    def lines(self, instances: Sequence[str], wanted: Wanted) -> list[Line]:
        """The newest lines that are wanted, in chronological order. It reads files: call it in a thread."""
        found = [line for instance in instances for line in self._of(instance, wanted)]
        return sorted(found, key=lambda line: line.time)[-wanted.limit :]

    def _of(self, instance: str, wanted: Wanted) -> list[Line]:
        path = self._folder / f"{instance}.log"
        found: list[Line] = []
        for raw in _backwards(path):
            if wanted.trace_id and wanted.trace_id.encode() not in raw:
                continue
            line = parse(instance, raw)
            if _fits(line, wanted):
                found.append(line)
                if len(found) >= wanted.limit:
                    break
        return found


def parse(instance: str, raw: bytes) -> Line:
    """A line of JSON, or the text of a library or of a crash."""
    text = raw.decode(errors="replace")[:MAX_LINE_CHARACTERS]
    try:
        document: dict[str, Any] = orjson.loads(raw)
        named = {name: str(document.get(name, "")) for name in ("time", "level", "event", "message", "trace_id")}
    except (ValueError, AttributeError):
        return Line(instance, "", "", "", text, "", "", text)
    extra = {name: value for name, value in document.items() if name not in IN_FRONT and value is not None}
    shown = " ".join(f"{name}={value}" for name, value in extra.items())[:SHOWN_EXTRA_CHARACTERS]
    return Line(instance, extra=shown, raw=text, **named)


def _fits(line: Line, wanted: Wanted) -> bool:
    if wanted.level and (line.level not in LEVELS or LEVELS.index(line.level) < LEVELS.index(wanted.level)):
        return False
    if wanted.trace_id and line.trace_id != wanted.trace_id:
        return False
    return not wanted.text or wanted.text.lower() in line.raw.lower()


def _backwards(path: Path) -> Iterator[bytes]:
    """The lines at the end of a file, the last one first; none of a file that is not there."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - MAX_READ_BYTES))
            content = file.read(MAX_READ_BYTES)
    except OSError:
        return
    lines = content.split(b"\n")
    yield from (line for line in reversed(lines if size <= MAX_READ_BYTES else lines[1:]) if line)
