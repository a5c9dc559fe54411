"""A parsed page: forms that can be filled in, links, headings, text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = frozenset({"input", "meta", "link", "br", "img", "hr", "source"})
INVISIBLE = frozenset({"script", "style", "title"})


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: Element | None = None
    text: str = ""

    def inside(self, tag: str, **attributes: str) -> bool:
        above = self.parent
        while above is not None:
            if above.tag == tag and attributes.items() <= above.attributes.items():
                return True
            above = above.parent
        return False


@dataclass
class Form:
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """The parsed text of one answer; unclosed or wrongly nested elements are a failure of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[Element] = []
        self.words: list[str] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        assert not self._open, f"not closed: {[element.tag for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs}, self._open[-1] if self._open else None)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data
        if not any(element.tag in INVISIBLE for element in self._open):
            self.words += data.split()

    @property
    def text(self) -> str:
        """What a person reads, with single spaces."""
        return " ".join(self.words)

    def all(self, tag: str, **attributes: str) -> list[Element]:
        return [e for e in self.elements if e.tag == tag and attributes.items() <= e.attributes.items()]

    def one(self, tag: str, **attributes: str) -> Element:
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} <{tag} {attributes}>"
        return found[0]

    def links(self) -> list[str]:
        return [element.attributes["href"] for element in self.all("a") if "href" in element.attributes]

    def form(self, action: str) -> Form:
        """The form with this action, filled in as the page gave it."""
        found = next((e for e in self.all("form") if e.attributes.get("action") == action), None)
        assert found, f"no form for {action} among {[e.attributes.get('action') for e in self.all('form')]}"
        form = Form(action, found.attributes.get("method", "get"))
        for element in self.elements:
            if element is not found and self._belongs(element, found):
                _fill(form, element)
        return form

    @staticmethod
    def _belongs(element: Element, form: Element) -> bool:
        above = element.parent
        while above is not None:
            if above is form:
                return True
            above = above.parent
        return False


def _fill(form: Form, element: Element) -> None:
    given: dict[str, Any] = element.attributes
    name, value = given.get("name", ""), given.get("value", "")
    if element.tag == "button":
        form.buttons.append((name, value))
    elif element.tag == "select":
        form.fields.setdefault(name, "")
    elif element.tag == "textarea":
        form.fields[name] = element.text
    elif element.tag == "option" and element.parent and "selected" in given:
        form.fields[element.parent.attributes["name"]] = value
    elif element.tag == "input" and (given.get("type") not in {"radio", "checkbox"} or "checked" in given):
        form.fields[name] = value
