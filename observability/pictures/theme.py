"""Colours and type of a picture, light and dark in one file: what the reader's system prefers is shown."""

from __future__ import annotations

FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif"
MONOSPACE = "'JetBrains Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SERIES = (
    ("#3f9a35", "#73bf69"), ("#c79a00", "#f2cc0c"), ("#3b84e8", "#8ab8ff"), ("#e8590c", "#ff780a"),
    ("#d42a4a", "#f2495c"), ("#1f5fc4", "#5794f2"), ("#9a45c4", "#b877d9"), ("#5d4a9c", "#8f7ac9"),
    ("#1f6b1c", "#45a33d"), ("#8f7400", "#fade2a"), ("#0f8a93", "#59c9d1"), ("#a8480f", "#e0803f"),
    ("#8c1d18", "#e0635c"), ("#0a437c", "#6d9fe0"), ("#84257a", "#d170c4"), ("#4a5a6a", "#a3b4c6"),
    ("#5f8f57", "#b7dbab"), ("#a88a4c", "#f4d598"), ("#c2617f", "#f5a3bd"), ("#37808f", "#8fd3e8"),
)  # fmt: skip
"""Of lines, on a light and on a dark ground, in their order; after the last the first follows."""
NAMED = {
    "green": ("#2f8f2a", "#73bf69"),
    "orange": ("#d9560b", "#ff9830"),
    "red": ("#cf222e", "#f2495c"),
    "blue": ("#1f60c4", "#5794f2"),
    "yellow": ("#a67c00", "#fade2a"),
    "purple": ("#8f3bb8", "#b877d9"),
    "transparent": ("transparent", "transparent"),
}
"""Grafana's names of colours."""
PAPER = {
    "ground": ("#f1f3f6", "#101217"),
    "card": ("#ffffff", "#191c22"),
    "edge": ("#dfe3e9", "#2a2f38"),
    "grid": ("#e9ecf1", "#2a2f38"),
    "text": ("#1f2530", "#dfe1e8"),
    "faint": ("#667085", "#98a0ae"),
    "link": ("#1f60c4", "#7fb0ff"),
    "code": ("#f1f3f6", "#242933"),
}
STATIC = f"""
text{{font-family:{FONT};white-space:pre}}
.mono{{font-family:{MONOSPACE}}}
.bold{{font-weight:600}} .italic{{font-style:italic}}
.ground{{fill:var(--ground)}} .card{{fill:var(--card);stroke:var(--edge)}} .code{{fill:var(--code)}}
.text{{fill:var(--text)}} .faint{{fill:var(--faint)}} .link{{fill:var(--link)}}
.grid{{stroke:var(--grid)}} .axis{{stroke:var(--edge)}}
.line{{fill:none;stroke-linejoin:round;stroke-linecap:round}} .rim{{stroke-dasharray:7 5}}
a:hover text{{text-decoration:underline}}
"""


def of_series(number: int) -> str:
    """The colour of the series that is drawn as this one, from 0."""
    return f"s{number % len(SERIES)}"


def style() -> str:
    """The style sheet of every picture."""
    return (
        f":root{{{_variables(0)}}}\n@media(prefers-color-scheme:dark){{:root{{{_variables(1)}}}}}{STATIC}{_classes()}"
    )


def _variables(ground: int) -> str:
    named = [f"--{name}:{pair[ground]}" for name, pair in {**PAPER, **NAMED}.items()]
    return ";".join([*named, *(f"--s{number}:{pair[ground]}" for number, pair in enumerate(SERIES))])


def _classes() -> str:
    """A line has its colour as `stroke`, an area and a word as `fill`."""
    names = [*NAMED, *(f"s{number}" for number in range(len(SERIES)))]
    return "".join(f".line-{name}{{stroke:var(--{name})}}.area-{name}{{fill:var(--{name})}}" for name in names)
