"""Values with their units, written as Grafana writes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

DEFAULT = "none"
SIGNIFICANT_DIGITS = 3
MAX_DECIMALS = 10
MINUS = "−"
TIMES = ((60.0, 1.0, " s"), (3_600.0, 60.0, " mins"), (86_400.0, 3_600.0, " hours"), (604_800.0, 86_400.0, " days"))
"""Up to how many seconds, of how many seconds each, and the name."""
SMALL_TIMES = ((1e-6, 1e-9, " ns"), (1e-3, 1e-6, " µs"), (1.0, 1e-3, " ms"))
COUNTED = {
    "reqps": "req/s", "ops": "ops/s", "cps": "c/s", "eps": "evt/s", "mps": "msg/s", "opm": "ops/m", "reqpm": "req/m",
}  # fmt: skip
CURRENCIES = {"currencyEUR": "€", "currencyUSD": "$", "currencyGBP": "£", "currencyJPY": "¥"}
type Scaled = tuple[float, str]
"""A value in the larger unit that fits it, and what follows the number."""


def known(unit: str) -> bool:
    return unit in SCALES or unit in CURRENCIES


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """The value with its unit; without `decimals` three digits that matter, none after the point of a whole number.

    KeyError for a unit that is not `known`.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    number, suffix = scaled(value, unit)
    places = automatic_decimals(number) if decimals is None else decimals
    text = f"{abs(number):.{places}f}"
    suffix = suffix.removesuffix("s") if text == "1" and len(suffix) > len(" ms") else suffix
    sign = MINUS if value < 0 and float(text) else ""
    return f"{sign}{CURRENCIES.get(unit, '')}{text}{suffix}"


def scaled(value: float, unit: str) -> Scaled:
    return _thousands(value) if unit in CURRENCIES else SCALES[unit](value)


def factor(value: float, unit: str) -> float:
    """What one of the larger unit that fits `value` is: 0.001 for 0.02 s, which is written in milliseconds."""
    number, _ = scaled(value, unit)
    return value / number if number else 1.0


def automatic_decimals(number: float) -> int:
    """So many that three digits matter; of a whole number none."""
    if number == 0 or float(number).is_integer():
        return 0
    exponent = math.floor(math.log10(abs(number)))
    return min(MAX_DECIMALS, max(0, SIGNIFICANT_DIGITS - 1 - exponent))


def _steps(base: float, suffixes: Sequence[str]) -> Callable[[float], Scaled]:
    def scale(value: float) -> Scaled:
        size = abs(value)
        step = next((n for n in range(len(suffixes)) if size < base ** (n + 1)), len(suffixes) - 1)
        return value / base**step, suffixes[step]

    return scale


_short = _steps(1_000, ("", " K", " Mil", " Bil", " Tri"))
_thousands = _steps(1_000, ("", "K", "M", "B", "T"))


def _counted(name: str) -> Callable[[float], Scaled]:
    def scale(value: float) -> Scaled:
        number, suffix = _thousands(value)
        return number, f"{suffix} {name}"

    return scale


def _seconds(value: float) -> Scaled:
    size = abs(value)
    if size == 0:
        return value, " s"
    for limit, each, name in (*SMALL_TIMES, *TIMES):
        if size < limit:
            return value / each, name
    return (value / 604_800, " weeks") if size < 31_536_000 else (value / 31_556_900, " years")


def _milliseconds(value: float) -> Scaled:
    return (value, " ms") if value == 0 else _seconds(value / 1_000)


SCALES: dict[str, Callable[[float], Scaled]] = {
    "none": lambda value: (value, ""),
    "short": _short,
    "s": _seconds,
    "ms": _milliseconds,
    "bytes": _steps(1_024, (" B", " KiB", " MiB", " GiB", " TiB", " PiB")),
    "decbytes": _steps(1_000, (" B", " kB", " MB", " GB", " TB", " PB")),
    "Bps": _steps(1_000, (" B/s", " kB/s", " MB/s", " GB/s", " TB/s")),
    "percent": lambda value: (value, "%"),
    "percentunit": lambda value: (value * 100, "%"),
    **{unit: _counted(name) for unit, name in COUNTED.items()},
}
