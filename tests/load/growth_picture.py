"""How cost grows, as SVG pictures: lines over a logarithmic scale of sizes, with what limits at either end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

WIDTH_PX, HEIGHT_PX, LEFT_PX, TOP_PX, LINE_PX = 560, 260, 70, 56, 18
COLOURS = ("#0b6e4f", "#3566b8", "#b35c00", "#7a3e9d", "#b3a000", "#8a94a6", "#b3261e")
STYLE = "text{font:12px system-ui,sans-serif;fill:#1f2733}.title{font-weight:600}.small{font-size:11px;fill:#5a6475}"
Json = dict[str, Any]


class Panel(NamedTuple):
    """``lines`` are names with paths into a result; ``notes`` say what limits at the small and at the large end."""

    title: str
    size: str
    unit: str
    lines: Sequence[tuple[str, tuple[str, ...]]]
    notes: tuple[str, str]


PANELS = {
    "orders": Panel(
        "Milliseconds by stored orders",
        "orders",
        "ms",
        (
            ("new order at 20/s, p50", ("new_order", "p50_ms")),
            ("new order at 20/s, p99", ("new_order", "p99_ms")),
            ("new order, in PostgreSQL", ("new_order", "sql_ms")),
            ("a customer's orders, p50", ("orders_of_a_customer", "p50_ms")),
            ("pending orders of all, p50", ("pending_orders", "p50_ms")),
            ("removing 1,000 histories", ("removal_of_1000_ms",)),
            ("comparing all stock, in the background", ("stock_comparison_ms",)),
        ),
        (
            "few orders: Python's time for a request; next: more processes and cores",
            "many orders: the disk and what reads whole tables; next: reservations by month as partitions",
        ),
    ),
    "products": Panel(
        "Milliseconds by products, through the gateway",
        "products",
        "ms",
        (
            ("search for a word, p50", ("search", "p50_ms")),
            ("search for a word, p99", ("search", "p99_ms")),
            ("search for three letters, p50", ("search_by_prefix", "p50_ms")),
            ("one product, p50", ("product", "p50_ms")),
            ("newest products, p50", ("newest_products", "p50_ms")),
            ("new order at 20/s, p50", ("new_order", "p50_ms")),
        ),
        (
            "few products: Python's time for a request; next: more processes and cores",
            "many products: looking at many until a page is full; next: an index for each order, or a search engine",
        ),
    ),
    "cores": Panel(
        "Orders a second sustained, by cores",
        "cores",
        "/s",
        (("everything and the load generator", ("sustained_per_s",)),),
        (
            "one core: processor time, of which order and PostgreSQL take half",
            "more: the core of one process of order; next: more processes of order, a node for PostgreSQL",
        ),
    ),
    "replicas": Panel(
        "Orders a second sustained on the same cores, by processes of order",
        "replicas",
        "/s",
        (("sustained", ("sustained_per_s",)),),
        (
            "one: its own core's time where there are more cores than two",
            "several: the cores, then connections of PostgreSQL; next: more nodes, PgBouncer, a cluster of NATS",
        ),
    ),
    "shops": Panel(
        "Objects a second that the operator creates, by Shops",
        "shops",
        "/s",
        (("created, objects/s", ("objects_per_s",)),),
        (
            "few Shops: the client's 16 requests at once",
            "many Shops: the API server, which looks through all addresses; next: operators by namespace",
        ),
    ),
}


def pictures(result: Json) -> dict[str, str]:
    """An SVG for each part of a result of `tests.load.growth`, by its name."""
    return {name: picture(PANELS[name], part["found"]) for name, part in result.items() if name in PANELS}


def picture(panel: Panel, found: Sequence[Json]) -> str:
    sizes = [float(one[panel.size]) for one in found]
    lines = [(name, [_value(one, path) for one in found]) for name, path in panel.lines]
    values = [value for _, line in lines for value in line if value]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    scale = _Scale(min(sizes), max(sizes), low, max(high, low + 1))
    parts = [f'<text class="title" x="{LEFT_PX}" y="24">{escape(panel.title)}</text>', *_axes(scale, sizes, panel.unit)]
    bottom = TOP_PX + HEIGHT_PX + 44.0
    for number, (name, line) in enumerate(lines):
        parts += _line(scale, sizes, line, name, COLOURS[number % len(COLOURS)], bottom + number * LINE_PX)
    bottom += len(lines) * LINE_PX + 8
    for number, note in enumerate(panel.notes):
        parts.append(f'<text class="small" x="{LEFT_PX}" y="{bottom + number * LINE_PX:.0f}">{escape(note)}</text>')
    width, height = LEFT_PX + WIDTH_PX + 60, round(bottom + len(panel.notes) * LINE_PX + 6)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(panel.title)}">\n<style>{STYLE}</style>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


class _Scale(NamedTuple):
    """Both axes are logarithmic; ``low`` and ``high`` are decades of the values."""

    least: float
    most: float
    low: int
    high: int

    def x(self, size: float) -> float:
        span = math.log(self.most / self.least) or 1.0
        return LEFT_PX + WIDTH_PX * math.log(size / self.least) / span

    def y(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return TOP_PX + HEIGHT_PX * (1.0 - share)


def _axes(scale: _Scale, sizes: Sequence[float], unit: str) -> Iterator[str]:
    for decade in range(scale.low, scale.high + 1):
        y = scale.y(10.0**decade)
        yield f'<path d="M{LEFT_PX} {y:.1f}h{WIDTH_PX}" stroke="#dde2ea"/>'
        yield f'<text class="small" x="{LEFT_PX - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**decade:g} {unit}</text>'
    for size in sizes:
        y = TOP_PX + HEIGHT_PX + 18
        yield f'<text class="small" x="{scale.x(size):.1f}" y="{y}" text-anchor="middle">{size:,.0f}</text>'


def _line(
    scale: _Scale, sizes: Sequence[float], line: Sequence[float | None], name: str, colour: str, legend_y: float
) -> Iterator[str]:
    points = [(scale.x(size), scale.y(value), value) for size, value in zip(sizes, line, strict=True) if value]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, y, value in points:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{value:g}</title></circle>'
    yield f'<path d="M{LEFT_PX} {legend_y - 4:.0f}h22" stroke="{colour}" stroke-width="3"/>'
    shown = ", ".join("-" if value is None else f"{value:g}" for value in line)
    yield f'<text x="{LEFT_PX + 28}" y="{legend_y:.0f}">{escape(name)}: {shown}</text>'


def _value(one: Json, path: Sequence[str]) -> float | None:
    found: Any = one
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return None if found is None else float(found)
