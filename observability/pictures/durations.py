"""Durations as Prometheus and Grafana write them: 30s, 1h30m, 500ms."""

from __future__ import annotations

import re

IN_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}
PART = re.compile(r"(\d+)(ms|[smhdwy])")


def seconds(text: str) -> float:
    """Of a duration; ValueError for what is none."""
    parts = PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 30s or 1h30m")
    return sum(int(number) * IN_SECONDS[unit] for number, unit in parts)


def written(duration_s: float) -> str:
    """The shortest form that Prometheus reads: 90 s is 1m30s. Anything below a millisecond is lost."""
    left = round(duration_s * 1_000)
    found = []
    for unit in ("d", "h", "m", "s", "ms"):
        size = round(IN_SECONDS[unit] * 1_000)
        count, left = divmod(left, size)
        if count:
            found.append(f"{count}{unit}")
    return "".join(found) or "0s"
