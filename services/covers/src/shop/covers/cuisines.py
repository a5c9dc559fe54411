"""The pictures of restaurants: a laid table seen from above, with a dish of the cuisine, 480 x 300 units."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import lru_cache
from random import Random

from shop.covers.art import n, repeat

WIDTH, HEIGHT = 480, 300
CX, CY = 240, 150
MAX_CACHED_PICTURES = 512

CLOTHS = (
    ("#b8412f", "#a33626"),
    ("#2f5d50", "#274f44"),
    ("#d9a441", "#cc9531"),
    ("#365a86", "#2c4c73"),
    ("#6a3a58", "#5b304b"),
    ("#c9703d", "#b96231"),
    ("#5b6b38", "#4e5c2f"),
    ("#3d3a3a", "#332f2f"),
)
"""Colour of the table cloth and of its pattern."""

Dish = Callable[[Random], str]


def disc(x: float, y: float, radius: float, fill: str, more: str = "") -> str:
    return f'<circle cx="{n(x)}" cy="{n(y)}" r="{n(radius)}" fill="{fill}"{more}/>'


def path(data: str, fill: str = "none", more: str = "") -> str:
    return f'<path d="{data}" fill="{fill}"{more}/>'


def stroke(colour: str, width: float) -> str:
    return f' stroke="{colour}" stroke-width="{n(width)}" stroke-linecap="round" stroke-linejoin="round"'


def around(random: Random, count: int, reach: float, spread: float = 0.35) -> list[tuple[float, float]]:
    """``count`` points on a ring of about ``reach`` units around the middle of the plate."""
    turn = random.random() * math.tau
    points = []
    for index in range(count):
        angle = turn + math.tau * index / count + (random.random() - 0.5) * spread
        radius = reach * (1 - random.random() * spread)
        points.append((CX + radius * math.cos(angle), CY + radius * math.sin(angle)))
    return points


def leaf(x: float, y: float, size: float, turn: float, fill: str = "#4c8a3f") -> str:
    shape = f"M0 {n(-size)}C{n(size * 0.8)} {n(-size * 0.3)} {n(size * 0.5)} {n(size * 0.8)} 0 {n(size)}C{n(-size * 0.5)} {n(size * 0.8)} {n(-size * 0.8)} {n(-size * 0.3)} 0 {n(-size)}Z"
    vein = path(f"M0 {n(-size * 0.6)}V{n(size * 0.8)}", more=stroke("#2f6029", 1.6))
    return f'<g transform="translate({n(x)} {n(y)}) rotate({n(turn)})">{path(shape, fill)}{vein}</g>'


def leaves(random: Random, count: int, reach: float, size: float, fill: str = "#4c8a3f") -> str:
    return "".join(leaf(x, y, size, random.random() * 360, fill) for x, y in around(random, count, reach))


def bowl(outside: str, soup: str) -> str:
    return disc(CX, CY, 96, outside) + disc(CX, CY, 84, "#f6efe2") + disc(CX, CY, 78, soup)


def pizza(random: Random) -> str:
    base = disc(CX, CY, 92, "#c98b45") + disc(CX, CY, 82, "#c5432c") + disc(CX, CY, 78, "#efc35c")
    cuts = repeat(path(f"M{CX} {CY}V{CY - 90}", more=stroke("#b97a35", 2.4)), "cut", 8, CX, CY)
    slices = [*around(random, 8, 62), *around(random, 4, 28)]
    salami = "".join(disc(x, y, 11, "#a92f22") + disc(x - 2, y - 2, 7.5, "#bf4331") for x, y in slices)
    olives = "".join(disc(x, y, 5, "#2c2f26") + disc(x, y, 2, "#efc35c") for x, y in around(random, 7, 46, 0.6))
    return base + cuts + salami + olives + leaves(random, 5, 50, 11)


def pasta(random: Random) -> str:
    strands = ""
    for radius in range(16, 76, 6):
        turn = random.randrange(360)
        strands += f'<circle cx="{CX}" cy="{CY}" r="{radius}" fill="none" stroke="{"#f0cf7a" if radius % 4 else "#e2b956"}" stroke-width="5.4" stroke-dasharray="{radius * 5} {radius}" transform="rotate({turn} {CX} {CY})"/>'
    sauce = path(f"M{CX - 34} {CY - 6}c-4-30 30-40 44-30s36 8 34 34-24 36-46 32-30-12-32-36Z", "#bf3d27")
    return (
        strands
        + sauce
        + "".join(disc(x, y, 8, "#d9573a") for x, y in around(random, 5, 26, 0.6))
        + leaf(CX + 4, CY - 6, 17, random.randrange(360))
        + leaf(CX - 12, CY + 4, 14, random.randrange(360))
    )


def burger(random: Random) -> str:
    seeds = "".join(
        f'<ellipse cx="{n(CX + x)}" cy="{n(CY - 52 + abs(x) * 0.3)}" rx="4" ry="2.3" fill="#f3dfae" transform="rotate({random.randrange(-40, 40)} {n(CX + x)} {CY - 52})"/>'
        for x in (-44, -26, -8, 10, 28, 46)
    )
    top = path(f"M{CX - 76} {CY - 18}c0-36 34-58 76-58s76 22 76 58c0 6-4 8-9 8H{CX - 67}c-5 0-9-2-9-8Z", "#c88642")
    salad = path(
        f"M{CX - 82} {CY - 6}q14 16 27 3q14 16 28 3q13 14 27 0q14 14 28-1q13 14 27-2q14 14 27-5v-6H{CX - 82}Z",
        "#5f9a45",
    )
    cheese = path(
        f"M{CX - 78} {CY + 4}H{CX + 78}L{CX + 40} {CY + 16}L{CX + 18} {CY + 30}L{CX - 8} {CY + 16}Z", "#eeb83f"
    )
    meat = f'<rect x="{CX - 78}" y="{CY + 12}" width="156" height="24" rx="12" fill="#6b3a24"/>'
    bottom = path(f"M{CX - 74} {CY + 40}H{CX + 74}v10c0 12-8 18-20 18H{CX - 54}c-12 0-20-6-20-18Z", "#c88642")
    tomato = f'<rect x="{CX - 72}" y="{CY - 2}" width="144" height="9" rx="4" fill="#c8432f"/>'
    return bottom + meat + cheese + tomato + salad + top + seeds


def sushi(random: Random) -> str:
    rolls = ""
    fillings = ["#e8734a", "#6fa34b", "#e9c04b", "#c94f4f"]
    for x, y in [(CX, CY), *around(random, 6, 58, 0.04)]:
        rolls += (
            disc(x, y, 24, "#24312b")
            + disc(x, y, 20.5, "#fbf7ee")
            + disc(x, y, 10, random.choice(fillings))
            + disc(x + 4, y - 4, 4, random.choice(fillings))
        )
    return rolls


def ramen(random: Random) -> str:
    noodles = "".join(
        path(f"M{CX - 70 + offset} {CY - 8}q22-22 44 0t44 0t44 0", more=stroke("#f1dca0", 4.5))
        for offset in range(0, 12, 4)
    )
    waves = "".join(
        path(f"M{CX - 66} {CY + y}q18-16 36 0t36 0t36 0t24 0", more=stroke("#f1dca0" if y % 2 else "#e5c986", 4.5))
        for y in range(-22, 40, 9)
    )
    egg = f'<ellipse cx="{CX - 34}" cy="{CY - 30}" rx="23" ry="18" fill="#fffaf0"/>' + disc(
        CX - 34, CY - 30, 10, "#eaa234"
    )
    onion = "".join(disc(x, y, 5, "none", stroke("#6fa34b", 2.6)) for x, y in around(random, 9, 52, 0.7))
    return (
        bowl(random.choice(["#23384a", "#7a2a24", "#2b2b2b"]), "#c98d4a")
        + noodles
        + waves
        + egg
        + path(f"M{CX + 20} {CY - 62}l34 10-14 46-34-12Z", "#2c3d34")
        + onion
    )


def wok(random: Random) -> str:
    rice = "".join(
        f'<ellipse cx="{n(x)}" cy="{n(y)}" rx="6" ry="2.8" fill="#fffaf0" transform="rotate({random.randrange(180)} {n(x)} {n(y)})"/>'
        for reach in (16, 34, 50, 66)
        for x, y in around(random, reach // 3, reach, 0.3)
    )
    bits = "".join(
        f'<rect x="{n(x - 8)}" y="{n(y - 6)}" width="16" height="12" rx="4" fill="{random.choice(["#c8432f", "#e28a2f", "#7a4a2a", "#e9c04b"])}" transform="rotate({random.randrange(180)} {n(x)} {n(y)})"/>'
        for x, y in around(random, 13, 54, 0.8)
    )
    return bowl("#a33a2c", "#efe4cc") + rice + bits + leaves(random, 6, 52, 12, "#5f9a45")


def curry(random: Random) -> str:
    tray = disc(CX, CY, 98, "#b9b4a8") + disc(CX, CY, 92, "#d6d1c5")
    sauces = ["#d9822b", "#b8412f", "#7c8f3a", "#e3b34a", "#8c4a2a"]
    random.shuffle(sauces)
    cups = "".join(
        disc(x, y, 25, "#b9b4a8") + disc(x, y, 21, sauce) + disc(x - 5, y - 4, 4, "#fff3dc") + leaf(x + 5, y + 4, 6, 40)
        for (x, y), sauce in zip(around(random, 5, 62, 0.02), sauces, strict=True)
    )
    return (
        tray
        + cups
        + disc(CX, CY, 30, "#fffaf0")
        + "".join(
            f'<ellipse cx="{n(x)}" cy="{n(y)}" rx="5" ry="2" fill="#e9dcbb" transform="rotate({random.randrange(180)} {n(x)} {n(y)})"/>'
            for x, y in around(random, 9, 20, 0.6)
        )
    )


def tacos(random: Random) -> str:
    drawn = ""
    for index in range(3):
        y = CY - 34 + index * 38
        filling = "".join(
            disc(
                CX - 58 + step * 13 + random.random() * 6,
                y - 6 - random.random() * 10,
                8,
                random.choice(["#5f9a45", "#c8432f", "#7a4a2a", "#eeb83f", "#7cb352"]),
            )
            for step in range(10)
        )
        drawn += (
            filling
            + path(f"M{CX - 72} {y + 18}c4-40 36-32 72-30s68-10 72 30c0 8-144 8-144 0Z", "#e8b04f")
            + "".join(
                disc(CX - 50 + random.random() * 100, y + 2 + random.random() * 14, 2.2, "#c98b35") for _ in range(9)
            )
        )
    return drawn


def croissant(random: Random) -> str:
    body = path(
        f"M{CX - 84} {CY + 36}C{CX - 90} {CY - 40} {CX - 30} {CY - 66} {CX} {CY - 66}S{CX + 90} {CY - 40} {CX + 84} {CY + 36}C{CX + 78} {CY + 56} {CX + 52} {CY + 42} {CX + 50} {CY + 22}C{CX + 46} {CY - 6} {CX + 20} {CY - 14} {CX} {CY - 14}S{CX - 46} {CY - 6} {CX - 50} {CY + 22}C{CX - 52} {CY + 42} {CX - 78} {CY + 56} {CX - 84} {CY + 36}Z",
        "#d2924a",
    )
    folds = "".join(
        path(f"M{n(CX + x)} {n(CY + y)}q{dx} {dy} {ex} {ey}", more=stroke("#a9692b", 4))
        for x, y, dx, dy, ex, ey in (
            (-70, -24, 18, 6, 26, 30),
            (-36, -56, 14, 14, 14, 44),
            (36, -56, -14, 14, -14, 44),
            (70, -24, -18, 6, -26, 30),
            (0, -66, 8, 24, 0, 50),
        )
    )
    return body + folds + "".join(disc(x, y, 2, "#b9792f") for x, y in around(random, 10, 80, 0.5))


def fish(random: Random) -> str:
    scale = "#4f7f93"
    body = path(
        f"M{CX - 84} {CY}C{CX - 50} {CY - 52} {CX + 30} {CY - 46} {CX + 52} {CY - 6}L{CX + 88} {CY - 34}C{CX + 80} {CY - 8} {CX + 80} {CY + 10} {CX + 88} {CY + 34}L{CX + 52} {CY + 6}C{CX + 30} {CY + 46} {CX - 50} {CY + 52} {CX - 84} {CY}Z",
        "#7fb0c2",
    )
    marks = "".join(
        path(f"M{CX - 34 + column * 22} {CY - 22 + row * 16}q10 8 0 16", more=stroke(scale, 2.6))
        for column in range(4)
        for row in range(3)
    )
    eye = disc(CX - 58, CY - 8, 6, "#fffaf0") + disc(CX - 58, CY - 8, 3, "#22313a")
    lemon = "".join(
        disc(x, y, 15, "#e3b93a") + disc(x, y, 12, "#f6e08a") for x, y in ((CX + 6, CY - 68), (CX - 26, CY + 66))
    )
    return (
        lemon
        + body
        + marks
        + eye
        + path(f"M{CX - 40} {CY - 30}q-14 30 0 60", more=stroke(scale, 3))
        + leaves(random, 4, 78, 10)
    )


def paella(random: Random) -> str:
    pan = (
        disc(CX, CY, 100, "#2c2b2a")
        + disc(CX, CY, 92, "#e2a52f")
        + f'<rect x="{CX - 128}" y="{CY - 10}" width="30" height="20" rx="8" fill="#2c2b2a"/><rect x="{CX + 98}" y="{CY - 10}" width="30" height="20" rx="8" fill="#2c2b2a"/>'
    )
    grains = "".join(
        f'<ellipse cx="{n(x)}" cy="{n(y)}" rx="5" ry="2.2" fill="#f2c65a" transform="rotate({random.randrange(180)} {n(x)} {n(y)})"/>'
        for reach in (24, 44, 62, 80)
        for x, y in around(random, reach // 3, reach, 0.3)
    )
    prawns = "".join(
        path(f"M{n(x - 16)} {n(y + 6)}c2-22 28-24 32-2", more=stroke("#e0714a", 9))
        for x, y in around(random, 6, 54, 0.1)
    )
    return (
        pan
        + grains
        + prawns
        + "".join(disc(x, y, 4.5, "#5f9a45") for x, y in around(random, 12, 70, 0.7))
        + disc(CX, CY, 15, "#e3b93a")
        + disc(CX, CY, 12, "#f6e08a")
    )


def skewers(random: Random) -> str:
    drawn = ""
    for index in range(3):
        y = CY - 42 + index * 42
        drawn += path(f"M{CX - 92} {y}H{CX + 92}", more=stroke("#c9b28a", 4))
        kinds = ["#7a4a2a", "#c8432f", "#7a4a2a", "#5f9a45", "#7a4a2a", "#e9c04b"]
        drawn += "".join(
            f'<rect x="{CX - 76 + step * 26}" y="{y - 14}" width="23" height="28" rx="8" fill="{fill}"/>'
            for step, fill in enumerate(kinds)
        )
    return drawn + leaves(random, 5, 82, 11)


def salad(random: Random) -> str:
    greens = (
        leaves(random, 11, 70, 26, "#5f9a45")
        + leaves(random, 8, 44, 24, "#7cb352")
        + leaves(random, 5, 16, 20, "#4c8a3f")
    )
    tomatoes = "".join(disc(x, y, 13, "#c8432f") + disc(x, y, 9, "#dc6148") for x, y in around(random, 5, 54, 0.2))
    cubes = "".join(
        f'<rect x="{n(x - 9)}" y="{n(y - 9)}" width="18" height="18" rx="3" fill="#fbf7ee" transform="rotate({random.randrange(90)} {n(x)} {n(y)})"/>'
        for x, y in around(random, 5, 34, 0.3)
    )
    return (
        greens
        + tomatoes
        + cubes
        + "".join(disc(x, y, 6, "#3c3048") + disc(x, y, 2.4, "#7cb352") for x, y in around(random, 5, 66, 0.4))
    )


def covered(random: Random) -> str:
    shine = path(f"M{CX - 48} {CY - 6}c6-26 24-38 44-42", more=stroke("#ffffff", 5))
    return (
        path(f"M{CX - 84} {CY + 34}c0-58 36-92 84-92s84 34 84 92Z", "#c9ced2")
        + f'<rect x="{CX - 94}" y="{CY + 34}" width="188" height="14" rx="7" fill="#9aa2a8"/>'
        + disc(CX, CY - 64, 9, "#9aa2a8")
        + shine
    )


DISHES: dict[str, Dish] = {
    "american": burger, "bakery": croissant, "burgers": burger, "chinese": wok, "french": croissant, "greek": salad,
    "indian": curry, "italian": pasta, "japanese": ramen, "korean": wok, "lebanese": skewers, "mexican": tacos,
    "pizza": pizza, "seafood": fish, "spanish": paella, "sushi": sushi, "thai": wok, "turkish": skewers,
    "vegan": salad, "vegetarian": salad, "vietnamese": ramen,
}  # fmt: skip
"""By cuisine; any other cuisine gets a covered plate."""

WITH_STICKS = frozenset({wok, ramen, sushi})


def _cloth(random: Random, ground: str, pattern: str) -> str:
    tiles = (
        f'<path d="M0 0H20V20H0ZM20 20H40V40H20Z" fill="{pattern}"/>',
        f'<path d="M0 0H12V40H0Z" fill="{pattern}"/>',
        f'<circle cx="20" cy="20" r="6" fill="{pattern}"/>',
        f'<path d="M0 40L40 0M-5 5L5-5M35 45L45 35" stroke="{pattern}" stroke-width="7"/>',
    )
    tile = f'<pattern id="cloth" width="40" height="40" patternUnits="userSpaceOnUse">{random.choice(tiles)}</pattern>'
    whole = f"M0 0H{WIDTH}V{HEIGHT}H0Z"
    return tile + path(whole, ground) + path(whole, "url(#cloth)")


def _cutlery(dish: Dish) -> str:
    if dish in WITH_STICKS:
        return path("M392 52L430 250M410 48L446 246", more=stroke("#e6cfa0", 7))
    fork = path("M52 62v42c0 12 8 16 12 16v122M64 62v44M76 62v42c0 12-8 16-12 16", more=stroke("#e9e7e1", 6))
    return fork + path("M416 242V60c20 8 24 60 18 96h-18", "#e9e7e1", stroke("#e9e7e1", 6))


@lru_cache(MAX_CACHED_PICTURES)
def cuisine_svg(cuisine: str, name: str) -> str:
    """An SVG document; the same words give the same picture. ``name`` varies cloth and dish, and is not in it."""
    seed = hashlib.sha256(f"{cuisine}\n{name}".encode()).digest()
    random = Random(int.from_bytes(seed[:8]))
    dish = DISHES.get(cuisine.casefold(), covered)
    ground, pattern = CLOTHS[seed[8] % len(CLOTHS)]
    plate = (
        disc(CX + 5, CY + 8, 122, "#000000", ' opacity=".2"')
        + disc(CX, CY, 122, "#fdfaf3")
        + disc(CX, CY, 104, "#f1eadc")
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"{_cloth(random, ground, pattern)}{_cutlery(dish)}{plate}{dish(random)}</svg>"
    )
