"""A web page with the dashboards of `observability/generated`, drawn from a Prometheus whenever someone looks.

`python -m observability.pictures.server --prometheus http://127.0.0.1:9090 --port 3000` serves it on 127.0.0.1. The
addresses are Grafana's: /d/UID?var-service=order&from=now-1h&viewPanel=panel-3, so that links of dashboards work.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, tzinfo
from pathlib import Path
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from observability.pictures import drawing, files, page
from observability.pictures.data import View, load
from observability.pictures.durations import seconds
from observability.pictures.model import Dashboard
from observability.pictures.prometheus import Prometheus, QueryFailed
from observability.pictures.variables import Span

HOST = "127.0.0.1"
ALLOWED_HOSTS = (HOST, "localhost")
"""Names of this machine: a page elsewhere that has its own name resolve to 127.0.0.1 is refused."""
DEFAULT_WIDTH_PX = 1_280.0
DEFAULT_RANGE = "now-15m"
"""Shorter than the dashboards' own: a shop on this machine has mostly just begun."""
MAX_RANGE_S = 15 * 86_400.0
MAX_SHUTDOWN_S = 2
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "style-src 'self' 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class BadQuery(ValueError):
    """The query string asks for what there is not; the text is for the reader of the page."""


def application(prometheus_url: str, scrape_s: float | None) -> Starlette:
    """The page of all dashboards. `scrape_s`: see `View`."""
    source = Prometheus(prometheus_url)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await source.close()

    routes = [
        Route("/", _first),
        Route("/health", _health),
        Route("/page.css", _asset("page.css", "text/css")),
        Route("/page.js", _asset("page.js", "text/javascript")),
        Route("/d/{uid}", _page),
        Route("/d/{uid}/picture.svg", _picture),
    ]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=list(ALLOWED_HOSTS))
    refusals = {BadQuery: _refusal, QueryFailed: _unavailable}
    app = Starlette(routes=routes, middleware=[hosts], lifespan=lifespan, exception_handlers=refusals)
    app.state.source, app.state.scrape_s = source, scrape_s
    app.state.dashboards = {one.uid: one for one in files.dashboards().values()}
    return app


def _asset(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = (Path(__file__).parent / name).read_text(encoding="utf-8")

    async def answer(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=HEADERS)

    return answer


async def _first(request: Request) -> Response:
    return RedirectResponse(f"/d/{next(iter(request.app.state.dashboards))}", headers=HEADERS)


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _page(request: Request) -> Response:
    dashboard = _dashboard(request)
    data = await load(_without_panels(dashboard), request.app.state.source, _view(request))
    dashboards = list(request.app.state.dashboards.values())
    content = page.written(dashboard, dashboards, data.choices, dict(request.query_params), DEFAULT_RANGE)
    return HTMLResponse(content, headers=HEADERS)


async def _picture(request: Request) -> Response:
    dashboard = _dashboard(request)
    data = await load(dashboard, request.app.state.source, _view(request))
    content = drawing.draw(dashboard, data, _number(request, "width", DEFAULT_WIDTH_PX))
    return Response(content, media_type="image/svg+xml", headers=HEADERS)


def _without_panels(dashboard: Dashboard) -> Dashboard:
    return Dashboard(dashboard.uid, dashboard.title, dashboard.description, dashboard.range_s, (), dashboard.variables)


def _dashboard(request: Request) -> Dashboard:
    uid = request.path_params["uid"]
    dashboard: Dashboard | None = request.app.state.dashboards.get(uid)
    if dashboard is None:
        raise BadQuery(f"there is no dashboard {uid}")
    if panel := request.query_params.get("viewPanel"):
        try:
            return dashboard.only(int(panel.removeprefix("panel-")))
        except (KeyError, ValueError) as error:
            raise BadQuery(f"{dashboard.title} has no {panel}") from error
    return dashboard


def _view(request: Request) -> View:
    began = request.query_params.get("from", DEFAULT_RANGE)
    try:
        range_s = seconds(began.removeprefix("now-"))
    except ValueError as error:
        raise BadQuery(f"from={began}: write from=now-1h") from error
    if not 0 < range_s <= MAX_RANGE_S:
        raise BadQuery(f"from={began}: at most now-{MAX_RANGE_S / 86_400:g}d")
    variables = {
        name.removeprefix("var-"): value for name, value in request.query_params.items() if name.startswith("var-")
    }
    now_s = time.time()
    time_range = urlencode({"from": began, "to": "now"})
    return View(Span(now_s - range_s, now_s), variables, request.app.state.scrape_s, time_range, _zone(request))


def _zone(request: Request) -> tzinfo:
    """That of the browser; UTC where this machine does not know it."""
    try:
        return ZoneInfo(request.query_params.get("zone", "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _number(request: Request, name: str, default: float) -> float:
    text = request.query_params.get(name, "")
    try:
        return float(text) if text else default
    except ValueError as error:
        raise BadQuery(f"{name}={text} is not a number") from error


async def _refusal(_: Request, error: Exception) -> Response:
    return HTMLResponse(page.message(str(error)), status_code=404, headers=HEADERS)


async def _unavailable(_: Request, error: Exception) -> Response:
    return HTMLResponse(page.message(str(error)), status_code=503, headers=HEADERS)


def main() -> None:
    parser = argparse.ArgumentParser(description="The dashboards as a web page on 127.0.0.1.")
    parser.add_argument("--prometheus", required=True, help="its address, such as http://127.0.0.1:9090")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--scrape-interval-s", type=float, help="where it is shorter than the dashboards' 30 s")
    given = parser.parse_args()
    app = application(given.prometheus, given.scrape_interval_s)
    uvicorn.run(
        app, host=HOST, port=given.port, access_log=False, log_level="warning", timeout_graceful_shutdown=MAX_SHUTDOWN_S
    )


if __name__ == "__main__":
    main()
