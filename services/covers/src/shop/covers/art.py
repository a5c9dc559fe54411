"""The drawings of the covers: each a function of a random generator and a palette, 400 x 600 units."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

WIDTH, HEIGHT = 400, 600
CENTRE = WIDTH / 2


@dataclass(frozen=True, slots=True)
class Palette:
    """Matching colours: two backgrounds, two ornament colours, label background and text."""

    ground: str
    deep: str
    soft: str
    accent: str
    paper: str
    ink: str


Drawing = Callable[[Random, Palette], str]


def n(value: float) -> str:
    """A coordinate, short: one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")


def repeat(shape: str, name: str, turns: int, cx: float, cy: float) -> str:
    """``shape`` drawn ``turns`` times around the point (cx, cy)."""
    step = 360 / turns
    uses = "".join(
        f'<use href="#{name}" transform="rotate({n(step * turn)} {n(cx)} {n(cy)})"/>' for turn in range(1, turns)
    )
    return f'<g id="{name}">{shape}</g>{uses}'


def star(cx: float, cy: float, radius: float, points: int = 4, waist: float = 0.3) -> str:
    """The path data of a star."""
    corners = []
    for corner in range(points * 2):
        reach = radius if corner % 2 == 0 else radius * waist
        angle = math.pi * corner / points - math.pi / 2
        corners.append(f"{n(cx + reach * math.cos(angle))} {n(cy + reach * math.sin(angle))}")
    return f"M{'L'.join(corners)}Z"


def _tile(width: float, height: float, name: str, body: str, ground: str) -> str:
    return (
        f'<pattern id="{name}" width="{n(width)}" height="{n(height)}" patternUnits="userSpaceOnUse">{body}</pattern>'
        f'<path d="M0 0H400V600H0Z" fill="{ground}"/><path d="M0 0H400V600H0Z" fill="url(#{name})"/>'
    )


def scallops(random: Random, palette: Palette) -> str:
    """Overlapping fans, as on Japanese paper."""
    radius = random.choice((25, 40 / 1.2, 50))
    rings = "".join(
        f'<circle cx="{n(x)}" cy="{n(y)}" r="{n(radius * share)}"/>'
        for x, y in ((radius, radius), (0, radius * 1.5), (radius * 2, radius * 1.5), (radius, radius * 2))
        for share in (0.97, 0.68, 0.39)
    )
    body = f'<g fill="{palette.ground}" stroke="{palette.accent}" stroke-width="1.6">{rings}</g>'
    return _tile(radius * 2, radius, f"t{random.getrandbits(32):x}", body, palette.ground)


def lattice(random: Random, palette: Palette) -> str:
    """A diamond trellis with a small flower in every field."""
    w, h = random.choice(((50, 75), (40, 60), (57.14, 60)))
    petals = star(w / 2, h / 2, w * 0.24, random.choice((4, 6, 8)), 0.38)
    body = (
        f'<path d="M0 0L{n(w)} {n(h)}M{n(w)} 0L0 {n(h)}" stroke="{palette.soft}" stroke-width="1.6" fill="none"/>'
        f'<path d="{petals}" fill="{palette.accent}"/>'
        f'<path d="{star(0, h / 2, 4)}{star(w, h / 2, 4)}{star(w / 2, 0, 4)}{star(w / 2, h, 4)}" fill="{palette.soft}"/>'
    )
    return _tile(w, h, f"t{random.getrandbits(32):x}", body, palette.ground)


def leaves(random: Random, palette: Palette) -> str:
    """Climbing stems with paired leaves."""
    w, h = random.choice(((50, 60), (40, 50), (57.14, 66.67)))
    pairs = ""
    for base in (h * 0.48, h * 0.98):
        for side in (-1, 1):
            x, tip = w / 2, w / 2 + side * w * 0.4
            pairs += (
                f"M{n(x)} {n(base)}C{n(x + side * w * 0.08)} {n(base - h * 0.24)} {n(tip - side * w * 0.1)} "
                f"{n(base - h * 0.36)} {n(tip)} {n(base - h * 0.38)}C{n(tip)} {n(base - h * 0.18)} "
                f"{n(x + side * w * 0.2)} {n(base - h * 0.04)} {n(x)} {n(base)}Z"
            )
    body = (
        f'<path d="M{n(w / 2)} 0V{n(h)}" stroke="{palette.soft}" stroke-width="1.6"/>'
        f'<path d="{pairs}" fill="{palette.soft}"/>'
        f'<circle cx="0" cy="{n(h * 0.3)}" r="3" fill="{palette.accent}"/>'
        f'<circle cx="{n(w)}" cy="{n(h * 0.3)}" r="3" fill="{palette.accent}"/>'
    )
    return _tile(w, h, f"t{random.getrandbits(32):x}", body, palette.ground)


