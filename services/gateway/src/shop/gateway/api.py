"""What the gateway answers itself: the documentation of everything behind it."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import Depends
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

from shop.gateway.gateway import Gateway
from shop.kit.app import service_of
from shop.kit.routing import router as make_router

OPENAPI_URL = "/openapi.json"
Service = Annotated[Gateway, Depends(service_of)]

router = make_router(include_in_schema=False)


@router.get(OPENAPI_URL)
async def openapi(service: Service) -> Response:
    return Response(orjson.dumps(await service.openapi.document()), media_type="application/json")


@router.get("/docs")
async def docs() -> HTMLResponse:
    return get_swagger_ui_html(openapi_url=OPENAPI_URL, title="Shop API")


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    return get_redoc_html(openapi_url=OPENAPI_URL, title="Shop API")
