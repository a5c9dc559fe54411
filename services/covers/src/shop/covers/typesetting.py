"""Fits text into a box without knowing the viewer's fonts.

Widths are estimates in ems, for the widest font of the stack, so that a line that fits here fits in every font.
"""

from __future__ import annotations

from dataclasses import dataclass

NARROW = frozenset("ijlI.,:;!|'’`()[]-ft")
WIDE = frozenset("mwMWÆŒæœ@%&—")
NARROW_EM, LOWER_EM, UPPER_EM, WIDE_EM, SPACE_EM, FULL_EM = 0.39, 0.60, 0.78, 1.0, 0.32, 1.05
LINE_HEIGHT_EM = 1.16
BALANCE_STEPS = 24
FIRST_FULL_WIDTH = 0x2E80
"""Code points from here on (CJK and beyond) are drawn as wide as they are high."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Lines of text and the font size in user units at which they fit."""

    size: float
    lines: tuple[str, ...]

    @property
    def height(self) -> float:
        return self.size * LINE_HEIGHT_EM * len(self.lines)


def width_em(text: str, spacing_em: float = 0.0) -> float:
    """The width of ``text`` in ems, letter spacing included."""
    return sum(_glyph_em(character) for character in text) + spacing_em * len(text)


def _glyph_em(character: str) -> float:
    if character == " ":
        return SPACE_EM
    if ord(character) >= FIRST_FULL_WIDTH:
        return FULL_EM
    if character in NARROW:
        return NARROW_EM
    if character in WIDE:
        return WIDE_EM
    return UPPER_EM if character.isupper() else LOWER_EM


def fit(
    text: str, *, width: float, height: float, largest: float, smallest: float, lines: int, spacing_em: float = 0.0
) -> Setting:
    """The largest setting of ``text`` in a box of ``width`` x ``height`` units, in at most ``lines`` lines.

    Between words only, unless a word is wider than the box even at ``smallest``; what does not fit then is cut
    and ends in an ellipsis.
    """
    words = text.split() or [""]
    size = largest
    while size > smallest:
        measure = width / size
        wrapped = _wrap(words, measure, spacing_em)
        fits = len(wrapped) <= lines and size * LINE_HEIGHT_EM * len(wrapped) <= height
        if fits and all(width_em(line, spacing_em) <= measure for line in wrapped):
            return Setting(size, tuple(_balanced(words, measure, len(wrapped), spacing_em)))
        size -= 1
    return _cut(words, width / smallest, smallest, min(lines, int(height / (smallest * LINE_HEIGHT_EM))), spacing_em)


def _wrap(words: list[str], measure_em: float, spacing_em: float) -> list[str]:
    wrapped = [words[0]]
    for word in words[1:]:
        longer = f"{wrapped[-1]} {word}"
        if width_em(longer, spacing_em) <= measure_em:
            wrapped[-1] = longer
        else:
            wrapped.append(word)
    return wrapped


def _balanced(words: list[str], measure_em: float, count: int, spacing_em: float) -> list[str]:
    """The narrowest wrapping that still takes ``count`` lines: no line is left with one small word."""
    best = _wrap(words, measure_em, spacing_em)
    for step in range(1, BALANCE_STEPS):
        narrower = measure_em * (1 - step / (2 * BALANCE_STEPS))
        wrapped = _wrap(words, narrower, spacing_em)
        if len(wrapped) > count or any(width_em(line, spacing_em) > narrower for line in wrapped):
            break
        best = wrapped
    return best


def _cut(words: list[str], measure_em: float, size: float, lines: int, spacing_em: float) -> Setting:
    pieces = [piece for word in words for piece in _pieces(word, measure_em, spacing_em)]
    wrapped = _wrap(pieces, measure_em, spacing_em)
    if len(wrapped) > lines:
        last = wrapped[lines - 1]
        while last and width_em(last + "…", spacing_em) > measure_em:
            last = last[:-1]
        wrapped = [*wrapped[: lines - 1], last.rstrip() + "…"]
    return Setting(size, tuple(wrapped))


def _pieces(word: str, measure_em: float, spacing_em: float) -> list[str]:
    pieces = [""]
    for character in word:
        if pieces[-1] and width_em(pieces[-1] + character, spacing_em) > measure_em:
            pieces.append("")
        pieces[-1] += character
    return pieces