def billows(random: Random, palette: Palette) -> str:
    """Rows of waves."""
    w, h = random.choice(((80, 40), (66.67, 30), (100, 50)))
    lines = "".join(
        f'<path d="M0 {n(y)}q{n(w / 4)} {n(-h * 0.5)} {n(w / 2)} 0t{n(w / 2)} 0" stroke="{colour}" stroke-width="{thick}"/>'
        for y, colour, thick in (
            (h * 0.3, palette.soft, 2.2),
            (h * 0.55, palette.accent, 2.2),
            (h * 0.8, palette.soft, 2.2),
        )
    )
    return _tile(w, h, f"t{random.getrandbits(32):x}", f'<g fill="none">{lines}</g>', palette.ground)


def stars(random: Random, palette: Palette) -> str:
    """A night sky, set like a wallpaper."""
    w, h = random.choice(((66.67, 66.67), (80, 75), (57.14, 60)))
    body = (
        f'<path d="{star(w / 4, h / 4, w * 0.15, random.choice((4, 5, 8)), 0.4)}" fill="{palette.accent}"/>'
        f'<path d="{star(w * 3 / 4, h * 3 / 4, w * 0.1, 4, 0.3)}" fill="{palette.soft}"/>'
        f'<g fill="{palette.soft}"><circle cx="{n(w * 3 / 4)}" cy="{n(h / 4)}" r="1.8"/>'
        f'<circle cx="{n(w / 4)}" cy="{n(h * 3 / 4)}" r="1.8"/></g>'
    )
    return _tile(w, h, f"t{random.getrandbits(32):x}", body, palette.ground)


def meander(random: Random, palette: Palette) -> str:
    """Bands of a Greek key."""
    cell = random.choice((40, 50, 57.14))
    u = cell / 8
    key = f"M0 {n(u * 7)}V{n(u)}H{n(u * 6.5)}V{n(u * 5)}H{n(u * 3)}V{n(u * 3.2)}H{n(u * 4.6)}M0 {n(u * 7)}H{n(cell)}V{n(u)}"
    body = (
        f'<path d="{key}" fill="none" stroke="{palette.soft}" stroke-width="{n(u * 0.75)}"/>'
        f'<path d="M0 {n(u * 8.9)}H{n(cell)}" stroke="{palette.accent}" stroke-width="2"/>'
    )
    return _tile(cell, u * 10, f"t{random.getrandbits(32):x}", body, palette.ground)


def rosette(random: Random, palette: Palette, cy: float = 212) -> str:
    """A medallion of turned ellipses inside rings."""
    name, petals = f"r{random.getrandbits(32):x}", random.choice((12, 16, 18, 24))
    outer, slim = 128.0, random.choice((16, 22, 28))
    petal = (
        f'<ellipse cx="200" cy="{n(cy - outer * 0.52)}" rx="{slim}" ry="{n(outer * 0.44)}"/>'
        f'<circle cx="200" cy="{n(cy - outer - 9)}" r="2.6" fill="{palette.paper}" stroke="none"/>'
    )
    rings = "".join(f'<circle cx="200" cy="{n(cy)}" r="{n(r)}"/>' for r in (outer, outer + 18, outer * 0.3))
    return (
        f'<g fill="none" stroke="{palette.accent}" stroke-width="1.5">{repeat(petal, name, petals, 200, cy)}{rings}</g>'
        f'<circle cx="200" cy="{n(cy)}" r="{n(outer * 0.27)}" fill="{palette.paper}"/>'
        f'<path d="{star(200, cy, outer * 0.2, random.choice((5, 6, 8, 12)), 0.5)}" fill="{palette.ground}"/>'
    )


