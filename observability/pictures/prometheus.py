"""What a Prometheus answers, by its HTTP API."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from observability.pictures.variables import Span, Window

TIMEOUT_S = 20.0
MAX_CONNECTIONS = 8
MAX_SERIES = 200
"""Of one query; more could not be told apart in a picture."""
type Point = tuple[float, float]
"""Time in seconds since 1970, and the value, which may be NaN or infinite."""


class QueryFailed(Exception):
    """Prometheus refused a query or cannot be reached; the text says which and why."""


@dataclass(frozen=True)
class Found:
    labels: Mapping[str, str]
    points: Sequence[Point]


class Prometheus:
    """A server at `url`. Close it after use."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS)
        self._client = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=limits, trust_env=False)

    async def close(self) -> None:
        await self._client.aclose()

    async def over(self, expr: str, window: Window) -> list[Found]:
        """The series of a query over the window."""
        asked = {"query": expr, "start": window.start_s, "end": window.end_s, "step": window.step_s}
        data = await self._ask("/api/v1/query_range", asked)
        return [Found(one["metric"], [_point(point) for point in one["values"]]) for one in _limited(data["result"])]

    async def at(self, expr: str, time_s: float) -> list[Found]:
        """The values of a query at one time."""
        data = await self._ask("/api/v1/query", {"query": expr, "time": time_s})
        if data["resultType"] in ("scalar", "string"):
            return [Found({}, [_point(data["result"])])]
        return [Found(one["metric"], [_point(one["value"])]) for one in _limited(data["result"])]

    async def label_values(self, label: str, series: str, span: Span) -> list[str]:
        """Sorted; of all series where `series` is empty."""
        asked: dict[str, Any] = {"start": span.start_s, "end": span.end_s}
        if series:
            asked["match[]"] = series
        found: list[str] = await self._ask(f"/api/v1/label/{label}/values", asked)
        return sorted(found)

    async def _ask(self, path: str, asked: Mapping[str, Any]) -> Any:
        try:
            answer = (await self._client.get(path, params=dict(asked))).json()
        except (httpx.HTTPError, ValueError) as error:
            raise QueryFailed(f"{self._client.base_url} does not answer: {error or type(error).__name__}") from error
        if answer.get("status") != "success":
            raise QueryFailed(f"{answer.get('error', 'no reason given')}, in: {asked.get('query', path)}")
        return answer["data"]


def _limited(series: list[Any]) -> list[Any]:
    return series[:MAX_SERIES]


def _point(pair: Sequence[Any]) -> Point:
    """Prometheus writes values as text, NaN and +Inf among them."""
    return float(pair[0]), float(pair[1])


def finite(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if math.isfinite(point[1])]
