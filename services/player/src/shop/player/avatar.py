"""Avatars: a symmetric pattern of squares that follows from the player's id alone. Pure."""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

CELLS = 5
CELL = 16
MARGIN = 8
SIZE = CELLS * CELL + 2 * MARGIN
"""Units of the drawing; its columns are mirrored at the middle one."""
HUES = 24


def avatar(player_id: UUID) -> str:
    """An SVG image. It has no identifiers, scripts or references, so it can be shown inline or as a file."""
    digest = sha256(b"avatar" + player_id.bytes).digest()
    hue = digest[0] % HUES * (360 // HUES)
    squares = "".join(_square(column, row) for column, row in _filled(digest[1:]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" role="img">'
        f'<rect width="{SIZE}" height="{SIZE}" rx="12" fill="hsl({hue} 45% 90%)"/>'
        f'<g fill="hsl({hue} 55% 38%)">{squares}</g></svg>'
    )


def _filled(pattern: bytes) -> list[tuple[int, int]]:
    """The filled cells; the middle one always is, so that no avatar is empty."""
    half = [(column, row) for column in range((CELLS + 1) // 2) for row in range(CELLS)]
    chosen = [cell for cell, value in zip(half, pattern, strict=False) if value % 2 or cell == (CELLS // 2, CELLS // 2)]
    return sorted({cell for column, row in chosen for cell in ((column, row), (CELLS - 1 - column, row))})


def _square(column: int, row: int) -> str:
    return f'<rect x="{MARGIN + column * CELL}" y="{MARGIN + row * CELL}" width="{CELL}" height="{CELL}"/>'