def orbits(random: Random, palette: Palette, cy: float = 222) -> str:
    """A sun with planets on their circles."""
    parts = [f'<g fill="none" stroke="{palette.soft}" stroke-width="1.4">']
    radii = [44 + 26 * ring + random.uniform(-4, 4) for ring in range(5)]
    parts += [f'<circle cx="200" cy="{n(cy)}" r="{n(r)}"/>' for r in radii]
    name = f"o{random.getrandbits(32):x}"
    ray = f'<path d="M200 {n(cy - 30)}V{n(cy - 37)}" stroke="{palette.accent}" stroke-width="2"/>'
    parts.append(f'</g>{repeat(ray, name, 24, 200, cy)}<circle cx="200" cy="{n(cy)}" r="25" fill="{palette.accent}"/>')
    for ring, r in enumerate(radii):
        angle = random.uniform(0, math.tau)
        x, y, size = 200 + r * math.cos(angle), cy + r * math.sin(angle), random.choice((5, 7, 9, 12))
        colour = random.choice((palette.paper, palette.accent, palette.soft))
        parts.append(f'<circle cx="{n(x)}" cy="{n(y)}" r="{n(size + 4)}" fill="{palette.ground}"/>')
        parts.append(f'<circle cx="{n(x)}" cy="{n(y)}" r="{size}" fill="{colour}"/>')
        if ring % 2:
            parts.append(
                f'<ellipse cx="{n(x)}" cy="{n(y)}" rx="{n(size * 1.9)}" ry="{n(size * 0.55)}" fill="none" '
                f'stroke="{palette.paper}" stroke-width="1.4" transform="rotate(-24 {n(x)} {n(y)})"/>'
            )
    return "".join(parts)


def rays(random: Random, palette: Palette) -> str:
    """A sunrise in the manner of the 1920s."""
    name, cy = f"s{random.getrandbits(32):x}", 600.0
    count = random.choice((36, 44, 52))
    half = math.pi / count * 0.5
    x, y = 640 * math.sin(half), 640 * math.cos(half)
    wedge = f'<path d="M200 {n(cy)}L{n(200 - x)} {n(cy - y)}H{n(200 + x)}Z" fill="{palette.deep}"/>'
    arcs = "".join(
        f'<circle cx="200" cy="{n(cy)}" r="{r}" fill="{colour}"/>'
        for r, colour in (
            (188, palette.accent),
            (180, palette.ground),
            (166, palette.accent),
            (118, palette.paper),
            (110, palette.accent),
            (72, palette.soft),
            (64, palette.deep),
        )
    )
    return (
        f'<path d="M0 0H400V600H0Z" fill="{palette.ground}"/>{repeat(wedge, name, count, 200, cy)}{arcs}'
        f'<path d="{star(200, 566, 24, 8, 0.45)}" fill="{palette.paper}"/>'
    )


def _ridge(random: Random, top: float, swing: float, points: int) -> str:
    step = WIDTH / points
    path, y = f"M0 600V{n(top)}", top
    for index in range(points):
        rise = random.uniform(0.5, 1) * swing * (-1 if index % 2 else 1)
        path += f"S{n(step * (index + 0.5))} {n(y + rise)} {n(step * (index + 1))} {n(top + rise * 0.3)}"
        y = top + rise * 0.3
    return path + "V600Z"


def hills(random: Random, palette: Palette) -> str:
    """A low sun behind ranges of hills."""
    x, y, r = random.choice((130, 200, 270)), random.choice((370, 395)), random.choice((52, 62))
    layers = (palette.soft, palette.accent, palette.deep, palette.ink)
    ranges = "".join(
        f'<path d="{_ridge(random, 430 + 42 * depth, 34 - 4 * depth, random.choice((2, 3, 4)))}" fill="{colour}"/>'
        for depth, colour in enumerate(layers)
    )
    birds = "".join(
        f"M{n(bx)} {n(by)}q6 -7 10 0q4 -7 10 0"
        for bx, by in ((x + 76 + random.uniform(-9, 9), y - 34 - random.uniform(0, 20)) for _ in range(3))
    )
    return (
        f'<circle cx="{x}" cy="{y}" r="{r}" fill="{palette.paper}"/>'
        f'<circle cx="{x}" cy="{y}" r="{r + 12}" fill="none" stroke="{palette.paper}" stroke-width="1.4"/>'
        f'<path d="{birds}" fill="none" stroke="{palette.paper}" stroke-width="1.8"/>{ranges}'
    )


