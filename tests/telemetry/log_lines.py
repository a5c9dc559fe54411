"""Lines of services' logs, compared with what the matrix lists."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from observability import signals

SIGNALS = signals.load()
ALWAYS = {"time", "level", "service", "logger", "event", "message", "trace_id"}
SHOWN_CHARACTERS = 500
Line = dict[str, Any]


def parsed(text: str) -> list[Line]:
    return [json.loads(line) for line in text.splitlines()]


def strange(name: str, text: str) -> Iterator[str]:
    """Lines of the component without the fields of every line, or with an event that its service does not have."""
    noun = name.rpartition("-")[0]
    known = {(one.event, level) for one in SIGNALS.logs if noun in one.services for level in one.levels}
    for line in text.splitlines():
        if not _is_known(line, known):
            yield f"{name}: {line[:SHOWN_CHARACTERS]}"


def _is_known(text: str, known: Collection[tuple[str, str]]) -> bool:
    try:
        line = json.loads(text)
    except ValueError:
        return False
    return line.keys() >= ALWAYS and (line["event"], line["level"]) in known
