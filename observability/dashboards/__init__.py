"""Grafana dashboards as Python: each module has one as data, `common` makes Grafana's JSON of it."""

from __future__ import annotations

from typing import Any

from observability.dashboards import (
    arcade,
    common,
    delivery,
    gateway,
    objectives,
    operator,
    overview,
    recommendations,
    runbooks,
    sagas,
    service,
    stores,
)

BOARDS = tuple(
    module.BOARD
    for module in (
        overview,
        service,
        sagas,
        stores,
        gateway,
        objectives,
        delivery,
        arcade,
        recommendations,
        operator,
        runbooks,
    )
)
OF_SHOP = frozenset(board.name for board in BOARDS if board is not operator.BOARD)
OF_OPERATOR = frozenset({operator.BOARD.name, runbooks.BOARD.name})
"""Those of the charts: links of a dashboard lead only to others of its own chart."""


def models() -> dict[str, dict[str, Any]]:
    """Every dashboard as Grafana reads it, by the name of its file."""
    return {board.name: common.model(board) for board in BOARDS}
