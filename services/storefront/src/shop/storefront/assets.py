"""Static files of the storefront's pages."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from shop.kit.assets import Asset, Assets

STATIC_DIR = Path(__file__).parent / "static"
MAP_STYLE = Asset("map.css", resources.files("shop.town").joinpath("map.css").read_bytes(), "text/css")
FILES = Assets(STATIC_DIR, others=[MAP_STYLE])
ASSETS = FILES.by_name
asset_url = FILES.url

router = APIRouter(include_in_schema=False)


@router.get("/static/{digest}/{name}")
async def static(request: Request, digest: str, name: str) -> Response:
    return FILES.answer(request, digest, name)


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    asset = ASSETS["icon.svg"]
    return FILES.answer(request, asset.digest, asset.name)
