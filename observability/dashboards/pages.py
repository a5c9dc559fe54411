"""The runbooks: one page for each alert, in the order in which the dashboard of runbooks has them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "runbooks"
INDEX = "README"


@cache
def names() -> tuple[str, ...]:
    """The alerts that have a page."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != INDEX))


def number(alert: str) -> int:
    """The id of the panel with the alert's page; ValueError without a page."""
    return names().index(alert) + 1


def text(alert: str) -> str:
    """The page without its heading, which is the panel's title."""
    return (FOLDER / f"{alert}.md").read_text(encoding="utf-8").split("\n", 1)[1].strip()
