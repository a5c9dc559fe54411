"""The waterfall of one trace: its spans as a tree, each with its place on the time axis. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from shop.ops.model import Span, Value

SCALE = 1_000
"""Width of the time axis in units of the drawing."""
LEAST_WIDTH = 2.0
TICKS = 4
NANOSECONDS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Row:
    """One span. ``left`` and ``width`` are units of SCALE; ``after_ms`` is its begin after that of the trace."""

    span: Span
    depth: int
    left: float
    width: float
    after_ms: float

    @property
    def details(self) -> Mapping[str, Value]:
        return dict(sorted(self.span.attributes.items()))


@dataclass(frozen=True, slots=True)
class Waterfall:
    """``ticks`` are the labels of the axis in milliseconds."""

    rows: Sequence[Row]
    began_ns: int
    duration_ms: float
    ticks: Sequence[float]

    @property
    def services(self) -> list[str]:
        """In the order of their first span."""
        return list(dict.fromkeys(row.span.service for row in self.rows))

    @property
    def errors(self) -> int:
        return sum(bool(row.span.error) for row in self.rows)

    @property
    def linked(self) -> list[str]:
        """Traces that spans of this one are linked to: batches and their parts."""
        own = self.rows[0].span.trace_id if self.rows else ""
        return [one for one in dict.fromkeys(link for row in self.rows for link in row.span.links) if one != own]


def waterfall(spans: Sequence[Span]) -> Waterfall:
    """Parents before children, earlier before later. A span whose parent is not known stands at the left."""
    if not spans:
        return Waterfall((), 0, 0.0, ())
    began = min(span.began_ns for span in spans)
    length = max(max(span.ended_ns for span in spans) - began, 1)
    rows = [_row(span, depth, began, length) for span, depth in _in_order(spans)]
    duration_ms = length / NANOSECONDS_PER_MS
    return Waterfall(rows, began, duration_ms, [duration_ms * tick / TICKS for tick in range(TICKS + 1)])


def _row(span: Span, depth: int, began: int, length: int) -> Row:
    left = SCALE * (span.began_ns - began) / length
    width = max(SCALE * (span.ended_ns - span.began_ns) / length, LEAST_WIDTH)
    left = min(left, SCALE - LEAST_WIDTH)
    after_ms = (span.began_ns - began) / NANOSECONDS_PER_MS
    return Row(span, depth, round(left, 2), round(min(width, SCALE - left), 2), after_ms)


def _in_order(spans: Sequence[Span]) -> Iterator[tuple[Span, int]]:
    """Each span once with its depth, also where what was sent has a circle of parents."""
    known = {span.span_id for span in spans}
    children: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: (span.began_ns, -span.ended_ns)):
        children[span.parent_id if span.parent_id in known else ""].append(span)
    waiting = [(span, 0) for span in reversed(children.pop("", []))]
    while waiting or children:
        if not waiting:
            waiting = [(span, 0) for span in reversed(children.pop(next(iter(children))))]
        span, depth = waiting.pop()
        yield span, depth
        waiting += [(child, depth + 1) for child in reversed(children.pop(span.span_id, []))]
