"""What to do about each alert: the pages of `observability/runbooks`, so that links to them work in every Grafana."""

from __future__ import annotations

from observability.dashboards import pages
from observability.dashboards.common import RUNBOOKS, Board

BOARD = Board(
    RUNBOOKS,
    "Runbooks",
    "What each alert means, what to look at first, and how to mend it.",
    [],
    texts=[(alert, pages.text(alert)) for alert in pages.names()],
)
