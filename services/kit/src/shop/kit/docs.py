"""The interactive documentation of an API, with its scripts bundled: it works without the Internet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

from shop.kit.compression import matches
from shop.kit.errors import Problem

OPENAPI_URL = "/openapi.json"
ASSETS_URL = "/docs/assets"
ASSETS: Mapping[str, str] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
    "favicon.png": "image/png",
}
MAX_AGE_S = 86_400


@lru_cache
def _asset(name: str) -> tuple[bytes, str]:
    """A file and its entity tag, cached from the first request on."""
    body = (files("fastapi_offline") / "static" / name).read_bytes()
    return body, f'W/"{hashlib.sha256(body).hexdigest()[:16]}"'


def docs_router(title: str) -> APIRouter:
    """``/docs`` and ``/redoc`` for the OpenAPI document at ``/openapi.json``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=OPENAPI_URL,
            title=title,
            swagger_js_url=f"{ASSETS_URL}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS_URL}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS_URL}/favicon.png",
        )

    @router.get("/redoc")
    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url=OPENAPI_URL,
            title=title,
            redoc_js_url=f"{ASSETS_URL}/redoc.standalone.js",
            redoc_favicon_url=f"{ASSETS_URL}/favicon.png",
            with_google_fonts=False,
        )

    @router.get(f"{ASSETS_URL}/{{name}}")
    async def asset(name: str, request: Request) -> Response:
        if name not in ASSETS:
            raise Problem(404, "not_found", "There is no such file.")
        body, etag = _asset(name)
        headers = {"Cache-Control": f"public, max-age={MAX_AGE_S}", "ETag": etag}
        if matches(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=ASSETS[name], headers=headers)

    return router
