"""Axes: which values and times have a line and a label, and where a value is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from observability.pictures import units

NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
BINARY = 1_024.0
DURATIONS_S = (60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 172_800, 604_800)
"""Distances of labels above a minute, of values in seconds and of times."""
TIMES_S = (1, 2, 5, 10, 15, 30, *DURATIONS_S)
MAX_TICKS = 20
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, which differ; `ticks` have a label."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Where the value is, from 0 at `low` to 1 at `high`; values outside stay at the edge."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def values(found: Sequence[float], unit: str, count: int, low: float | None = None, high: float | None = None) -> Axis:
    """The axis of these finite values with about `count` labels. `low` and `high` widen it, as min and max do."""
    least = min([*found, *([] if low is None else [low])], default=0.0)
    most = max([*found, *([] if high is None else [high])], default=least)
    if most - least <= abs(most) * TOLERANCE:
        most = least + (abs(least) or 1.0)
    step = value_step((most - least) / max(1, count), unit, most)
    bottom = math.floor(least / step + TOLERANCE) * step
    top = math.ceil(most / step - TOLERANCE) * step
    number = min(MAX_TICKS, round((top - bottom) / step))
    return Axis(bottom, top, tuple(bottom + n * step for n in range(number + 1)))


def value_step(least: float, unit: str, largest: float) -> float:
    """The least nice distance of labels that is not below `least`, nice in the unit in which `largest` is written."""
    if unit == "s" and largest >= DURATIONS_S[0] and least >= 1:
        return next((float(step) for step in DURATIONS_S if step >= least), _nice(least / 604_800) * 604_800)
    each = units.factor(largest, unit) if largest else 1.0
    step = _nice(least / each) * each
    if unit == "bytes" and each >= BINARY:
        return math.ldexp(each, math.ceil(math.log2(least / each) - TOLERANCE))
    return step


def _nice(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(nice for nice in NICE if nice * power >= least * (1 - TOLERANCE)) * power


def labels(axis: Axis, unit: str, decimals: int | None = None) -> list[str]:
    """Of its ticks, all in one unit and with as many decimals as their distance needs."""
    if unit == "s" and axis.high >= DURATIONS_S[0]:
        return [units.written(tick, unit, decimals) for tick in axis.ticks]
    each = units.factor(max(abs(axis.low), abs(axis.high)), unit)
    step = (axis.ticks[1] - axis.ticks[0]) / each
    places = decimals if decimals is not None else _decimals(step)
    return [_label(tick, each, unit, places, axis) for tick in axis.ticks]


def _label(tick: float, each: float, unit: str, places: int, axis: Axis) -> str:
    """0 has the unit of the others: 0 ms below 20 ms."""
    largest = max(abs(axis.low), abs(axis.high))
    _, suffix = units.scaled(largest, unit)
    number = tick / each
    sign = units.MINUS if number < -TOLERANCE else ""
    return f"{sign}{units.CURRENCIES.get(unit, '')}{abs(number):.{places}f}{suffix}"


def _decimals(step: float) -> int:
    """How many places after the point tell neighbours apart."""
    for places in range(units.MAX_DECIMALS):
        if abs(step - round(step, places)) <= step * 1e-6:
            return places
    return units.MAX_DECIMALS


def times(start_s: float, end_s: float, count: int) -> Axis:
    """The axis of times (seconds since 1970) with at most `count` labels, at full minutes or hours where they fit."""
    least = (end_s - start_s) / max(1, count)
    step = next((step for step in TIMES_S if step >= least), TIMES_S[-1] * math.ceil(least / TIMES_S[-1]))
    first = math.ceil(start_s / step) * step
    number = min(MAX_TICKS, int((end_s - first) // step) + 1)
    return Axis(start_s, end_s, tuple(float(first + n * step) for n in range(number)))


def time_labels(axis: Axis, zone: tzinfo) -> list[str]:
    """12:30, with seconds or the day where they differ."""
    step = axis.ticks[1] - axis.ticks[0] if len(axis.ticks) > 1 else axis.high - axis.low
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86_400 else "%m/%d"
    return [datetime.fromtimestamp(tick, zone).strftime(form) for tick in axis.ticks]
