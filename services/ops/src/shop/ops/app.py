"""The application: the kit's, with pages for administrators and a receiver of spans."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from shop.kit.app import create_app
from shop.kit.sessions import Cookies, SessionMiddleware, Visitor
from shop.ops import api, call_pages, letter_pages, lever_pages, order_pages, overview_pages, trace_pages
from shop.ops.control_room import ControlRoom
from shop.ops.settings import Settings
from shop.ops.web import ASSETS, PREFIX, install_error_pages, make_environment

NOT_PAGES = (f"{PREFIX}/static/", "/api/", "/v1/", "/health", "/metrics", "/docs", "/redoc", "/openapi.json")
PAGES = (overview_pages, call_pages, order_pages, trace_pages, letter_pages, lever_pages)
static = APIRouter(prefix=PREFIX, include_in_schema=False)


@static.get("/static/{digest}/{name}")
async def file(request: Request, digest: str, name: str) -> Response:
    return ASSETS.answer(request, digest, name)


def make_app(settings: Settings) -> FastAPI:
    """The application. Its own requests are in no trace: an export of spans would make further spans to be exported."""
    cookies = Cookies(settings.session_secret or settings.internal_token, Visitor)
    app = create_app(
        settings.model_copy(update={"tracing_endpoint": ""}),
        title="Ops",
        routers=[api.router, api.exports, static, *(module.router for module in PAGES)],
        build=ControlRoom.build,
        middleware=[(SessionMiddleware, {"cookies": cookies, "other_paths": NOT_PAGES})],
        uses_bus=False,
    )
    app.state.templates = make_environment()
    install_error_pages(app)
    return app
