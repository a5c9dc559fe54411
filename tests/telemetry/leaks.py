"""Searches all that a shop has told about itself for what must not be there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from tests.telemetry.otlp import ReceivedSpan

BEFORE, AFTER = 200, 60
"""Characters of a line that are shown around what was found."""


def pattern(*values: str) -> re.Pattern[str]:
    """Matches each of the values, in upper or lower case."""
    return re.compile("|".join(map(re.escape, values)), re.IGNORECASE)


def leaks(
    wanted: re.Pattern[str], spans: Iterable[ReceivedSpan], logs: Mapping[str, str], metrics: Mapping[str, str]
) -> list[str]:
    """Where ``wanted`` is found: in any part of a span, in the lines of logs and of metrics, by component."""
    texts = [("span", repr(span)) for span in spans]
    texts += [(f"log of {name}", text) for name, text in logs.items()]
    texts += [(f"metrics of {name}", text) for name, text in metrics.items()]
    return [leak for where, text in texts for leak in _found_in(where, text, wanted)]


def _found_in(where: str, text: str, wanted: re.Pattern[str]) -> Iterator[str]:
    for line in text.splitlines():
        if match := wanted.search(line):
            yield f"{where}: ...{line[max(0, match.start() - BEFORE) : match.end() + AFTER]}..."
