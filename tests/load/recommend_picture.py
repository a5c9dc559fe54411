"""The evaluation as an SVG picture: one bar per ranker and scenario, with its confidence interval."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

Json = dict[str, Any]

LABELS_PX = 210
BARS_PX = 430
ROW_PX = 22
HEAD_PX = 40
MARGIN_PX = 16
AXIS_STEPS = 4
OF_THE_MODEL = "#0b6e4f"
OF_THE_REFERENCE = "#b35c00"
OF_OTHERS = "#8a94a6"
STYLE = "text{font:13px system-ui,sans-serif;fill:#1f2733}.title{font-weight:600}.small{font-size:11px;fill:#5a6475}"


def picture(result: Json) -> str:
    """nDCG@10 of every ranker in every scenario, on one scale."""
    scenarios = result["scenarios"]
    longest = max(figures["ndcg"][2] for one in scenarios for figures in one["rankers"].values())
    parts: list[str] = []
    top = MARGIN_PX
    for one in scenarios:
        parts += _panel(one, top, BARS_PX / longest, result["model"], result["reference"])
        top += HEAD_PX + ROW_PX * len(one["rankers"])
    parts += _axis(top, longest)
    width, height = LABELS_PX + BARS_PX + 4 * MARGIN_PX, top + HEAD_PX
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="nDCG@10 by ranker and scenario">\n<style>{STYLE}</style>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _panel(scenario: Json, top: float, scale: float, model: str, reference: str) -> Iterable[str]:
    title = f"{scenario['name']}: nDCG@10, {scenario['lists']:,} lists, 95 % confidence intervals"
    yield f'<text class="title" x="{MARGIN_PX}" y="{top + 20}">{escape(title)}</text>'
    colours = {model: OF_THE_MODEL, reference: OF_THE_REFERENCE}
    for row, (name, figures) in enumerate(scenario["rankers"].items()):
        y = top + HEAD_PX - 8 + row * ROW_PX
        value, low, high = (part * scale for part in figures["ndcg"])
        yield f'<text x="{LABELS_PX}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
        x = LABELS_PX + 8
        colour = colours.get(name, OF_OTHERS)
        yield f'<rect x="{x}" y="{y + 1}" width="{value:.1f}" height="{ROW_PX - 6}" rx="2" fill="{colour}"/>'
        yield f'<path d="M{x + low:.1f} {y + 9}H{x + high:.1f}" stroke="#1f2733" stroke-width="1.5"/>'
        yield f'<text class="small" x="{x + high + 6:.1f}" y="{y + 13}">{figures["ndcg"][0]:.3f}</text>'


def _axis(top: float, longest: float) -> Iterable[str]:
    for step in range(AXIS_STEPS + 1):
        x = LABELS_PX + 8 + BARS_PX * step / AXIS_STEPS
        label = f"{longest * step / AXIS_STEPS:.2f}"
        yield f'<text class="small" x="{x:.1f}" y="{top + 14}" text-anchor="middle">{label}</text>'
