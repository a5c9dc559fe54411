"""A comparison of two revisions as an SVG picture: each figure's ratio with its spread, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from tests.load import compare_summary
from tests.load.revisions import BASE, HEAD

TITLE_WIDTH_PX, TEXT_WIDTH_PX, SCALE_WIDTH_PX = 300, 180, 380
ROW_PX, TOP_PX, BOTTOM_PX, MARGIN_PX = 22, 74, 40, 16
MAX_ROWS = 80
LEAST_RATIO, GREATEST_RATIO = 1 / 64, 64.0
COLOUR, SPREAD_COLOUR = "#0b6e4f", "#8fc3b0"
STYLE = "text{font:12px system-ui,sans-serif;fill:#1f2733}.title{font-weight:600}.small{font-size:11px;fill:#5a6475}"
Json = dict[str, Any]


def picture(found: Json) -> str:
    """One row a figure: its name, the medians of base and head, and head / base as a point in its spread."""
    rows = [(title, one) for title, one in compare_summary.shown(found) if "ratio" in one][:MAX_ROWS]
    doublings = _doublings([one["ratio"] for _, one in rows])
    left = MARGIN_PX + TITLE_WIDTH_PX + 2 * TEXT_WIDTH_PX
    width, height = left + SCALE_WIDTH_PX + 2 * MARGIN_PX, TOP_PX + len(rows) * ROW_PX + BOTTOM_PX
    parts = [*_head(found), *_scale(doublings, left, TOP_PX + len(rows) * ROW_PX)]
    for number, (title, one) in enumerate(rows):
        parts += _row(title, one, TOP_PX + number * ROW_PX, left, doublings)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="Ratios of two revisions">\n<style>{STYLE}</style>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _doublings(ratios: Sequence[Json]) -> int:
    """How many times a ratio of the picture is doubled or halved at most; the scale goes that far to both sides."""
    values = [value for ratio in ratios for value in ratio.values() if value > 0]
    return max(1, math.ceil(max((abs(math.log2(_clipped(value))) for value in values), default=1.0)))


def _clipped(value: float) -> float:
    return min(max(value, LEAST_RATIO), GREATEST_RATIO)


def _x(value: float, left: float, doublings: int) -> float:
    return left + SCALE_WIDTH_PX * (0.5 + math.log2(_clipped(value)) / (2 * doublings))


def _head(found: Json) -> Iterator[str]:
    commits, runs = found["commits"], found["runs"]
    fast = compare_summary.speed_of(runs, "additions_s")
    yield (
        f'<text class="title" x="{MARGIN_PX}" y="22">head {escape(commits[HEAD])} against base '
        f"{escape(commits[BASE])}, {len(runs)} runs</text>"
    )
    yield (
        f'<text class="small" x="{MARGIN_PX}" y="40">median and spread; 20 million additions took {escape(fast)} s, '
        f"{escape(compare_summary.speed_of(runs, 'syncs_per_s'))} disk syncs/s</text>"
    )
    for number, name in enumerate(("base", "head")):
        x = MARGIN_PX + TITLE_WIDTH_PX + (number + 1) * TEXT_WIDTH_PX - 12
        yield f'<text class="title" x="{x}" y="{TOP_PX - 12}" text-anchor="end">{name}</text>'


def _scale(doublings: int, left: float, bottom: float) -> Iterator[str]:
    for power in range(-doublings, doublings + 1):
        x = _x(2.0**power, left, doublings)
        colour = "#5a6475" if power == 0 else "#dde2ea"
        yield f'<path d="M{x:.1f} {TOP_PX - 6}V{bottom}" stroke="{colour}"/>'
        label = f"{2**power}" if power >= 0 else f"1/{2**-power}"
        yield f'<text class="small" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{label}</text>'


def _row(title: str, one: Json, top: float, left: float, doublings: int) -> Iterator[str]:
    ratio, middle = one["ratio"], top + ROW_PX / 2
    yield f'<text x="{MARGIN_PX}" y="{middle + 4}">{escape(title)}</text>'
    for number, name in enumerate((BASE, HEAD)):
        x = MARGIN_PX + TITLE_WIDTH_PX + (number + 1) * TEXT_WIDTH_PX - 12
        text = escape(compare_summary.text(one.get(name)))
        yield f'<text class="small" x="{x}" y="{middle + 4}" text-anchor="end">{text}</text>'
    least, median, greatest = (_x(ratio[name], left, doublings) for name in ("least", "median", "greatest"))
    yield f'<path d="M{least:.1f} {middle}H{greatest:.1f}" stroke="{SPREAD_COLOUR}" stroke-width="6"/>'
    yield f'<circle cx="{median:.1f}" cy="{middle}" r="4" fill="{COLOUR}"><title>{ratio["median"]:.3f}</title></circle>'
