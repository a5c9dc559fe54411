"""The image of a product that is not a book: its name below a price tag."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from html import escape

from shop.covers import art
from shop.covers.books import MAX_CACHED_COVERS, MAX_TITLE_CHARACTERS
from shop.covers.typesetting import LINE_HEIGHT_EM, fit

SIDE = 400
SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','Liberation Sans',sans-serif"
GROUNDS = (
    ("#dfe7dc", "#3d5a3f"),
    ("#dce5ea", "#2f5266"),
    ("#ece3d4", "#6b4f2a"),
    ("#eadfe4", "#6a3a50"),
    ("#e3e1ee", "#47437a"),
    ("#e8e6dc", "#55533a"),
)
"""Background and text colour, with a contrast of at least 4.5 to 1."""
TAG = "M140 96H220L276 152a14 14 0 0 1 0 20L216 232a14 14 0 0 1-20 0L140 176Z"


@lru_cache(MAX_CACHED_COVERS)
def placeholder_svg(name: str) -> str:
    """An SVG document of 400 x 400 units; the same name gives the same picture. The name is escaped."""
    shown = " ".join(name.split())[:MAX_TITLE_CHARACTERS]
    ground, ink = GROUNDS[hashlib.sha256(shown.encode()).digest()[0] % len(GROUNDS)]
    setting = fit(shown, width=320, height=110, largest=30, smallest=14, lines=3)
    step = setting.size * LINE_HEIGHT_EM
    spans = "".join(
        f'<tspan x="{SIDE // 2}" y="{art.n(286 + index * step)}">{escape(line)}</tspan>'
        for index, line in enumerate(setting.lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" role="img" font-family="{SANS}">'
        f'<title>{escape(shown)}</title><path d="M0 0H{SIDE}V{SIDE}H0Z" fill="{ground}"/>'
        f'<path d="{TAG}" fill="none" stroke="{ink}" stroke-width="7" stroke-linejoin="round"/>'
        f'<circle cx="172" cy="128" r="10" fill="{ink}"/>'
        f'<text font-size="{art.n(setting.size)}" font-weight="600" fill="{ink}" text-anchor="middle">{spans}</text>'
        "</svg>"
    )
