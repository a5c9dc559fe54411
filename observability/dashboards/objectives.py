"""Service level objectives: what is left of their error budgets, and how fast they are used up."""

from __future__ import annotations

from observability.dashboards.common import Board, Panel, Query, Row, of
from observability.rules import slo

PERIOD = f"{slo.PERIOD_DAYS}d:5m"
"""Windows of five minutes side by side, as the rules record them."""
FAST, SLOW = slo.ALERTS["critical"], slo.ALERTS["warning"]


def _chosen(one: slo.Objective) -> str:
    return f'slo="{one.name}"'


def _left(one: slo.Objective) -> str:
    bad, total = (of(f"{recorded}5m", _chosen(one)) for recorded in (slo.BAD, slo.TOTAL))
    lost = f"sum(sum_over_time({bad}[{PERIOD}])) / (sum(sum_over_time({total}[{PERIOD}])) > 0)"
    return f"1 - {lost} / {one.budget:.6g} or 1 + 0 * sum({total})"


def _burn(one: slo.Objective, window: str) -> str:
    bad, total = (of(f"{recorded}{window}", _chosen(one)) for recorded in (slo.BAD, slo.TOTAL))
    return f"sum({bad}) / (sum({total}) > 0) / {one.budget:.6g} or 0 * sum({total})"


def _row(one: slo.Objective) -> Row:
    name = one.title.split(":")[0]
    what = one.name.replace("_", " ").capitalize()
    return Row(
        f"{one.title} ({one.target:.1%})",
        [
            Panel(
                f"{what}: budget left",
                f"What is left of the failures that {name.lower()} may have in {slo.PERIOD_DAYS} days.",
                "percentunit",
                [Query(_left(one), "left")],
                kind="stat",
                tall=True,
                width=6,
                orange=0.5,
                red=0.0,
                falling=True,
                minimum=None,
            ),
            Panel(
                f"{what}: burn rate",
                "How many times faster than allowed the budget is used up, over one hour, six hours and three days.",
                "short",
                [Query(_burn(one, window), window) for window in ("1h", "6h", "3d")],
                width=9,
                alert=FAST,
                orange=1,
                red=6,
            ),
            Panel(
                f"{what}: events",
                "What is measured, and what of it failed, within the last five minutes.",
                "short",
                [
                    Query(f"sum({of(f'{slo.TOTAL}5m', _chosen(one))})", "all"),
                    Query(f"sum({of(f'{slo.BAD}5m', _chosen(one))})", "failed"),
                ],
                width=9,
                alert="ShopObjectiveNotMeasured",
            ),
        ],
    )


BOARD = Board(
    "slo",
    "Service level objectives",
    "What is left of the error budgets, and how fast they are used up. The rules must be installed.",
    [_row(one) for one in slo.OBJECTIVES],
)
