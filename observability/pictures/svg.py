"""Elements of SVG, and how much room a text takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

NAMESPACE = "http://www.w3.org/2000/svg"
NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
NARROW, WIDE = frozenset("iljftI.,:;|!'()[] "), frozenset("mwMW%@→")
NARROW_EM, WIDE_EM, CAPITAL_EM, OTHER_EM, MONO_EM = 0.38, 0.92, 0.70, 0.60, 0.605
"""Of DejaVu Sans, the widest of the fonts: a text never needs more room than was left for it."""
ELLIPSIS = "…"


@dataclass(frozen=True)
class Box:
    """In pixels, `x` and `y` of the upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def inner(self, left: float, top: float, right: float, bottom: float) -> Box:
        """What is left inside these margins."""
        return Box(self.x + left, self.y + top, self.width - left - right, self.height - top - bottom)

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height


def element(parent: Element | None, tag: str, **attributes: str | float) -> Element:
    """An element, appended to `parent`. `class_` is class, other underscores are hyphens; numbers have one decimal."""
    named = {name.rstrip("_").replace("_", "-"): _value(value) for name, value in attributes.items()}
    return Element(tag, named) if parent is None else ElementTree.SubElement(parent, tag, named)


def root(width: float, height: float, style: str, title: str) -> Element:
    """A whole picture of this size in pixels; `title` is read to those who do not see it."""
    made = element(None, "svg", xmlns=NAMESPACE, width=width, height=height, role="img", aria_label=title)
    made.set("viewBox", f"0 0 {_value(width)} {_value(height)}")
    element(made, "style").text = style
    return made


def text(parent: Element, x: float, y: float, content: str, size: float, class_: str = "text", **more: str) -> Element:
    """One line of text on the base line `y`."""
    made = element(parent, "text", x=x, y=y, font_size=size, class_=class_, **more)
    made.text = clean(content)
    return made


def rectangle(parent: Element, box: Box, class_: str, **more: str | float) -> Element:
    return element(parent, "rect", x=box.x, y=box.y, width=box.width, height=box.height, class_=class_, **more)


def hint(parent: Element, content: str) -> None:
    """What is shown while the pointer rests on `parent`."""
    element(parent, "title").text = clean(content)


def link(parent: Element, url: str) -> Element:
    """A link to `url`, or `parent` where there is none."""
    return element(parent, "a", href=url) if url else parent


def written(picture: Element) -> str:
    return ElementTree.tostring(picture, encoding="unicode") + "\n"


def path(points: list[tuple[float, float]]) -> str:
    """A line through the points, each relative to the one before, which is shorter."""
    rounded = [(round(x, 1), round(y, 1)) for x, y in points]
    parts = [f"M{_value(rounded[0][0])} {_value(rounded[0][1])}"]
    for (x0, y0), (x1, y1) in pairwise(rounded):
        parts.append(f"l{_value(x1 - x0)} {_value(y1 - y0)}")
    return "".join(parts)


def text_width(content: str, size: float, mono: bool = False) -> float:
    """About how many pixels wide the text is, rather more than less."""
    if mono:
        return len(content) * MONO_EM * size
    return sum(map(_em, content)) * size


def shortened(content: str, size: float, width: float) -> str:
    """As much of the text as fits, with an ellipsis where something is missing."""
    if text_width(content, size) <= width:
        return content
    left = width - text_width(ELLIPSIS, size)
    for end in range(len(content) - 1, 0, -1):
        if text_width(content[:end], size) <= left:
            return content[:end].rstrip() + ELLIPSIS
    return ELLIPSIS


def _em(letter: str) -> float:
    if letter in NARROW:
        return NARROW_EM
    if letter in WIDE:
        return WIDE_EM
    return CAPITAL_EM if letter.isupper() else OTHER_EM


def _value(value: str | float) -> str:
    """1.0 is 1."""
    return clean(value) if isinstance(value, str) else f"{round(value, 1):g}"


def clean(content: str) -> str:
    """The text without the characters that XML does not have: a label may hold any."""
    return NOT_IN_XML.sub("\ufffd", content)
