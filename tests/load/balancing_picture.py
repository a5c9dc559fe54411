"""The simulation of balancing policies as an SVG picture: the 99th percentile by policy and number of instances."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.load.balancing_simulation import Result

PANEL_WIDTH_PX, PANEL_HEIGHT_PX = 300, 220
LEFT_PX, TOP_PX, GAP_PX = 60, 56, 28
COLOURS = {"round robin": "#b35c00", "random": "#8a94a6", "least requests": "#3566b8", "ours": "#0b6e4f"}
STYLE = "text{font:12px system-ui,sans-serif;fill:#1f2733}.title{font-weight:600}.small{font-size:11px;fill:#5a6475}"


def picture(results: Sequence[Result]) -> str:
    """One panel a scenario; lines over the number of instances."""
    decades = (
        math.floor(math.log10(min(one.p99_ms for one in results))),
        math.ceil(math.log10(max(one.p99_ms for one in results))),
    )
    panels = [list(group) for _, group in groupby(results, key=lambda one: one.scenario)]
    parts: list[str] = []
    for number, panel in enumerate(panels):
        parts += _panel(panel, LEFT_PX + number * (PANEL_WIDTH_PX + GAP_PX), decades)
    parts += _axis(decades)
    parts += _legend()
    width = LEFT_PX + len(panels) * (PANEL_WIDTH_PX + GAP_PX)
    height = TOP_PX + PANEL_HEIGHT_PX + 64
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="99th percentile of the latency by balancing policy">\n<style>{STYLE}</style>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _y(value: float, decades: tuple[int, int]) -> float:
    low, high = decades
    return TOP_PX + PANEL_HEIGHT_PX * (1.0 - (math.log10(value) - low) / (high - low))


def _panel(panel: Sequence[Result], left: float, decades: tuple[int, int]) -> Iterator[str]:
    sizes = sorted({one.size for one in panel})
    step = PANEL_WIDTH_PX / (len(sizes) - 1)
    yield f'<text class="title" x="{left}" y="{TOP_PX - 14}">{escape(panel[0].scenario)}</text>'
    for decade in range(decades[0], decades[1] + 1):
        yield f'<path d="M{left} {_y(10.0**decade, decades):.1f}h{PANEL_WIDTH_PX}" stroke="#dde2ea"/>'
    for number, size in enumerate(sizes):
        anchor = "start" if number == 0 else "end" if number == len(sizes) - 1 else "middle"
        x, y = left + number * step, TOP_PX + PANEL_HEIGHT_PX + 16
        yield f'<text class="small" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{size}</text>'
    for policy, colour in COLOURS.items():
        points = [(one.size, one.p99_ms) for one in panel if one.policy == policy]
        path = " ".join(f"{left + sizes.index(size) * step:.1f},{_y(p99, decades):.1f}" for size, p99 in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _axis(decades: tuple[int, int]) -> Iterable[str]:
    for decade in range(decades[0], decades[1] + 1):
        y = _y(10.0**decade, decades)
        yield f'<text class="small" x="{LEFT_PX - 6}" y="{y + 4:.1f}" text-anchor="end">{10**decade:,} ms</text>'


def _legend() -> Iterable[str]:
    y = TOP_PX + PANEL_HEIGHT_PX + 44
    for number, (policy, colour) in enumerate(COLOURS.items()):
        x = LEFT_PX + number * 150
        yield f'<path d="M{x} {y - 4}h22" stroke="{colour}" stroke-width="3"/>'
        yield f'<text x="{x + 28}" y="{y}">{policy}</text>'
    yield f'<text class="small" x="{LEFT_PX + 4 * 150}" y="{y}">99th percentile by number of instances</text>'
