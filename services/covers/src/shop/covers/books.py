"""Book covers as SVG, drawn from title and author: the same book always has the same cover.

Layout and palette are chosen by category, ornaments are seeded by the title. There are no images to license or store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from html import escape
from random import Random

from shop.covers import art
from shop.covers.art import Drawing, Palette
from shop.covers.typesetting import LINE_HEIGHT_EM, Setting, fit

MAX_CACHED_COVERS = 1_024
SERIF = "'Iowan Old Style','Palatino Linotype',Palatino,'URW Palladio L',P052,'Book Antiqua',Georgia,'Liberation Serif',serif"
MAX_AUTHOR_CHARACTERS = 60

PALETTES = {
    "midnight": Palette("#1d2b45", "#131d31", "#45618a", "#dba84b", "#f6ecd8", "#0c1322"),
    "forest": Palette("#1f4038", "#142c27", "#4f7f6c", "#e2b35f", "#f5eeda", "#0d1f1b"),
    "oxblood": Palette("#6a2029", "#48131a", "#a5524f", "#e6b877", "#f8ecd9", "#2e0b10"),
    "lagoon": Palette("#0f5263", "#0a3a47", "#4290a0", "#f4b661", "#fcf4e2", "#06252e"),
    "plum": Palette("#432a4e", "#2d1a36", "#7d5a8a", "#e9ad9a", "#f8eee4", "#1c0f23"),
    "clay": Palette("#a8492c", "#7d311b", "#d27c55", "#f6d59a", "#fdf4e4", "#431709"),
    "moss": Palette("#5d6b3a", "#434f27", "#8f9d65", "#f1d48a", "#f9f3df", "#252c12"),
    "cobalt": Palette("#24479b", "#183172", "#6083d0", "#f7c65d", "#fbf5e6", "#0d1c45"),
    "saffron": Palette("#d4912a", "#a96c14", "#eebb66", "#7c1f1f", "#fff5dc", "#3a2405"),
    "rose": Palette("#b4525f", "#8c3744", "#da8c93", "#fbdba7", "#fff2ea", "#4a1620"),
    "slate": Palette("#3c4a54", "#28333b", "#71828d", "#e98b5d", "#f4efe6", "#151c21"),
    "night": Palette("#191a22", "#0e0f15", "#4a4c61", "#c2403a", "#efe7d8", "#050508"),
}

Layout = Callable[[Random, Palette, str, str, str], str]


def _text(setting: Setting, x: float, y: float, fill: str, *, style: str = "", anchor: str = "middle") -> str:
    """``setting`` with the top of its first line at ``y``."""
    step = setting.size * LINE_HEIGHT_EM
    spans = "".join(
        f'<tspan x="{art.n(x)}" y="{art.n(y + setting.size * 0.86 + index * step)}">{escape(line)}</tspan>'
        for index, line in enumerate(setting.lines)
    )
    return f'<text font-size="{art.n(setting.size)}" fill="{fill}" text-anchor="{anchor}"{style}>{spans}</text>'


def _small(text: str, y: float, fill: str, width: float, *, italic: bool = False, largest: float = 19) -> str:
    """One line under or above the title: the author in italics or letter-spaced capitals."""
    spacing = 0.0 if italic else 0.16
    shown = text if italic else text.upper()
    setting = fit(
        shown,
        width=width,
        height=40,
        largest=largest if italic else largest - 4,
        smallest=8,
        lines=1,
        spacing_em=spacing,
    )
    style = ' font-style="italic"' if italic else f' letter-spacing="{spacing}em"'
    return _text(setting, art.CENTRE + (0 if italic else setting.size * spacing / 2), y, fill, style=style)


def _ground(palette: Palette) -> str:
    return f'<path d="M0 0H400V600H0Z" fill="{palette.ground}"/>'


def _frame(colour: str, inset: float, width: float = 1.6) -> str:
    return (
        f'<rect x="{art.n(inset)}" y="{art.n(inset)}" width="{art.n(400 - 2 * inset)}" height="{art.n(600 - 2 * inset)}" '
        f'fill="none" stroke="{colour}" stroke-width="{width}"/>'
    )


def _ornament(y: float, colour: str) -> str:
    """A small divider: a star between two rules."""
    return (
        f'<path d="M146 {art.n(y)}H184M216 {art.n(y)}H254" stroke="{colour}" stroke-width="1.4"/>'
        f'<path d="{art.star(200, y, 8)}" fill="{colour}"/>'
    )


def _label(pattern: Drawing) -> Layout:
    """A pattern with a paper label."""

    def draw(random: Random, palette: Palette, title: str, author: str, date: str) -> str:
        caps = len(title) < 24 and random.random() < 0.5
        shown = title.upper() if caps else title
        setting = fit(shown, width=232, height=190, largest=42, smallest=13, lines=5, spacing_em=0.04 if caps else 0)
        height = setting.height + 118
        top = random.choice((96.0, (600 - height) / 2, (600 - height) / 2 - 40))
        style = ' letter-spacing=".04em"' if caps else ""
        return (
            f"{pattern(random, palette)}{_frame(palette.accent, 14, 2.5)}"
            f'<rect x="56" y="{art.n(top)}" width="288" height="{art.n(height)}" fill="{palette.paper}"/>'
            f'<rect x="63" y="{art.n(top + 7)}" width="274" height="{art.n(height - 14)}" fill="none" stroke="{palette.ground}" stroke-width="2.4"/>'
            f'<rect x="68" y="{art.n(top + 12)}" width="264" height="{art.n(height - 24)}" fill="none" stroke="{palette.ground}" stroke-width=".8"/>'
            f"{_text(setting, 200, top + 30, palette.ink, style=style)}{_ornament(top + setting.height + 48, palette.ground)}"
            f"{_small(author, top + setting.height + 66, palette.ink, 240, italic=True)}{_dated(date, palette)}"
        )

    return draw


def _dated(date: str, palette: Palette) -> str:
    """The year on a small disc at the foot of a patterned cover."""
    if not date:
        return ""
    return (
        f'<rect x="150" y="544" width="100" height="26" rx="13" fill="{palette.ground}" stroke="{palette.accent}" stroke-width="1.6"/>'
        f"{_small(date, 549, palette.paper, 76, largest=18)}"
    )


def _scene(drawing: Drawing) -> Layout:
    """A picture across the foot, the title in the sky."""

    def draw(random: Random, palette: Palette, title: str, author: str, date: str) -> str:
        setting = fit(title, width=316, height=172, largest=54, smallest=14, lines=4)
        top = 78 + (172 - setting.height) * 0.3
        return (
            f"{_ground(palette)}{drawing(random, palette)}{_frame(palette.paper, 14)}"
            f"{_small(author, 44, palette.accent, 320)}"
            f"{_text(setting, 200, top, palette.paper)}"
            f"{_small(date, top + setting.height + 14, palette.accent, 200, italic=True)}"
        )

    return draw


def _emblem(drawing: Drawing) -> Layout:
    """A large round ornament over the title."""

    def draw(random: Random, palette: Palette, title: str, author: str, date: str) -> str:
        setting = fit(title, width=316, height=106, largest=46, smallest=13, lines=3)
        top = 396 + (106 - setting.height) / 2
        return (
            f"{_ground(palette)}{_frame(palette.accent, 14, 2.5)}{_frame(palette.accent, 21, 0.8)}"
            f"{drawing(random, palette)}{_text(setting, 200, top, palette.paper)}"
            f"{_small(author, 520, palette.accent, 310)}{_small(date, 548, palette.soft, 200, italic=True, largest=16)}"
        )

    return draw


def _sunrise(random: Random, palette: Palette, title: str, author: str, date: str) -> str:
    """Rays from the foot of the page."""
    setting = fit(title.upper(), width=308, height=190, largest=48, smallest=12, lines=5, spacing_em=0.05)
    top = 104 + (190 - setting.height) * 0.35
    step = f"M{40} 24V40H24M360 24V40H376M40 576V560H24M360 576V560H376"
    return (
        f"{art.rays(random, palette)}{_frame(palette.accent, 14, 2.5)}"
        f'<path d="{step}" fill="none" stroke="{palette.accent}" stroke-width="1.6"/>'
        f"{_text(setting, 200 + setting.size * 0.025, top, palette.paper, style=' letter-spacing=' + chr(34) + '.05em' + chr(34))}"
        f"{_small(author, 58, palette.accent, 290)}"
        f"{_small(date, top + setting.height + 12, palette.accent, 200, italic=True)}"
    )


def _initial(random: Random, palette: Palette, title: str, author: str, date: str) -> str:
    """A large first letter."""
    words = [word for word in title.split() if word.lower() not in ARTICLES] or [title or "*"]
    letter = next((character for character in words[0] if character.isalnum()), "*").upper()
    setting = fit(title, width=300, height=104, largest=38, smallest=13, lines=3)
    name = f"i{random.getrandbits(32):x}"
    spoke = f'<path d="M200 78C{190 - random.randrange(8)} 66 192 52 200 44C208 52 {210 + random.randrange(8)} 66 200 78Z"/>'
    ring = art.repeat(spoke, name, random.choice((24, 28, 32)), 200, 212)
    return (
        f'{_ground(palette)}<path d="M0 378H400V600H0Z" fill="{palette.paper}"/>'
        f'<path d="M0 378H400" stroke="{palette.accent}" stroke-width="5"/>'
        f'<g fill="{palette.soft}">{ring}</g><circle cx="200" cy="212" r="122" fill="none" stroke="{palette.accent}" stroke-width="2"/>'
        f'<circle cx="200" cy="212" r="114" fill="{palette.deep}"/>'
        f'<text x="200" y="{212 + 57}" font-size="164" fill="{palette.accent}" text-anchor="middle">{escape(letter)}</text>'
        f"{_text(setting, 200, 404 + (104 - setting.height) / 2, palette.ink)}"
        f"{_small(author, 524, palette.ground, 320)}{_small(date, 552, palette.ground, 200, italic=True, largest=16)}"
    )


def _garland(random: Random, palette: Palette, title: str, author: str, date: str) -> str:
    """The title between two branches."""
    setting = fit(title, width=208, height=220, largest=40, smallest=12, lines=6)
    top = 300 - setting.height / 2 - 10
    return (
        f"{_ground(palette)}{art.branches(random, palette)}{_frame(palette.accent, 14, 1.6)}"
        f"{_ornament(top - 26, palette.accent)}{_text(setting, 200, top, palette.paper)}"
        f"{_ornament(top + setting.height + 24, palette.accent)}"
        f"{_small(author, top + setting.height + 44, palette.accent, 206, italic=True)}"
        f"{_small(date, 60, palette.accent, 120, italic=True)}"
    )


ARTICLES = frozenset(("the", "a", "an"))

LAYOUTS: dict[str, tuple[tuple[Layout, ...], tuple[str, ...]]] = {
    "adventure": (
        (_scene(art.sea), _label(art.billows), _sunrise, _scene(art.hills)),
        ("lagoon", "clay", "cobalt", "saffron"),
    ),
    "children": (
        (_scene(art.hills), _label(art.stars), _label(art.scallops), _garland),
        ("rose", "cobalt", "moss", "saffron", "lagoon"),
    ),
    "drama": ((_sunrise, _label(art.lattice), _initial), ("oxblood", "plum", "night", "rose")),
    "gothic": (
        (_scene(art.moonlight), _scene(art.moonlight), _initial, _garland),
        ("night", "plum", "slate", "midnight"),
    ),
    "history": ((_label(art.meander), _emblem(art.rosette), _sunrise), ("clay", "oxblood", "moss", "midnight")),
    "mystery": (
        (_sunrise, _initial, _scene(art.moonlight), _label(art.lattice)),
        ("slate", "night", "midnight", "forest"),
    ),
    "novel": (
        (_label(art.leaves), _label(art.lattice), _emblem(art.rosette), _initial, _garland, _label(art.scallops)),
        ("midnight", "forest", "oxblood", "plum", "clay", "moss", "rose", "slate"),
    ),
    "philosophy": ((_initial, _label(art.meander), _emblem(art.rosette)), ("slate", "midnight", "clay", "moss")),
    "poetry": (
        (_garland, _label(art.leaves), _scene(art.hills), _emblem(art.rosette)),
        ("forest", "rose", "plum", "lagoon"),
    ),
    "science": (
        (_emblem(art.orbits), _emblem(art.rosette), _label(art.stars)),
        ("midnight", "cobalt", "lagoon", "forest"),
    ),
    "science-fiction": ((_emblem(art.orbits), _sunrise, _scene(art.hills)), ("cobalt", "night", "lagoon", "plum")),
    "short-stories": (
        (_label(art.scallops), _label(art.leaves), _garland, _initial),
        ("saffron", "lagoon", "rose", "forest", "slate"),
    ),
}


@lru_cache(MAX_CACHED_COVERS)
def cover_svg(title: str, author: str = "", year: int | None = None, category: str = "") -> str:
    """An SVG document of 400 x 600 units for a product; the same words give the same picture.

    ``year`` before the common era is negative. An unknown ``category`` draws on every layout. All text is escaped.
    """
    random = Random(hashlib.sha256(f"{title}\n{author}".encode()).digest())
    layouts, palettes = LAYOUTS.get(category, (_ALL_LAYOUTS, tuple(PALETTES)))
    layout, palette = random.choice(layouts), PALETTES[random.choice(palettes)]
    name = " ".join(title.split())[:MAX_TITLE_CHARACTERS]
    by = " ".join(author.split())[:MAX_AUTHOR_CHARACTERS]
    date = "" if year is None else f"{-year} BC" if year < 0 else f"AD {year}" if year < FIRST_PLAIN_YEAR else str(year)
    body = layout(random, palette, name, by, date)
    label = escape(f"{name}, by {by}" if by else name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {art.WIDTH} {art.HEIGHT}" role="img" '
        f'font-family="{SERIF}"><title>{label}</title>{body}</svg>'
    )


MAX_TITLE_CHARACTERS = 160
FIRST_PLAIN_YEAR = 1_000
_ALL_LAYOUTS: tuple[Layout, ...] = tuple(dict.fromkeys(layout for layouts, _ in LAYOUTS.values() for layout in layouts))
