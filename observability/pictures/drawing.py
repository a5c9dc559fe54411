"""A dashboard as one picture."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from observability.pictures import layout, lines, stats, svg, texts, theme
from observability.pictures.data import Data, Shown
from observability.pictures.model import Dashboard, Panel
from observability.pictures.prometheus import finite
from observability.pictures.svg import Box

MIN_WIDTH_PX, MAX_WIDTH_PX = 320.0, 2_400.0
PADDING_PX = 12.0
TITLE_PX, TITLE_HEIGHT_PX = 13.0, 34.0
ROW_PX = 15.0
MESSAGE_PX = 12.5
NO_DATA = "No data"
HIDDEN_LINKS = "/explore"
"""Begins the links to traces, for which there is no data source here."""


def draw(dashboard: Dashboard, data: Data, width: float) -> str:
    """The dashboard as SVG, `width` pixels wide (`MIN_WIDTH_PX` to `MAX_WIDTH_PX`) and as high as it needs."""
    width = min(MAX_WIDTH_PX, max(MIN_WIDTH_PX, width))
    boxes = layout.place(dashboard.panels, width, _needed)
    whole = Box(0, 0, width, layout.height(boxes.values()))
    picture = svg.root(whole.width, whole.height, theme.style(), dashboard.title)
    svg.rectangle(picture, whole, "ground")
    for panel in dashboard.panels:
        group = svg.element(picture, "g", id=f"panel-{panel.id}")
        _panel(group, boxes[panel.id], panel, data)
    return svg.written(picture)


def _needed(panel: Panel, width: float) -> float:
    """A text is shown as a whole; Grafana lets one scroll in it."""
    if panel.kind != "text":
        return 0.0
    return TITLE_HEIGHT_PX + texts.height(texts.arranged(panel.markdown, width - 2 * PADDING_PX)) + PADDING_PX


def _panel(parent: Element, box: Box, panel: Panel, data: Data) -> None:
    title = _filled(panel.title, data)
    if panel.kind == "row":
        svg.text(parent, box.x + 2, box.y + box.height / 2 + 6, title, ROW_PX, "text bold")
        return
    svg.rectangle(parent, box, "card", rx=4)
    _title(parent, box, panel, title)
    inside = box.inner(PADDING_PX, TITLE_HEIGHT_PX, PADDING_PX, PADDING_PX - 2)
    if panel.kind == "text":
        texts.draw(parent, inside, texts.arranged(panel.markdown, inside.width))
        return
    shown = data.shown[panel.id]
    if message := _message(shown):
        _write_message(parent, inside, message, "area-red" if shown.error else "faint")
    elif panel.kind == "stat":
        stats.draw(parent, inside, panel, shown.series)
    else:
        lines.draw(parent, inside, panel, shown.series, data.span, data.zone)


def _title(parent: Element, box: Box, panel: Panel, title: str) -> None:
    """A link to the runbook of the panel's alert where it has one; its description appears under the pointer."""
    urls = [one.url for one in panel.links if not one.url.startswith(HIDDEN_LINKS)]
    group = svg.link(parent, next(iter(urls), ""))
    svg.hint(group, panel.description or title)
    content = svg.shortened(title, TITLE_PX, box.width - 2 * PADDING_PX)
    svg.text(group, box.x + PADDING_PX, box.y + 22, content, TITLE_PX, "text bold")


def _message(shown: Shown) -> str:
    """What is written instead of values, "" where there are some."""
    if shown.error:
        return shown.error
    return "" if any(finite(one.points) for one in shown.series) else NO_DATA


def _write_message(parent: Element, box: Box, message: str, class_: str) -> None:
    content = svg.shortened(message, MESSAGE_PX, box.width)
    group = svg.element(parent, "g")
    svg.hint(group, message)
    middle = box.y + box.height / 2
    svg.text(group, box.x + box.width / 2, middle, content, MESSAGE_PX, class_, text_anchor="middle")


def _filled(title: str, data: Data) -> str:
    """Titles have the simple form of variables alone: Requests of $service."""
    for choice in data.choices:
        title = title.replace(f"${choice.variable.name}", choice.chosen)
    return title
