"""A panel with Markdown: headings, paragraphs, lists and code, broken into lines of its width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from xml.etree.ElementTree import Element

from markdown_it import MarkdownIt
from markdown_it.token import Token

from observability.pictures import svg
from observability.pictures.svg import Box

SIZE_PX, CODE_PX = 13.0, 12.0
HEADINGS_PX = {"h1": 18.0, "h2": 15.0, "h3": 14.0}
LINE_EM = 1.55
BEFORE_PX = 8.0
"""Above each block."""
INDENT_PX = 18.0
CODE_PADDING_PX = 8.0
STYLES = {"strong_open": "bold", "em_open": "italic"}


@dataclass(frozen=True)
class Word:
    """A piece of a line that is not broken; `classes` are its style, `url` where it leads to."""

    content: str
    classes: str = ""
    url: str = ""

    def width(self, size: float) -> float:
        return svg.text_width(self.content, size, mono="mono" in self.classes)


@dataclass(frozen=True)
class Block:
    """Lines of one kind. `mark` stands before the first, such as the bullet of a list."""

    lines: tuple[tuple[Word, ...], ...]
    size: float
    indent: float = 0.0
    mark: str = ""
    code: bool = False

    @property
    def height(self) -> float:
        padding = 2 * CODE_PADDING_PX if self.code else 0.0
        return BEFORE_PX + padding + len(self.lines) * self.size * LINE_EM


def arranged(markdown: str, width: float) -> list[Block]:
    """The blocks of a text, its lines no wider than `width` pixels."""
    return list(_blocks(MarkdownIt().parse(markdown), width))


def height(blocks: Iterable[Block]) -> float:
    return sum(block.height for block in blocks)


def _blocks(tokens: list[Token], width: float) -> Iterator[Block]:
    depth, mark, size, style = 0, "", SIZE_PX, ""
    counters: list[int | None] = []
    for token in tokens:
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                counters.append(None if token.tag == "ul" else int(token.attrs.get("start", 1)))
            case "bullet_list_close" | "ordered_list_close":
                counters.pop()
            case "list_item_open":
                mark = _mark(counters)
            case "heading_open":
                size, style = HEADINGS_PX.get(token.tag, SIZE_PX), "bold"
            case "heading_close":
                size, style = SIZE_PX, ""
            case "inline":
                depth = len(counters)
                room = width - depth * INDENT_PX
                words = _words(token.children or [], style)
                yield Block(tuple(_lines(words, room, size)), size, depth * INDENT_PX, mark)
                mark = ""
            case "fence" | "code_block":
                yield _code(token.content, width - len(counters) * INDENT_PX, len(counters) * INDENT_PX)


def _mark(counters: list[int | None]) -> str:
    number = counters[-1]
    if number is None:
        return "•"
    counters[-1] = number + 1
    return f"{number}."


def _words(tokens: list[Token], style: str) -> Iterator[Word]:
    """The words of a paragraph with what is between them; a break is an empty word of its own kind."""
    styles, url = [style], ""
    for token in tokens:
        if token.type in STYLES:
            styles.append(STYLES[token.type])
        elif token.type in ("strong_close", "em_close"):
            styles.pop()
        elif token.type == "link_open":
            url = str(token.attrs.get("href", ""))
        elif token.type == "link_close":
            url = ""
        elif token.type == "code_inline":
            yield from _split(token.content, "mono", url)
        elif token.type in ("softbreak", "hardbreak"):
            yield Word(" ")
        else:
            yield from _split(token.content, " ".join(filter(None, styles)), url)


def _split(content: str, classes: str, url: str) -> Iterator[Word]:
    """Words and the spaces between them."""
    for number, word in enumerate(content.split(" ")):
        if number:
            yield Word(" ", classes, url)
        if word:
            yield Word(word, classes, url)


def _lines(words: Iterable[Word], width: float, size: float) -> Iterator[tuple[Word, ...]]:
    line: list[Word] = []
    used = 0.0
    for word in _broken(words, width, size):
        wide = word.width(size)
        if line and used + wide > width and word.content != " ":
            yield tuple(line)
            line, used = [], 0.0
        if line or word.content != " ":
            line.append(word)
            used += wide
    yield tuple(line)


def _broken(words: Iterable[Word], width: float, size: float) -> Iterator[Word]:
    """The words; one that is wider than a line is in pieces that are not."""
    for word in words:
        letters = max(1, int(width / svg.text_width("W", size)))
        if word.width(size) <= width:
            yield word
        else:
            pieces = range(0, len(word.content), letters)
            yield from (replace(word, content=word.content[begin : begin + letters]) for begin in pieces)


def _code(content: str, width: float, indent: float) -> Block:
    letters = max(1, int((width - 2 * CODE_PADDING_PX) / (svg.MONO_EM * CODE_PX)))
    lines = [
        line[begin : begin + letters]
        for line in content.rstrip("\n").split("\n")
        for begin in range(0, max(1, len(line)), letters)
    ]
    return Block(tuple((Word(line, "mono"),) for line in lines), CODE_PX, indent, code=True)


def draw(parent: Element, box: Box, blocks: Iterable[Block]) -> None:
    y = box.y
    for block in blocks:
        y += BEFORE_PX
        left = box.x + block.indent
        if block.code:
            inside = Box(left, y, box.right - left, block.height - BEFORE_PX)
            svg.rectangle(parent, inside, "code", rx=4)
            _draw_lines(parent, block, left + CODE_PADDING_PX, y + CODE_PADDING_PX)
        else:
            if block.mark:
                svg.text(parent, left - INDENT_PX + 3, y + block.size * 1.1, block.mark, block.size, "faint")
            _draw_lines(parent, block, left, y)
        y += block.height - BEFORE_PX


def _draw_lines(parent: Element, block: Block, x: float, y: float) -> None:
    for number, line in enumerate(block.lines):
        base = y + block.size * (number * LINE_EM + 1.1)
        row = svg.text(parent, x, base, "", block.size)
        for (classes, url), words in groupby(line, key=lambda word: (word.classes, word.url)):
            color = "link" if url else "text"
            piece = svg.element(svg.link(row, url), "tspan", class_=f"{color} {classes}".strip())
            piece.text = svg.clean("".join(word.content for word in words))
