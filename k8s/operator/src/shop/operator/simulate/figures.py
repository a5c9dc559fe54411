"""What the simulation counts: orders, couriers, and how far estimates of arrival were off."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

MAX_ERRORS = 100_000
"""Estimates that are compared; more are not kept."""


@dataclass
class Figures:
    """``refused`` counts problem codes of orders, ``of_others`` orders at whose entrance no code is known.

    ``errors_s`` has arrival minus estimate in seconds, for the estimate at confirmation and for the one at departure.
    """

    couriers: int = 0
    busy: int = 0
    placed: int = 0
    confirmed: int = 0
    delivered: int = 0
    cancelled: int = 0
    of_others: int = 0
    positions: int = 0
    presses: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    errors_s: dict[str, list[float]] = field(default_factory=lambda: {"confirmed": [], "departed": []})

    def arrived(self, kind: str, estimate: str | None, at: datetime) -> None:
        if estimate and len(self.errors_s[kind]) < MAX_ERRORS:
            self.errors_s[kind].append((at - datetime.fromisoformat(estimate)).total_seconds())

    def line(self, seconds: float) -> str:
        """For people, once in a while."""
        error = summary(self.errors_s["confirmed"])
        eta = (
            f"ETA error median {error['median_s']:.0f} s, p90 {error['p90_s']:.0f} s"
            if error["count"]
            else "ETA error -"
        )
        refused = f", refused {sum(self.refused.values())}" if self.refused else ""
        return (
            f"{int(seconds) // 60:3}:{int(seconds) % 60:02}  orders {self.placed}, confirmed {self.confirmed},"
            f" delivered {self.delivered}{refused}; couriers busy {self.busy}/{self.couriers}; {eta}"
        )

    def closing(self, time_factor: float) -> list[str]:
        """For people, at the end: what became of the orders, and how far the estimates were off."""
        share = 100 * self.delivered / self.placed if self.placed else 0
        lines = [f"{self.delivered} of {self.placed} orders delivered ({share:.0f} %), {self.cancelled} cancelled"]
        for kind, name in (("confirmed", "confirmation"), ("departed", "departure")):
            error = summary(self.errors_s[kind])
            figures = f"median {error['median_s']:.0f} s, p90 {error['p90_s']:.0f} s, bias {error['bias_s']:+.0f} s"
            lines.append(f"ETA error at {name}: {figures if error['count'] else '-'} ({error['count']} orders)")
        if time_factor > 1:
            lines.append("The shop's estimates are for real speed: their error means something with --time-factor 1.")
        return lines

    def document(self, seconds: float) -> dict[str, Any]:
        return {
            "seconds": round(seconds, 1),
            "couriers": self.couriers,
            "orders": {
                "placed": self.placed,
                "confirmed": self.confirmed,
                "delivered": self.delivered,
                "cancelled": self.cancelled,
                "of_others": self.of_others,
                "refused": dict(self.refused.most_common()),
            },
            "positions": self.positions,
            "presses": self.presses,
            "problems": dict(self.problems.most_common()),
            "eta_error": {kind: summary(errors) for kind, errors in self.errors_s.items()},
        }


def summary(errors_s: Sequence[float]) -> dict[str, float]:
    """Median and 90th percentile of the absolute error in seconds, and ``bias_s``, the median with its sign (positive:
    later than estimated)."""
    sizes = sorted(abs(error) for error in errors_s)
    return {
        "count": len(sizes),
        "median_s": round(percentile(sizes, 0.5), 1),
        "p90_s": round(percentile(sizes, 0.9), 1),
        "bias_s": round(percentile(sorted(errors_s), 0.5), 1),
    }


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that is not below this share of all; 0 of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
