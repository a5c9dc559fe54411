"""Messages from templates. A template ``NAME.txt`` starts with a ``Subject:`` line; ``NAME.html`` is optional."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, TemplateNotFound, select_autoescape

from shop.kit.formatting import Formats
from shop.kit.postal import postal_lines
from shop.kit.text import printable
from shop.notification.domain import reference

SUBJECT = "Subject:"
MAX_SUBJECT_CHARACTERS = 150
MAX_AMOUNTS = 4_096
"""Formatted amounts that are remembered."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered message; ``html`` is None if there is only text (SMS)."""

    subject: str
    text: str
    html: str | None


def environment(formats: Formats) -> Environment:
    """Jinja2 with autoescaping for HTML, in which an undefined value is an error."""
    made = Environment(
        loader=PackageLoader("shop.notification"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    # Each amount is in the text and in the HTML, and prices come again with the next order.
    format_money = functools.lru_cache(MAX_AMOUNTS)(formats.money)
    made.filters.update(
        money=lambda money: format_money(int(money["amount"]), str(money["currency"])),
        moment=lambda moment: formats.moment(_time(moment)),
        clock=lambda moment: formats.clock(_time(moment)),
        country=formats.country,
        address_lines=postal_lines,
        reference=reference,
    )
    return made


def _time(moment: datetime | str) -> datetime:
    """Of a row, or of an event's JSON."""
    return datetime.fromisoformat(moment) if isinstance(moment, str) else moment


class Renderer:
    """The messages' templates, compiled once; ``shop`` has the ``title`` and the public ``url`` of the shop."""

    def __init__(self, names: Iterable[str], shop: Mapping[str, str], formats: Formats) -> None:
        jinja = environment(formats)
        jinja.globals["shop"] = dict(shop)
        self._templates = {name: _pair(jinja, name) for name in names}

    def render(self, name: str, data: Mapping[str, Any], contact_name: str | None) -> Rendered:
        """The message ``name`` for an event's ``data``; ``contact_name`` is used if the event has no name."""
        text, html = self._templates[name]
        addressee = data.get("customer_name") or data.get("name") or contact_name or ""
        known = {**data, "name": printable(addressee), "customer_name": printable(addressee)}
        head, _, body = text.render(known).partition("\n")
        subject = " ".join(head.removeprefix(SUBJECT).split())[:MAX_SUBJECT_CHARACTERS]
        return Rendered(subject, body.strip() + "\n", html.render(known) if html else None)


def _pair(jinja: Environment, name: str) -> tuple[Template, Template | None]:
    text = jinja.get_template(f"mail/{name}.txt")
    try:
        return text, jinja.get_template(f"mail/{name}.html")
    except TemplateNotFound:
        return text, None