def sea(random: Random, palette: Palette) -> str:
    """A ship under sail on rows of waves."""
    x, rows = random.choice((150, 200, 245)), []
    for depth, colour in enumerate((palette.soft, palette.accent, palette.deep, palette.ink)):
        w, y = 40 + 9 * depth, 462 + 34 * depth
        crest = "".join(f"q{n(w / 2)} {-16 - 3 * depth} {w} 0" for _ in range(WIDTH // w + 2))
        rows.append(f'<path d="M{n(-random.uniform(0, w))} {y}{crest}V600H-60Z" fill="{colour}"/>')
    ship = (
        f'<g transform="translate({x} 462)"><path d="M-46 -22H50L34 4H-30Z" fill="{palette.ink}"/>'
        f'<path d="M0 -24V-128M-26 -24V-100M27 -24V-104" stroke="{palette.ink}" stroke-width="3"/>'
        f'<path d="M2 -122q34 26 0 46ZM2 -72q42 22 0 44ZM-24 -96q26 18 0 34ZM-24 -58q30 16 0 32ZM29 -98q26 18 0 34Z'
        f'M29 -60q30 16 0 34Z" fill="{palette.paper}"/></g>'
    )
    return rows[0] + ship + "".join(rows[1:])


def moonlight(random: Random, palette: Palette) -> str:
    """A house on a hill under a great moon."""
    x, sky = random.choice((140, 200, 260)), ""
    for _ in range(14):
        sky += star(random.uniform(30, 370), random.uniform(260, 420), random.choice((2, 3, 4.5)))
    towers = "".join(
        f"M{n(left)} 480V{n(top)}l{n(w / 2)} {n(-w * 1.15)}l{n(w / 2)} {n(w * 1.15)}V480Z"
        for left, top, w in ((-52, 420, 24), (-24, 380, 30), (8, 405, 40), (50, 432, 22))
    )
    lights = "".join(f"M{n(a)} {b}h5v9h-5Z" for a, b in ((-12, 402), (20, 424), (32, 424), (-42, 440), (58, 448)))
    return (
        f'<path d="{sky}" fill="{palette.paper}"/><circle cx="{x}" cy="392" r="88" fill="{palette.paper}"/>'
        f'<circle cx="{x - 26}" cy="366" r="14" fill="{palette.soft}" opacity=".25"/>'
        f'<circle cx="{x + 30}" cy="412" r="9" fill="{palette.soft}" opacity=".25"/>'
        f'<g transform="translate({x} 10)"><path d="{towers}" fill="{palette.deep}"/>'
        f'<path d="{lights}" fill="{palette.accent}"/></g>'
        f'<path d="M0 600V520Q{x - 60} 468 {x} 476T400 530V600Z" fill="{palette.deep}"/>'
        f'<path d="{_ridge(random, 545, 22, 3)}" fill="{palette.ink}"/>'
    )


def branches(random: Random, palette: Palette) -> str:
    """Two stems that grow up the sides and lean over the title."""
    parts, bud = [], random.choice((4.5, 6, 7.5))
    for step in range(9):
        y, x = 552 - step * 50, 58 - 18 * math.sin(step / 9 * math.pi)
        length, lift = 44 - step * 2, random.uniform(18, 30)
        parts.append(
            f"M{n(x)} {n(y)}q{n(length * 0.3)} {n(-lift * 1.3)} {n(length)} {n(-lift)}q{n(-length * 0.3)} {n(lift * 0.9)} {n(-length)} {n(lift)}Z"
        )
        parts.append(f"M{n(x)} {n(y - 22)}q-14 -24 -26 -20q2 20 26 20Z")
    dots = "".join(
        f'<circle cx="{n(70 - 18 * math.sin(step / 9 * math.pi) + 24)}" cy="{n(528 - step * 50)}" r="{bud}"/>'
        for step in range(1, 9, 2)
    )
    name = f"b{random.getrandbits(32):x}"
    stem = "M60 600C66 520 36 420 40 330S48 170 84 100"
    side = (
        f'<path d="{stem}" fill="none" stroke="{palette.soft}" stroke-width="3"/>'
        f'<path d="{"".join(parts)}" fill="{palette.soft}"/><g fill="{palette.accent}">{dots}</g>'
        f'<path d="{star(90, 92, 22, 8, 0.55)}" fill="{palette.accent}"/>'
        f'<circle cx="90" cy="92" r="6" fill="{palette.paper}"/>'
    )
    return f'<g id="{name}">{side}</g><use href="#{name}" transform="matrix(-1 0 0 1 400 0)"/>'
